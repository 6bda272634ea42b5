//! This proxy's latest dials, so that one which packet filters led back to it is known when it is accepted. Without that
//! a proxy whose user the rules do not leave alone would dial itself until it had no descriptor left.
//!
//! Only intercepted connections can come back, so only proxies that have such listeners note anything. What is forgotten
//! too early is found one dial later; whoever is accepted later than [`LIFE`] counts against the connection limit.
//!
//! An own address is known after connect(2) alone, and may be accepted before that returns. So whoever dials says so first,
//! and the acceptor waits for a dial that is under way to the destination it asks about. Dials never wait, neither for each
//! other nor for the acceptor: a lock around the system call would let all workers dial a busy destination one by one.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    thread,
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
/// More threads than are in connect(2) at once: each worker is in one of its own at the most.
const SEATS: usize = 64;
/// Of a seat, the bits that tell one dial from the next one to the same destination.
const TURN_MASK: u64 = 0xffff;
/// Bits of a note that hold its time, in milliseconds; the others hold what was noted.
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Sockets that this proxy dialled of late, by their own address and their destination.
#[derive(Debug)]
pub(crate) struct OwnDials {
    notes: Box<[[AtomicU64; ROW]]>,
    /// Destinations that are being connected to and not yet noted, each with its turn; 0 where nobody sits.
    seats: [AtomicU64; SEATS],
    turns: AtomicU64,
    hasher: RandomState,
    began: Instant,
}

impl OwnDials {
    /// Nothing dialled yet.
    pub(crate) fn new() -> Self {
        Self {
            notes: (0..ROWS).map(|_| <[AtomicU64; ROW]>::default()).collect(),
            seats: [const { AtomicU64::new(0) }; SEATS],
            turns: AtomicU64::new(0),
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
        let _seat = self.sit(to);
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
        if let Some(from) = socket.local_addr()?.as_socket() {
            self.note(from, to, Instant::now());
        }
        Ok(socket)
    }

    /// Whether a connection from `peer` that was on its way to `original` is one of this proxy's own.
    pub(crate) fn contains(&self, peer: SocketAddr, original: SocketAddr) -> bool {
        self.wait_for_dials(original);
        self.is_noted(peer, original, Instant::now())
    }

    /// Says that `to` is being connected to, until the seat is dropped.
    fn sit(&self, to: SocketAddr) -> Seat<'_> {
        let turn = self.turns.fetch_add(1, Relaxed);
        // Never 0.
        let dial = (self.hasher.hash_one(plain(to)) & !TURN_MASK) | (turn & TURN_MASK) | 1 << 16;
        let first = turn as usize % SEATS;
        loop {
            let seats = self.seats.iter().cycle().skip(first).take(SEATS);
            for seat in seats {
                if seat.compare_exchange(0, dial, AcqRel, Relaxed).is_ok() {
                    return Seat(seat);
                }
            }
            thread::yield_now();
        }
    }

    /// Waits until every dial to `to` that is under way now is noted: a system call's time. Later ones do not matter to
    /// whoever has been accepted.
    fn wait_for_dials(&self, to: SocketAddr) {
        let wanted = (self.hasher.hash_one(plain(to)) & !TURN_MASK) | 1 << 16;
        for seat in &self.seats {
            let dial = seat.load(Acquire);
            while dial & !TURN_MASK == wanted && seat.load(Acquire) == dial {
                thread::yield_now();
            }
        }
    }

    fn note(&self, from: SocketAddr, to: SocketAddr, now: Instant) {
        let hash = self.hash(from, to);
        let fresh = (hash & !TIME_MASK) | self.millis(now);
        loop {
            let row = self.row(hash).iter().map(|note| (note, note.load(Relaxed)));
            let Some((note, old)) = row.max_by_key(|(_, old)| self.age(*old, now)) else { return };
            // Another thread may have taken it meanwhile.
            if note.compare_exchange(old, fresh, Relaxed, Relaxed).is_ok() {
                return;
            }
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
        // What was never noted is older than anything that was, from the beginning on.
        (now.saturating_duration_since(self.began) + 2 * LIFE).as_millis() as u64 & TIME_MASK
    }
}

/// A dial that is under way, and not noted until this is dropped.
struct Seat<'a>(&'a AtomicU64);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
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
        let acceptor = std::thread::spawn(move || {
            for _ in 0..200 {
                says.send(known.contains(listener.accept().unwrap().1, address)).unwrap();
            }
        });
        for number in 0..200 {
            dials.connect(address).await.unwrap();
            assert_eq!(said.recv(), Ok(true), "{number}");
        }
        // The listener is gone with its thread.
        acceptor.join().unwrap();
        let refused = dials.connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// F17: dials do not wait for each other, and yet each is found by whoever accepts it.
    #[test]
    fn dials_of_many_threads_to_one_destination_are_known_as_soon_as_they_are_accepted() {
        const THREADS: usize = 4;
        const DIALS: usize = 100;
        let dials = OwnDials::new();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&at("127.0.0.1:0").into()).unwrap();
        listener.listen(1024).unwrap();
        let listener = std::net::TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let dial = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            drop(dials.begin(socket, address).unwrap());
        };
        std::thread::scope(|scope| {
            (0..THREADS).for_each(|_| drop(scope.spawn(|| (0..DIALS).for_each(|_| dial()))));
            for number in 0..THREADS * DIALS {
                let (_socket, peer) = listener.accept().unwrap();
                assert!(dials.contains(peer, address), "{number}");
            }
        });
    }
}
