//! Waiting for what another process does: polled, with a deadline, never a sleep of a guessed length.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives something.
///
/// # Errors
/// When `limit` has passed; the error names `what` and the last reason that `look` gave.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        let reason = match look() {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        if start.elapsed() >= limit {
            bail!("waited {limit:?} for {what}: {reason:#}");
        }
        thread::sleep(PAUSE);
    }
}
