//! Where the built programs and the cached set-up are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// A program of this workspace, beside the test's own executable.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut directory = env::current_exe().context("cannot tell where the test's executable is")?;
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    let program = directory.join(name);
    ensure!(program.exists(), "{} is not built; `tests/run` builds it", program.display());
    Ok(program)
}

/// The room of the end-to-end tests.
#[must_use]
pub fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `tests/run setup` made under this name.
///
/// # Errors
/// When it is not there.
pub fn cached(name: &str) -> Result<PathBuf> {
    let path = tests().join(".cache").join(name);
    ensure!(path.exists(), "{} is missing; run `tests/run setup` first", path.display());
    Ok(path)
}
