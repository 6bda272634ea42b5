//! The proxy as a whole: starting it, running it, ending it.
//!
//! Threads of a running proxy: the workers, the acceptor, and one for housekeeping (routes, admin, metrics). Dropping
//! [`Running`] ends them all.

mod command;
mod descriptors;
mod housekeeping;

use std::{io, net::SocketAddr, os::fd::AsFd as _, process, sync::Arc, thread::JoinHandle};

pub(crate) use self::command::EXIT_USAGE;
pub use self::command::main_from;
use self::housekeeping::House;
pub use crate::{admin::AdminBindError, handover::HandoverError, listen::BindError};
use crate::{
    admin::{self, Bound, Doors},
    config::Config,
    drain::Phase,
    handover::{self, Offer},
    listen, overload, routes,
    shared::{Shared, SharedRef},
    telemetry, worker,
};

/// The proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to do.
    #[error("no listener: give --listen with --upstream, --intercepted, --outbound, --inbound or --explicit")]
    NoListener,
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// One of the proxy's own listeners could not be opened.
    #[error(transparent)]
    Admin(#[from] AdminBindError),
    /// Sockets that were handed over cannot be used.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Spans cannot be exported as OpenTelemetry's own variables ask for it.
    #[error("cannot export spans")]
    Spans(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started, or no descriptor is left for it.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A proxy that serves. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Running {
    shared: SharedRef,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    status: Option<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a proxy: raises the descriptor limit, opens every listener that was not handed to it, then starts the threads.
/// One that takes over from another accepts when it is ready, and lets that one drain then.
///
/// # Errors
/// When it has nothing to listen on, cannot listen there, or gets no thread. Nothing runs then.
pub fn start(mut config: Config) -> Result<Running, StartError> {
    let limit = descriptors::raise();
    config.limits.max_connections = Some(descriptors::connections(config.limits.max_connections, limit));
    let exporter = telemetry::exporter(&config).map_err(|error| StartError::Spans(error.into()))?;
    config.limits.max_memory = overload::budget(config.limits.max_memory);
    let (mut inherited, predecessor) = handover::collect(&config.handover)?;
    let bound = listen::bind_all(&config.listeners, &mut inherited)?;
    if bound.is_empty() {
        return Err(StartError::NoListener);
    }
    let shared = Shared::new(config, predecessor.is_some()).map_err(StartError::Thread)?;
    let shared: SharedRef = Arc::new(shared);
    let file_is_left = shared.succession.file_is_left();
    let mut from = admin::From { inherited: &mut inherited, file_is_left };
    let doors = Doors::open(&shared.config.admin, &mut from)?;
    inherited.finish()?;
    offer(&shared, &bound, &doors).map_err(StartError::Thread)?;
    let (admin, status) = (address(doors.admin.as_ref()), address(doors.status.as_ref()));
    let addresses: Vec<_> = bound.iter().map(|bound| bound.door.address).collect();
    addresses.iter().chain(&admin).chain(&status).for_each(|address| shared.own.add(*address));
    // From here on its drop ends what was started.
    let mut running = Running { shared: Arc::clone(&shared), addresses, admin, status, threads: Vec::new() };
    let id = predecessor.is_some().then(process::id);
    let routes = routes::prepare(&shared.config.routing, id, &shared.tables, &shared.telemetry.housekeeping);
    let house = House { routes, doors, predecessor, exporter };
    running.threads.push(house.start(Arc::clone(&shared)).map_err(StartError::Thread)?);
    let mut workers = Vec::new();
    for number in 0..shared.config.process.workers {
        let (handle, thread) = worker::start(Arc::clone(&shared), number).map_err(StartError::Thread)?;
        workers.push(handle);
        running.threads.push(thread);
    }
    running.threads.push(listen::start(shared, bound, workers).map_err(StartError::Thread)?);
    Ok(running)
}

/// Where the admin listener is a Unix socket, a successor may ask there for all listeners.
fn offer(shared: &Shared, bound: &[listen::Bound], doors: &Doors) -> io::Result<()> {
    if !matches!(doors.admin, Some(Bound::Unix(..))) {
        return Ok(());
    }
    let listeners = bound.iter().map(|bound| (bound.door.kind.name(), bound.socket.as_fd()));
    let own = [("admin", &doors.admin), ("status", &doors.status)].into_iter();
    let own = own.filter_map(|(name, door)| Some((name, door.as_ref()?.socket())));
    let offers = listeners.chain(own).map(|(name, socket)| Offer::new(name, socket));
    shared.succession.offer(offers.collect::<io::Result<_>>()?);
    Ok(())
}

fn address(bound: Option<&Bound>) -> Option<SocketAddr> {
    bound.and_then(Bound::address)
}

impl Running {
    /// The addresses that it listens on: fixed, outbound, inbound, explicit, each in the configuration's order.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of the admin listener; none where there is none, or where it is a Unix socket.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The address of the status listener.
    #[must_use]
    pub fn status(&self) -> Option<SocketAddr> {
        self.status
    }

    /// The effective configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Begins to drain. Returns at once; [`join`](Self::join) waits for the end.
    pub fn drain(&self) {
        self.shared.advance(Phase::Draining);
    }

    /// Waits until the proxy has ended, drained or cut.
    pub fn join(mut self) {
        self.join_threads();
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy panicked");
            }
        }
        self.shared.telemetry.finish();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.advance(Phase::Ended);
        self.join_threads();
    }
}

#[cfg(test)]
mod tests;
