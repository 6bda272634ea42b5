//! `bellhop`: the command people type. It speaks to control through `bellhop-api` alone, and links the proxy and the
//! control plane for `bellhop proxy`, `bellhop control` and `bellhop demo`.

mod args;
mod client;
mod commands;
mod contexts;
mod demo;
mod exit;
mod output;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // nobody is left to tell where even this cannot be printed
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let program = |name: &str, args: Vec<OsString>| std::iter::once(name.into()).chain(args);
    match cli.command {
        Command::Proxy { args } => bellhop_proxy::app::main_from(program("bellhop proxy", args)),
        Command::Control { args } => bellhop_control::app::main_from(program("bellhop control", args)),
        _ => run(cli),
    }
}

fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return fail(&format!("cannot start: {why}"), ExitCode::FAILURE),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => match output::fault() {
            None => ExitCode::SUCCESS,
            Some(why) => fail(&format!("done, but the result cannot be printed: {why}"), ExitCode::FAILURE),
        },
        Err(failure) => fail(&failure.to_string(), failure.code()),
    }
}

fn fail(text: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "bellhop: {text}");
    code
}
