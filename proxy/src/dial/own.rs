//! This proxy's latest dials, so that one which packet filters led back to it is known when it is accepted. Without that
//! a proxy whose user the rules do not leave alone would dial itself until it had no descriptor left.
//!
//! Only intercepted connections can come back, so only proxies that have such listeners note anything. What is forgotten
//! too early is found one dial later; whoever is accepted later than [`LIFE`] counts against the connection limit.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// A redirected dial is accepted within milliseconds, or a second later where its SYN was lost. Long after, the same pair
/// of addresses may be an application's.
const LIFE: Duration = Duration::from_secs(2);
/// More dials than are under way at once: 32 KiB.
const ROWS: usize = 512;
/// The oldest of a row makes room.
const ROW: usize = 8;
/// So many dials to different destinations do not wait for each other's system calls.
const GATES: usize = 16;
/// Bits of a note that hold its time, in milliseconds; the others hold what was noted.
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Sockets that this proxy dialled of late, by their own address and their destination.
#[derive(Debug)]
pub(crate) struct OwnDials {
    notes: Box<[[AtomicU64; ROW]]>,
    /// Held from before a connect to a destination until it is noted: nobody can be accepted and not be found.
    gates: [Mutex<()>; GATES],
    hasher: RandomState,
    began: Instant,
}

impl OwnDials {
    /// Nothing dialled yet.
    pub(crate) fn new() -> Self {
        Self {
            notes: (0..ROWS).map(|_| <[AtomicU64; ROW]>::default()).collect(),
            gates: [const { Mutex::new(()) }; GATES],
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// Connects, and notes it before anybody can accept it.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let stream = TcpStream::from_std(self.begin(socket, to)?.into())?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    fn begin(&self, socket: Socket, to: SocketAddr) -> io::Result<Socket> {
        self.at_gate(to, || {
            match socket.connect(&to.into()) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                    return Err(error);
                }
                Ok(()) | Err(_) => {}
            }
            if let Some(from) = socket.local_addr()?.as_socket() {
                self.note(from, to, Instant::now());
            }
            Ok(())
        })?;
        Ok(socket)
    }

    /// Whether a connection from `peer` that was on its way to `original` is one of this proxy's own.
    pub(crate) fn contains(&self, peer: SocketAddr, original: SocketAddr) -> bool {
        self.at_gate(original, || self.is_noted(peer, original, Instant::now()))
    }

    fn at_gate<T>(&self, to: SocketAddr, work: impl FnOnce() -> T) -> T {
        let gate = self.hasher.hash_one(plain(to)) as usize % GATES;
        let _held = self.gates.get(gate).map(|gate| gate.lock().unwrap_or_else(PoisonError::into_inner));
        work()
    }

    fn note(&self, from: SocketAddr, to: SocketAddr, now: Instant) {
        let hash = self.hash(from, to);
        let oldest = self.row(hash).iter().max_by_key(|note| self.age(note.load(Relaxed), now));
        if let Some(note) = oldest {
            note.store((hash & !TIME_MASK) | self.millis(now), Relaxed);
        }
    }

    fn is_noted(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        let hash = self.hash(from, to);
        self.row(hash).iter().map(|note| note.load(Relaxed)).any(|note| {
            (note ^ hash) & !TIME_MASK == 0 && u128::from(self.age(note, now)) <= LIFE.as_millis()
        })
    }

    fn row(&self, hash: u64) -> &[AtomicU64] {
        self.notes.get(hash as usize % ROWS).map_or(&[], |row| row)
    }

    fn age(&self, note: u64, now: Instant) -> u64 {
        self.millis(now).wrapping_sub(note) & TIME_MASK
    }

    fn hash(&self, from: SocketAddr, to: SocketAddr) -> u64 {
        self.hasher.hash_one((plain(from), plain(to)))
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64 & TIME_MASK
    }
}

/// One spelling for each address; a scope is the link's, not the connection's.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "10.0.0.1:40000";
    const TO: &str = "10.0.0.2:80";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// F17.
    #[test]
    fn a_dial_is_known_for_a_while_by_both_of_its_addresses() {
        let dials = OwnDials::new();
        let now = dials.began + Duration::from_secs(20_000);
        assert!(!dials.is_noted(at(FROM), at(TO), dials.began));
        dials.note(at(FROM), at(TO), now);
        for later in [Duration::ZERO, LIFE] {
            assert!(dials.is_noted(at(FROM), at(TO), now + later), "{later:?}");
            assert!(dials.is_noted(at("[::ffff:10.0.0.1]:40000"), at(TO), now + later));
        }
        assert!(!dials.is_noted(at("10.0.0.1:40001"), at(TO), now));
        assert!(!dials.is_noted(at(FROM), at("10.0.0.2:81"), now));
        assert!(!dials.is_noted(at(FROM), at(TO), now + LIFE + Duration::from_millis(1)));
    }

    /// F17: whoever accepts it at once finds it.
    #[tokio::test]
    async fn a_dial_is_noted_before_it_can_be_accepted() {
        let dials = std::sync::Arc::new(OwnDials::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let known = std::sync::Arc::clone(&dials);
        let (says, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..200 {
                says.send(known.contains(listener.accept().unwrap().1, address)).unwrap();
            }
        });
        for number in 0..200 {
            dials.connect(address).await.unwrap();
            assert_eq!(said.recv(), Ok(true), "{number}");
        }
        // The listener is gone with its thread.
        assert!(said.recv().is_err());
        let refused = dials.connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
