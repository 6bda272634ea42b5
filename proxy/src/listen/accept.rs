//! The acceptor: takes connections, says where each was meant to go, and hands it to the worker with the fewest.
//!
//! A thread of its own without a runtime: it waits for its listeners and for the bell of `Places`. At the connection
//! limit it waits for the bell alone, and out of descriptors for a moment. While the proxy drains it goes on accepting;
//! the last connection that ends, or the deadline, ends the proxy.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SocketFlags, acceptfrom_with, sockopt},
};

use super::{
    bind::{Bound, Door, Kind},
    own,
};
use crate::{
    connection::{Accepted, Arrival},
    counters::Event,
    drain::Phase,
    shared::SharedRef,
    worker::Handle,
};

/// How long accepting rests when descriptors or memory ran out: long enough not to spin, short enough that callers
/// see a delay and no time-out.
const PAUSE: Duration = Duration::from_millis(100);

/// One listener's turn: a burst at one shall not keep the others waiting.
const TURN: usize = 64;

const STACK_BYTES: usize = 128 * 1024;

struct Acceptor {
    shared: SharedRef,
    listeners: Vec<Bound>,
    workers: Vec<Handle>,
    /// Since when, where it does, the proxy drains.
    draining_since: Option<Instant>,
    /// Until when accepting rests.
    rests_until: Option<Instant>,
    /// Why it last did, so that it is told once.
    failed: Option<Errno>,
}

/// What stands between the acceptor and more connections.
enum Wait {
    /// Nothing: the listeners are waited for, at most until the drain's deadline.
    Listeners(Option<Duration>),
    /// No place is free, or accepting rests.
    Bell(Option<Duration>),
    /// The proxy drains and holds nobody: only who waits in a queue keeps it.
    LastCall,
    /// The proxy has ended.
    End,
}

/// Starts the acceptor thread. It ends, and closes the listeners, when the proxy [ends](Phase::Ended).
///
/// # Errors
/// When the thread cannot be had.
pub(crate) fn start(
    shared: SharedRef,
    listeners: Vec<Bound>,
    workers: Vec<Handle>,
) -> io::Result<thread::JoinHandle<()>> {
    let mut acceptor =
        Acceptor { shared, listeners, workers, draining_since: None, rests_until: None, failed: None };
    let thread = thread::Builder::new().name("acceptor".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        if let Err(error) = acceptor.run() {
            tracing::error!(%error, "accepting failed");
        }
        acceptor.shared.advance(Phase::Ended);
    })
}

/// accept(2): the caller gave up, its network did, or a rule of this host forbids it. The connection is gone from the
/// queue, and the next one may be better.
fn is_the_callers(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
    )
}

