//! Running the tools that write rules.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::fs::{MemfdFlags, memfd_create};

/// A tool did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    /// It could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The tool.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("{program} fails: {said}")]
    Failed {
        /// The tool.
        program: String,
        /// What it says.
        said: String,
    },
}

/// Whether a program of that name can be found.
pub(super) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|directory| directory.join(program).is_file())
}

/// Runs `program`; `input` is all there before it starts. Were it a pipe and this process killed while it writes, the
/// tool would take half of the rules for all of them.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let output = start(program, arguments, input)
        .map_err(|source| ToolError::Start { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(ToolError::Failed { program: program.to_owned(), said })
}

fn start(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut file = File::from(memfd_create("rules", MemfdFlags::CLOEXEC)?);
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    // A sidecar's PATH seldom has the administrator's directories.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::from(file))
        .output()
}
