//! The proxy as a whole: starting it, running it, ending it.

use std::{ffi::OsString, io, net::SocketAddr, process::ExitCode, sync::Arc, thread::JoinHandle};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{
    config::{self, Config},
    drain::Phase,
    listen::{self, BindError},
    shared::{Shared, SharedRef},
    worker,
};

/// Wrong usage (sysexits.h `EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// The proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to do.
    #[error("no listener: give --listen with --upstream, --intercepted, --outbound, --inbound or --explicit")]
    NoListener,
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A proxy that serves. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Running {
    shared: SharedRef,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a proxy.
///
/// # Errors
/// When it has nothing to listen on, cannot listen there, or gets no thread. Nothing runs then.
pub fn start(mut config: Config) -> Result<Running, StartError> {
    let max_connections = config.limits.max_connections.unwrap_or(10_000);
    config.limits.max_connections = Some(max_connections);
    let bound = listen::bind_all(&config.listeners)?;
    if bound.is_empty() {
        return Err(StartError::NoListener);
    }
    let shared: SharedRef = Arc::new(Shared::new(config).map_err(StartError::Thread)?);
    let addresses: Vec<_> = bound.iter().map(|bound| bound.door.address).collect();
    addresses.iter().for_each(|address| shared.own.add(*address));
    let mut running = Running { shared: Arc::clone(&shared), addresses, threads: Vec::new() };
    let mut workers = Vec::new();
    for number in 0..shared.config.process.workers {
        let (handle, thread) = worker::start(Arc::clone(&shared), number).map_err(StartError::Thread)?;
        workers.push(handle);
        running.threads.push(thread);
    }
    let acceptor = listen::start(shared, bound, workers).map_err(StartError::Thread)?;
    running.threads.push(acceptor);
    Ok(running)
}

impl Running {
    /// The addresses that it listens on: fixed, outbound, inbound, explicit, each in the configuration's order.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to drain. Returns at once; [`join`](Self::join) waits for the end.
    pub fn drain(&self) {
        self.shared.advance(Phase::Draining);
    }

    /// Waits until the proxy has ended.
    pub fn join(mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.advance(Phase::Ended);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A header-aware routing sidecar: sends each request to the sandbox that its routing key names, or to the baseline.
#[derive(Debug, clap::Parser)]
#[command(name = "bellhop-proxy", version, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    flags: config::Flags,
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
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match arguments.flags.resolve() {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("bellhop-proxy: cannot start\n{faults}\nSee bellhop-proxy --help.");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match start(config) {
        Ok(running) => {
            tracing::info!(addresses = ?running.addresses(), "listening");
            running.join();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot start");
            ExitCode::FAILURE
        }
    }
}
