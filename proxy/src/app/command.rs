//! The command line: from arguments to an exit code.

use std::{
    backtrace::BacktraceStatus,
    error::Error,
    ffi::OsString,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{Running, StartError, start};
use crate::{
    check,
    config::{self, Config, LogFormat, Process},
    drain::Phase,
    intercept,
};

/// Wrong usage (sysexits.h `EX_USAGE`).
pub(crate) const EXIT_USAGE: u8 = 64;

const ABOUT: &str = "Bellhop's data plane: runs beside a service, reads the routing key from each call's baggage, and \
sends the call to the sandbox registered under that key, or else to the baseline.";

const AFTER: &str = "\
Every flag can be given by the environment variable named with it; the flag wins. Lists are separated by commas.

Examples:
  One service, no privileges:      bellhop-proxy --listen 127.0.0.1:9080 --upstream 127.0.0.1:8080 \\
                                     --destination route:8080 --control http://127.0.0.1:7070
  A workload's whole traffic:      bellhop-proxy intercept --proxy-uid 1337 && \\
                                     setpriv --reuid 1337 bellhop-proxy --intercepted --control http://…
  An application with HTTP_PROXY:  bellhop-proxy --explicit 127.0.0.1:3128 --control http://127.0.0.1:7070

Signals: SIGTERM and SIGINT drain (unready, connections come to their end); a second one ends at once.
Exit status: 0 drained; 1 cannot start, cannot take over, or ended by a second signal; 64 wrong usage.";

#[derive(Debug, clap::Parser)]
#[command(name = "bellhop-proxy", version, about = ABOUT, after_help = AFTER, max_term_width = 110)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    flags: config::Flags,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Leads a workload's TCP traffic through the proxy: writes nftables or iptables rules for IPv4 and IPv6, in the
    /// network namespace that it runs in
    Intercept(intercept::Flags),
    /// Tells what is wrong with this host's interception, and what to do about it; changes nothing
    Check(check::Flags),
}

/// Runs the program on `args`, the program's name first.
#[must_use]
pub fn main_from<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    let parsed = Arguments::command()
        .try_get_matches_from(args)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where it cannot be printed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.task {
        Some(Task::Intercept(flags)) => return intercept::run(flags),
        Some(Task::Check(flags)) => return check::run(flags),
        None => {}
    }
    match arguments.flags.resolve() {
        Ok(config) => run(config),
        Err(faults) => {
            eprintln!("bellhop-proxy: cannot start\n{faults}\nSee bellhop-proxy --help.");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(config: Config) -> ExitCode {
    log_to_stderr(&config.process);
    log_panics();
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot wait for signals");
            return ExitCode::FAILURE;
        }
    };
    let running = match start(config) {
        Ok(running) => running,
        Err(error @ StartError::NoListener) => {
            eprintln!("bellhop-proxy: {error}\nSee bellhop-proxy --help.");
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            tracing::error!(error = with_causes(&error), "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match serde_json::to_string(running.config()) {
        Ok(config) => tracing::info!(addresses = ?running.addresses(), %config, "serving"),
        Err(error) => tracing::error!(%error, "the effective configuration cannot be told"),
    }
    match signals.until_the_end(&running) {
        End::Drained => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        End::Cut => {
            tracing::warn!("ended by a second signal");
            ExitCode::FAILURE
        }
        End::NeverServed => ExitCode::FAILURE,
    }
}

/// How a proxy that had started came to its end.
enum End {
    /// As it was told to.
    Drained,
    /// By a second signal.
    Cut,
    /// Before it accepted anything, told by nobody: the proxy that it was to follow goes on.
    NeverServed,
}

/// An error and what caused it, on one line: the JSON log leaves out an error's sources.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// Signals, heard from before the first connection on: later no descriptor may be left for them.
struct Signals {
    runtime: runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (terminate, interrupt) = runtime.block_on(async {
            io::Result::Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
        })?;
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Waits for signals or the end.
    fn until_the_end(self, running: &Running) -> End {
        let Self { runtime, mut terminate, mut interrupt } = self;
        let shared = &running.shared;
        runtime.block_on(async {
            for (phase, by_itself) in [(Phase::Draining, End::NeverServed), (Phase::Ended, End::Drained)] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = shared.drain.reached(Phase::Ended) => {
                        return if shared.succession.is_open() { End::Drained } else { by_itself };
                    }
                }
                shared.advance(phase);
            }
            End::Cut
        })
    }
}

fn log_to_stderr(process: &Process) {
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(process.log_level.filter())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // It fails where the program that this one is linked into logs already.
    let _ = match process.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// A panic loses one connection; it is told as everything else is, in one line, and its backtrace on demand
/// (`RUST_BACKTRACE`).
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace =
            matches!(backtrace.status(), BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, location = ?panic.location(), backtrace, "panic: {}", panic.payload_as_str().unwrap_or("?"));
    }));
}
