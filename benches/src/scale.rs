//! Memory, start-up, size.
use crate::cli;
/// Runs it.
///
/// # Errors
/// Not yet.
pub async fn run(_options: cli::Scale) -> anyhow::Result<()> {
    Ok(())
}
