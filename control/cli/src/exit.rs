//! How the command ends.

use std::process::ExitCode;

/// Why a command did not do what it was told. The numbers are those of `sysexits.h` where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Control said no, or the thing is not there.
    #[error("{0}")]
    Refused(String),
    /// Control answers, and not all is well.
    #[error("{0}")]
    Unhealthy(String),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A manifest is invalid.
    #[error("{0}")]
    Manifest(String),
    /// A file cannot be read.
    #[error("{0}")]
    NoInput(String),
    /// Control does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// Time ran out before everything was in force.
    #[error("{0}")]
    TimedOut(String),
}

impl Failure {
    /// The exit code, as `--help` documents it.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Unhealthy(_) => 3,
            Self::Usage(_) => 64,
            Self::Manifest(_) => 65,
            Self::NoInput(_) => 66,
            Self::Unreachable(_) => 69,
            Self::TimedOut(_) => 75,
        })
    }
}
