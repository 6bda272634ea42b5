//! bellhop-bench.

use bellhop_bench::{cli, compare, scale};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    let args = cli::Cli::parse();
    bellhop_bench::process::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let run = async {
            match args.command {
                cli::Command::Compare(options) => compare::run(options).await,
                cli::Command::Scale(options) => scale::run(options).await,
            }
        };
        // Dropping the run ends its processes and removes its files.
        tokio::select! {
            outcome = run => outcome,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}
