//! Threads and the end of the process.

use std::time::Duration;

use serde::Serialize;

use super::{faults::Faults, limits::in_words};

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Process")]
pub(super) struct Flags {
    /// Worker threads; a connection lives and dies on one [default: processors that this process may use]
    #[arg(long, env = "BELLHOP_WORKERS", value_name = "N")]
    workers: Option<String>,
    /// Time that connections have to end after SIGTERM or POST /drain; a second SIGTERM ends at once [default: 30s]
    #[arg(long, env = "BELLHOP_DRAIN_TIMEOUT", value_name = "TIME")]
    drain_timeout: Option<String>,
}

/// Threads and the end of the process.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Worker threads.
    pub workers: usize,
    /// Time that connections have to end in.
    #[serde(serialize_with = "in_words")]
    pub drain_timeout: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Flags::default().resolve(&mut Faults::default())
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Process {
        const ALLOWED: &str = "a number from 1 to 1024";
        let workers = faults.optional::<usize>("workers", self.workers.as_ref(), ALLOWED);
        if let Some(workers) = workers.filter(|workers| !(1..=1024).contains(workers)) {
            faults.add("workers", workers, format_args!("allowed: {ALLOWED}"));
        }
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Process {
            workers: workers.unwrap_or_else(processors),
            drain_timeout: faults
                .time("drain-timeout", self.drain_timeout.as_ref())
                .unwrap_or(Duration::from_secs(30)),
        }
    }
}
