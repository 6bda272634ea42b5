//! Bytes on their way from one socket to the other without being copied (splice(2)).
//!
//! They pass through a pipe that the worker lends for one step: what the receiver does not take at once is read out of it
//! again, so that one pipe serves all tunnels and never holds one's bytes while another uses it. A pipe that failed with
//! something in it is thrown away. Where no pipe is to be had, or the kernel splices no such sockets, bytes are copied.

use std::{
    cell::RefCell,
    io::{self, ErrorKind::WouldBlock},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use tokio::{io::Interest, net::TcpStream};

use super::Passed;

/// What passes at once: more than a buffer, since two calls for each step are all that it costs.
const PIPE_BYTES: usize = 256 * 1024;

thread_local! {
    /// The worker's pipe, made at the first use; away while it is in use.
    static PIPE: RefCell<Option<Pipe>> = const { RefCell::new(None) };
}

/// An empty pipe.
#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    fn lend() -> io::Result<Self> {
        if let Some(pipe) = PIPE.take() {
            return Ok(pipe);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Beyond what a user may have, it stays as it is.
        let _ = fcntl_setpipe_size(&into, PIPE_BYTES);
        Ok(Self { out, into })
    }

    fn give_back(self) {
        PIPE.set(Some(self));
    }

    /// Takes out what the receiver did not take.
    fn rest(&self, length: usize) -> io::Result<Box<[u8]>> {
        let mut rest = vec![0; length];
        let mut filled = 0;
        while let Some(room) = rest.get_mut(filled..).filter(|room| !room.is_empty()) {
            match rustix::io::read(&self.out, room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(rest.into())
    }
}

/// Moves once what there is, as far as the receiver takes it; `moved` is told what it took.
///
/// # Errors
/// As reading and writing; `Unsupported` before anything moved, where nothing can be spliced.
pub(super) fn pass(from: &TcpStream, to: &TcpStream, moved: impl Fn(usize)) -> io::Result<Passed> {
    const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
    let pipe = Pipe::lend().map_err(|_| io::ErrorKind::Unsupported)?;
    let fill = || match splice(from, None, &pipe.into, None, PIPE_BYTES, FLAGS) {
        // Such a socket, or forbidden by a filter of system calls.
        Err(Errno::INVAL | Errno::PERM | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
        filled => Ok(filled?),
    };
    let read = match from.try_io(Interest::READABLE, fill) {
        Ok(0) => {
            pipe.give_back();
            return Ok(Passed::End);
        }
        Err(error) if error.kind() == WouldBlock => {
            pipe.give_back();
            return Err(error);
        }
        read => read?,
    };
    let mut left = read;
    while left > 0 {
        match to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.out, None, to, None, left, FLAGS)?)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                moved(written);
                left -= written;
            }
            Err(error) if error.kind() == WouldBlock => break,
            // Whatever it is, what has come cannot be had another way.
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    let rest = pipe.rest(left)?;
    pipe.give_back();
    Ok(if rest.is_empty() { Passed::All(read) } else { Passed::Left(rest) })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// One step, tried until there is something.
    async fn step(from: &TcpStream, to: &TcpStream, moved: &Cell<usize>) -> io::Result<Passed> {
        loop {
            from.readable().await?;
            match pass(from, to, |count| moved.set(moved.get() + count)) {
                Err(error) if error.kind() == WouldBlock => assert!(PIPE.with_borrow(Option::is_some)),
                done => return done,
            }
        }
    }

    #[tokio::test]
    async fn what_a_receiver_does_not_take_comes_out_of_the_pipe_again() {
        let ((mut sender, from), (to, mut receiver)) = (pair().await, pair().await);
        let moved = Cell::new(0);
        sender.write_all(b"some").await.unwrap();
        assert!(matches!(step(&from, &to, &moved).await, Ok(Passed::All(4))));
        let mut seen = vec![0; 4];
        receiver.read_exact(&mut seen).await.unwrap();
        assert_eq!((&seen[..], moved.get()), (&b"some"[..], 4));
        SockRef::from(&to).set_send_buffer_size(4096).unwrap();
        let sending = tokio::spawn(async move {
            let sent: Vec<u8> = (0..=250).cycle().take(32 << 20).collect();
            let _ = sender.write_all(&sent).await;
        });
        let left = loop {
            match step(&from, &to, &moved).await.unwrap() {
                Passed::Left(left) => break left,
                Passed::All(_) => {}
                Passed::End => panic!("an end"),
            }
        };
        seen.resize(moved.get(), 0);
        receiver.read_exact(&mut seen[4..]).await.unwrap();
        let expected: Vec<u8> = (0..=250).cycle().take(seen.len() - 4 + left.len()).collect();
        assert!([&seen[4..], &left[..]].concat() == expected);
        assert!(PIPE.with_borrow(Option::is_some), "it is empty, and the next one's");
        sending.abort();
    }

    #[tokio::test]
    async fn an_end_is_one_and_a_receiver_that_is_gone_takes_the_pipe_with_it() {
        let ((sender, from), (to, _receiver)) = (pair().await, pair().await);
        drop(sender);
        assert!(matches!(step(&from, &to, &Cell::new(0)).await, Ok(Passed::End)));
        assert!(PIPE.with_borrow(Option::is_some));
        let ((mut sender, from), (to, receiver)) = (pair().await, pair().await);
        SockRef::from(&receiver).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(receiver);
        sender.write_all(b"lost").await.unwrap();
        assert!(step(&from, &to, &Cell::new(0)).await.is_err());
        assert!(PIPE.with_borrow(Option::is_none), "it may hold what was lost");
    }
}
