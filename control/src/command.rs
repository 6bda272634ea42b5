//! The command line: from arguments to an exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{
    app::{Running, start},
    backup::command::{BackupFlags, RestoreFlags},
    clock::Clock,
    config::{Config, DevCerts, Flags, LogFormat, TrialConfig, UsageError},
    trial,
};

/// Wrong usage (sysexits.h `EX_USAGE`).
const EXIT_USAGE: u8 = 64;

const EXAMPLES: &str = "\
Try it:
  bellhop-control --data-dir ./bellhop-data
  bellhop sandbox create pr-15 --override route:8080=10.0.0.7:8080 --ttl 4h
  bellhop-proxy --listen 127.0.0.1:8080 --upstream 127.0.0.1:9090 --destination route:8080 --control http://127.0.0.1:7070
  curl -N 'http://127.0.0.1:7070/v1/routes?watch=true'

Commands: backup, restore, dev-certs; see bellhop-control COMMAND --help.
It speaks HTTP and JSON, described at /openapi.json. Exit codes: 0 done, or ended as
told; 1 could not start, or not done; 64 wrong flags.";

/// Bellhop's control plane: keeps services, sandboxes and groups, and tells every proxy their routes
#[derive(Debug, clap::Parser)]
#[command(name = "bellhop-control", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    Backup(BackupFlags),
    Restore(RestoreFlags),
    DevCerts(DevCerts),
}

/// Runs the program with this command line, the program's name in front.
pub fn main_from<I, A>(args: I) -> ExitCode
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    let parsed = Arguments::command()
        .try_get_matches_from(args.into_iter().map(Into::into))
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // nobody is left to tell where even this cannot be printed
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let typed = matches.subcommand().map_or(&matches, |(_, of_task)| of_task);
    let outcome = match arguments.task {
        Some(Task::Backup(flags)) => flags.run(typed),
        Some(Task::Restore(flags)) => flags.run(typed),
        Some(Task::DevCerts(flags)) => match flags.resolve() {
            Ok(config) => dev_certs(&config),
            Err(faults) => return fail(&faults.to_string(), EXIT_USAGE),
        },
        None => match arguments.flags.resolve() {
            Ok(config) => serve(config),
            Err(faults @ UsageError::Faults(_)) => return fail(&faults.to_string(), EXIT_USAGE),
            Err(error) => Err(error.into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&causes(&error), if error.is::<UsageError>() { EXIT_USAGE } else { 1 }),
    }
}

fn dev_certs(config: &TrialConfig) -> anyhow::Result<()> {
    use std::io::Write as _;
    let written = trial::refresh(config, Clock::System.now())?;
    let files = if written.is_empty() { "all are there and young".to_owned() } else { written.join(", ") };
    // what was asked for is done, whether or not anybody reads of it
    writeln!(std::io::stdout(), "{}: {files}", config.directory.display()).ok();
    Ok(())
}

fn serve(config: Config) -> anyhow::Result<()> {
    log(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tracing::info!(?config, "effective configuration");
        let running = start(config).await?;
        ended(&running).await?;
        tracing::info!("ending");
        running.shutdown().await;
        Ok(())
    })
}

/// Waits for SIGTERM or SIGINT; takes files anew on SIGHUP.
async fn ended(running: &Running) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => running.reload().await,
        }
    }
}

fn log(format: LogFormat) {
    use std::io::IsTerminal as _;
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // a subscriber that is there already stays
    match format {
        LogFormat::Text => log.try_init().ok(),
        LogFormat::Json => log.json().try_init().ok(),
    };
}

/// The whole story: what could not be done, and why.
fn causes(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // many errors tell their source themselves
        if !told.contains(&cause) {
            told.push_str(if told.is_empty() { "" } else { ": " });
            told.push_str(&cause);
        }
    }
    told
}

fn fail(text: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "bellhop-control: {text}").ok();
    ExitCode::from(code)
}
