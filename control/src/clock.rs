//! The time of day. Tests stop it together with tokio's clock.

use jiff::Timestamp;

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The machine's.
    System,
    /// One that runs with tokio's, and so can be paused and moved on.
    #[cfg(test)]
    Tokio(Timestamp, tokio::time::Instant),
}

impl Clock {
    /// A clock for tests with paused time.
    #[cfg(test)]
    pub(crate) fn tokio() -> Self {
        Self::Tokio(Timestamp::now(), tokio::time::Instant::now())
    }

    pub(crate) fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            #[cfg(test)]
            Self::Tokio(begun, instant) => begun + instant.elapsed(),
        }
    }
}
