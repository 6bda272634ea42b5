//! Everything that is not HTTP: both directions, byte for byte, with back-pressure.
//!
//! An end is passed on as an end, and a reset as a reset, so that a cut stream never looks whole. An idle tunnel holds
//! no buffer: bytes pass through one that the worker lends, and only those that the receiver did not take are kept. Where
//! much passes in a row it is not copied at all ([`splice`]).

mod carrying;
mod splice;

use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind::WouldBlock},
    net::Shutdown,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

pub(crate) use self::carrying::Carrying;
use crate::{
    connection::{Baseline, Client, Detected},
    counters::Event,
    telemetry::Tunnel,
};

/// Two sockets and what was already read from each.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The client's socket.
    pub(crate) client: TcpStream,
    /// Read from the client, not yet written to the server.
    pub(crate) to_server: Bytes,
    /// How many of them were counted already, as those of the connection that became the tunnel.
    pub(crate) counted: usize,
    /// The server's socket.
    pub(crate) server: TcpStream,
    /// Read from the server, not yet written to the client.
    pub(crate) to_client: Bytes,
}

/// A TLS client's first byte: a handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// Tunnels a connection that detection found opaque. Without a baseline its client is reset.
pub(crate) async fn opaque(client: &Client, from: Detected) {
    // The kernel may try for minutes; a client that has gone by then must not hold its place that long.
    let baseline = tokio::select! {
        biased;
        baseline = from.baseline.ready() => baseline,
        _error = broken(&from.client) => return,
    };
    match baseline {
        Baseline::Connected(server) => {
            let to_server = from.first.freeze();
            let what = if to_server.first() == Some(&TLS_HANDSHAKE) { Tunnel::Tls } else { Tunnel::Opaque };
            let to_client = from.server_first;
            let counted = from.counted;
            run(client, Ends { client: from.client, to_server, counted, server, to_client }, what).await;
        }
        Baseline::Failed(_) | Baseline::NotDialled | Baseline::Dialling(_) => {
            client.worker.shared.counters.count(Event::BaselineFailed);
            reset(&from.client);
        }
    }
}

/// Copies both directions until both have ended, one was reset, or nothing moved for the idle time-out. Both sockets
/// are closed then.
///
/// # Cancel safety
/// Dropping it resets both sockets.
pub(crate) async fn run(client: &Client, ends: Ends, what: Tunnel) {
    let shared = &client.worker.shared;
    let _open = client.worker.telemetry.tunnel(what);
    // However long it is quiet: its own time-out, or the drain's deadline, ends it.
    client.activity.begin();
    let Ends { client: near, to_server, counted, server: far, to_client } = ends;
    let cut = Cut { near: &near, far: &far, whole: Cell::new(false) };
    let moved = Cell::new(Instant::now());
    let up = Direction::new(&near, &far, &moved, &shared.counters.tunnelled_up, counted);
    let down = Direction::new(&far, &near, &moved, &shared.counters.tunnelled_down, 0);
    let ended = tokio::select! {
        biased;
        both = async { tokio::try_join!(up.run(to_server), down.run(to_client)) } => both.map(|_| ()),
        error = broken(&near) => Err(error),
        error = broken(&far) => Err(error),
        () = idle(&moved, shared.config.limits.idle_timeout) => {
            shared.counters.count(Event::IdleTimeout);
            Err(io::ErrorKind::TimedOut.into())
        }
    };
    cut.whole.set(ended.is_ok());
}

/// Resets both ends of a tunnel that did not come to its own: one was reset, it was idle too long, the drain's deadline
/// cut it. A stream that was cut must not look whole.
struct Cut<'a> {
    near: &'a TcpStream,
    far: &'a TcpStream,
    whole: Cell<bool>,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if !self.whole.get() {
            reset(self.near);
            reset(self.far);
        }
    }
}

/// Makes the coming close of a socket a reset.
pub(crate) fn reset(socket: &TcpStream) {
    // It fails only on a socket that is gone.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// One way through a tunnel.
struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    moved: &'a Cell<Instant>,
    total: &'a AtomicU64,
    /// How many of the first bytes are not to be counted.
    counted: Cell<usize>,
    /// Steps in a row that a receiver took whole and that were worth no copy.
    long: Cell<u8>,
}