impl Acceptor {
    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.next() {
                Wait::Listeners(time) => {
                    for ready in self.wait(true, time)? {
                        self.accept_from(ready);
                    }
                }
                Wait::Bell(time) => drop(self.wait(false, time)?),
                Wait::LastCall => {
                    let ready = self.wait(true, Some(Duration::ZERO))?;
                    if ready.is_empty() {
                        return Ok(());
                    }
                    ready.into_iter().for_each(|listener| self.accept_from(listener));
                }
                Wait::End => return Ok(()),
            }
        }
    }

    fn next(&mut self) -> Wait {
        let shared = &self.shared;
        if shared.drain.ended() {
            return Wait::End;
        }
        if shared.succession.is_over() {
            // Whoever waits in their queues is the successor's.
            self.listeners.clear();
        }
        let draining = shared.drain.draining();
        // A proxy that takes over leaves the queue to the one before until it is ready.
        if !shared.succession.is_open() {
            return if draining { Wait::End } else { Wait::Bell(None) };
        }
        let was_listening = shared.places.full();
        shared.places.listen(draining || was_listening);
        let mut left = None;
        if draining {
            let since = self.draining_since.get_or_insert_with(Instant::now);
            left = shared.config.process.drain_timeout.checked_sub(since.elapsed());
            if left.is_none() {
                (0..shared.places.held()).for_each(|_| shared.counters.count(Event::DrainCut));
                return Wait::End;
            }
            if shared.places.held() == 0 {
                return Wait::LastCall;
            }
        }
        if let Some(rest) = self.rests_until.map(|until| until.saturating_duration_since(Instant::now())) {
            if !rest.is_zero() {
                return Wait::Bell(Some(left.map_or(rest, |left| left.min(rest))));
            }
            self.rests_until = None;
        }
        // Read again after the bell was asked for: a place given back in between has not rung it.
        if was_listening && shared.places.full() {
            shared.counters.count(Event::LimitReached);
            return Wait::Bell(left);
        }
        Wait::Listeners(left)
    }

    /// Waits for the bell and, where asked, the listeners. Answers with the indices of those with connections.
    fn wait(&self, listeners: bool, time: Option<Duration>) -> io::Result<Vec<usize>> {
        let bell = self.shared.places.bell();
        let mut sources = vec![PollFd::new(&bell, PollFlags::IN)];
        if listeners {
            sources.extend(self.listeners.iter().map(|bound| PollFd::new(&bound.socket, PollFlags::IN)));
        }
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut sources, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = sources.iter().map(|source| !source.revents().is_empty());
        if ready.next() == Some(true) {
            self.shared.places.silence();
        }
        Ok(ready.enumerate().filter_map(|(at, ready)| ready.then_some(at)).collect())
    }

    fn accept_from(&mut self, listener: usize) {
        let Some(Bound { door, socket }) = self.listeners.get(listener) else { return };
        let mut failed = None;
        for _ in 0..TURN {
            // A successor may have come to serve while this thread woke.
            if self.shared.places.full() || self.shared.succession.is_over() {
                return;
            }
            match acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        self.hand_over(door, socket.into(), peer);
                    }
                    (failed, self.failed) = (None, None);
                }
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    failed = Some(error);
                    if !is_the_callers(error) {
                        break;
                    }
                }
            }
        }
        // Out of descriptors or memory, or a listener that is broken and would say so for ever.
        if let Some(error) = failed {
            self.shared.counters.count(Event::AcceptPaused);
            self.rests_until = Some(Instant::now() + PAUSE);
            if self.failed.replace(error) != Some(error) {
                tracing::warn!(listener = %door.address, %error, "accepting pauses");
            }
        }
    }

    fn hand_over(&self, door: &Door, socket: TcpStream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // Answers are written whole; waiting for more only adds latency.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        match self.arrival(door, &socket, peer) {
            Ok(arrival) => {
                self.shared.counters.count(Event::Accepted);
                let place = self.shared.places.take();
                if let Some(worker) = self.workers.iter().min_by_key(|worker| worker.held()) {
                    worker.take(Accepted { socket, arrival, peer, place });
                }
            }
            Err(refused) => {
                self.shared.counters.count(refused);
                tracing::debug!(%peer, listener = %door.address, reason = refused.as_str(), "refused");
            }
        }
    }

    /// Where the connection was meant to go, or why it is refused.
    fn arrival(&self, door: &Door, socket: &TcpStream, peer: SocketAddr) -> Result<Arrival, Event> {
        let shared = &self.shared;
        let listeners = &shared.config.listeners;
        let lends_position = matches!(door.kind, Kind::Outbound | Kind::Explicit);
        if lends_position && !door.is_loopback() && !listeners.allows(peer.ip()) {
            return Err(Event::RefusedCaller);
        }
        match &door.kind {
            Kind::Fixed(upstream) => Ok(Arrival::Fixed(Arc::clone(upstream))),
            Kind::Explicit => Ok(Arrival::Explicit),
            Kind::Outbound => {
                let original = self.original(socket)?;
                let own = shared.own_dials.as_ref().is_some_and(|dials| dials.contains(peer, original));
                Ok(if own { Arrival::Loop } else { Arrival::Outbound { original } })
            }
            Kind::Inbound => {
                let original = self.original(socket)?;
                if !own::is_local(original.ip()) {
                    return Err(Event::RefusedNotLocal);
                }
                let ports = &listeners.inbound_ports;
                if !ports.is_empty() && !ports.contains(&original.port()) {
                    return Err(Event::RefusedPort);
                }
                Ok(Arrival::Inbound { original })
            }
        }
    }

    /// The address that was dialled before the redirect. Without one, or where it is a listener of this proxy, somebody
    /// dialled the listener itself.
    fn original(&self, socket: &TcpStream) -> Result<SocketAddr, Event> {
        let local = socket.local_addr().map_err(|_| Event::RefusedDirect)?;
        let socket = socket2::SockRef::from(socket);
        let original = if local.ip().to_canonical().is_ipv4() {
            socket.original_dst_v4()
        } else {
            socket.original_dst_v6()
        };
        let original = original.ok().and_then(|address| address.as_socket()).ok_or(Event::RefusedDirect)?;
        let original = SocketAddr::new(original.ip().to_canonical(), original.port());
        if self.shared.own.contains(original) { Err(Event::RefusedDirect) } else { Ok(original) }
    }
}
