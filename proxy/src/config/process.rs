//! Threads, the log and the end of the process.

use std::{str::FromStr, time::Duration};

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use super::{faults::Faults, limits::in_words};

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Process")]
pub(super) struct Flags {
    /// Worker threads; a connection lives and dies on one [default: processors that this process may use]
    #[arg(long, env = "BELLHOP_WORKERS", hide_env_values = true, value_name = "N")]
    workers: Option<String>,
    /// Time that connections have to end after SIGTERM or POST /drain: as long as Kubernetes waits before it kills
    /// [default: 30s]
    #[arg(long, env = "BELLHOP_DRAIN_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    drain_timeout: Option<String>,
    /// What the proxy tells about itself on standard error: error, warn, info, debug [default: info]
    #[arg(long, env = "BELLHOP_LOG_LEVEL", hide_env_values = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The shape of those lines: text, json [default: text]
    #[arg(long, env = "BELLHOP_LOG_FORMAT", hide_env_values = true, value_name = "SHAPE")]
    log_format: Option<String>,
}

/// Threads, the log and the end of the process.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Worker threads.
    pub workers: usize,
    /// Time that connections have to end in.
    #[serde(serialize_with = "in_words")]
    pub drain_timeout: Duration,
    /// What is logged.
    pub log_level: LogLevel,
    /// In which shape.
    pub log_format: LogFormat,
}

/// From which level on the proxy logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What somebody should know.
    Warn,
    /// What the proxy does.
    #[default]
    Info,
    /// Why it does it.
    Debug,
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogLevel {
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(()),
        }
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
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
        let drain_timeout = faults.time("drain-timeout", self.drain_timeout.as_ref());
        let log_level = faults.optional("log-level", self.log_level.as_ref(), "error, warn, info, debug");
        let log_format = faults.optional("log-format", self.log_format.as_ref(), "text, json");
        Process {
            workers: workers.unwrap_or_else(processors),
            drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
            log_level: log_level.unwrap_or_default(),
            log_format: log_format.unwrap_or_default(),
        }
    }
}