impl<'a> Direction<'a> {
    fn new(
        from: &'a TcpStream,
        to: &'a TcpStream,
        moved: &'a Cell<Instant>,
        total: &'a AtomicU64,
        counted: usize,
    ) -> Self {
        Self { from, to, moved, total, counted: Cell::new(counted), long: Cell::new(0) }
    }

    /// Copies until the sender's end, and passes that on.
    async fn run(&self, first: Bytes) -> io::Result<()> {
        self.deliver(&first).await?;
        drop(first);
        loop {
            self.from.readable().await?;
            match self.step() {
                Ok(Passed::End) => {
                    // A receiver that is gone already tells so by itself.
                    let _ = SockRef::from(self.to).shutdown(Shutdown::Write);
                    return Ok(());
                }
                Ok(Passed::All(_)) => {}
                Ok(Passed::Left(left)) => self.deliver(&left).await?,
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(error),
            }
            // A fast pair of peers shall not keep the worker from its other connections.
            consume_budget().await;
        }
    }

    /// Moves once what there is; without a copy where the last steps moved much.
    fn step(&self) -> io::Result<Passed> {
        let spliced =
            (self.long.get() == LONG).then(|| splice::pass(self.from, self.to, |count| self.count(count)));
        let passed = match spliced {
            Some(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                self.long.set(NEVER);
                self.pass()
            }
            Some(passed) => passed,
            None => self.pass(),
        }?;
        self.long.set(match (self.long.get(), &passed) {
            (NEVER, _) => NEVER,
            (long, Passed::All(length)) if *length >= MUCH => LONG.min(long + 1),
            _ => 0,
        });
        Ok(passed)
    }

    /// Reads once and writes once, through the worker's buffer.
    fn pass(&self) -> io::Result<Passed> {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(BUFFER_BYTES, 0);
            let read = self.from.try_read(buffer)?;
            if read == 0 {
                return Ok(Passed::End);
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            let written = match self.to.try_write(bytes) {
                Err(error) if error.kind() == WouldBlock => 0,
                written => written?,
            };
            self.count(written);
            let left = bytes.get(written..).unwrap_or_default();
            Ok(if left.is_empty() { Passed::All(read) } else { Passed::Left(left.into()) })
        })
    }

    /// Writes all of `bytes`, however long the receiver takes.
    async fn deliver(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.try_write(bytes) {
                Ok(written) => {
                    self.count(written);
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == WouldBlock => self.to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn count(&self, written: usize) {
        self.moved.set(Instant::now());
        let before = self.counted.get().min(written);
        self.counted.set(self.counted.get() - before);
        self.total.fetch_add((written - before) as u64, Relaxed);
    }
}

/// What one read and write did.
enum Passed {
    /// The sender has ended.
    End,
    /// The receiver took everything: so many bytes.
    All(usize),
    /// The receiver did not take these.
    Left(Box<[u8]>),
}

/// So many steps in a row that move so much, and the next ones are spliced.
const LONG: u8 = 8;
/// In place of them where it was found that nothing can be spliced: a pipe that is made in vain costs more than a copy.
const NEVER: u8 = u8::MAX;
const MUCH: usize = 32 * 1024;

/// As much as a socket's buffer usually holds: fewer calls for each byte.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    /// The worker's one buffer, made at the first use, for the time between a read and the write that follows it.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Waits for a reset. Needed where its direction is not being read: the sender had ended before, or the receiver is slow.
pub(crate) async fn broken(socket: &TcpStream) -> io::Error {
    loop {
        match socket.ready(Interest::ERROR).await {
            Ok(_) => match socket.take_error() {
                Ok(None) => {
                    // Nothing after all: clears the readiness, so that the next one is waited for.
                    let nothing: io::Result<()> = socket.try_io(Interest::ERROR, || Err(WouldBlock.into()));
                    drop(nothing);
                }
                Ok(Some(error)) | Err(error) => return error,
            },
            Err(error) => return error,
        }
    }
}

/// Waits until nothing moved for `limit`.
async fn idle(moved: &Cell<Instant>, limit: Duration) {
    loop {
        let until = moved.get() + limit;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests;
