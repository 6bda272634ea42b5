//! bellhop-bench.

use std::process::ExitCode;

use bellhop_bench::{cli, compare, micro, scale, soak};
use clap::Parser;

fn main() -> ExitCode {
    let args = match cli::Cli::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell where even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match started(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellhop-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn started(command: cli::Command) -> anyhow::Result<()> {
    bellhop_bench::process::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let run = async {
            match command {
                cli::Command::Compare(options) => Box::pin(compare::run(options)).await,
                cli::Command::Scale(options) => Box::pin(scale::run(options)).await,
                cli::Command::Soak(options) => Box::pin(soak::run(options)).await,
                cli::Command::Micro(options) => micro::run(options).await,
                cli::Command::Table(options) => scale::tables::alone(options.keys),
            }
        };
        // Dropping the run ends its processes and removes its files.
        tokio::select! {
            outcome = run => outcome,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}
