//! The socket as the engine sees it: bytes that were read before the engine began come first, and every frame is
//! looked at as it passes, without being copied.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::telemetry::WorkerTelemetry;

use super::frames::{FrameCounter, FrameHeader, FrameScanner, PREFACE, ResetCounter};

/// Which end of the connection the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Towards a client: its preface is read.
    Server,
    /// Towards an upstream: the preface is written.
    Client,
}

/// What the frames that passed have told.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    go_away: Cell<bool>,
    open_head: Cell<Option<u32>>,
    flooded: Cell<bool>,
    /// Reads that brought something.
    reads: Cell<u64>,
    greeted: Cell<bool>,
    awaiting_greeting: RefCell<Vec<Waker>>,
}

impl Observed {
    /// Whether the peer sent a GOAWAY.
    pub(crate) fn go_away(&self) -> bool {
        self.go_away.get()
    }

    /// The number of a head that has begun and is not all there: until it is, the peer can send nothing else.
    pub(crate) fn open_head(&self) -> Option<u32> {
        self.open_head.get()
    }

    /// Whether there were too many control frames.
    pub(crate) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Grows with whatever the peer sends.
    pub(crate) fn heard(&self) -> u64 {
        self.reads.get()
    }

    /// Waits until the peer's SETTINGS are there, or never will be.
    pub(crate) async fn greeted(&self) {
        std::future::poll_fn(|cx| {
            if self.greeted.get() {
                return Poll::Ready(());
            }
            self.awaiting_greeting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Says that the peer's first frame, which are its SETTINGS, is there, or that the connection has ended.
    pub(crate) fn note_greeting(&self) {
        if !self.greeted.replace(true) {
            self.awaiting_greeting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// A connection closed for its flood of control frames (MATRICES B11).
#[derive(Debug, thiserror::Error)]
#[error("too many HTTP/2 control frames")]
pub(crate) struct Flood;

/// Whether a connection ended because its peer flooded it, by what was counted here or by one of `h2`'s own limits.
pub(crate) fn is_flood(error: &h2::Error, observed: &Observed) -> bool {
    let calm = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    observed.flooded() || (calm && error.is_go_away() && error.is_library())
}

/// A socket that outlives the engine on it: what is left to do then is a close that loses nothing.
pub(crate) type Shared = Rc<RefCell<TcpStream>>;

/// A socket with bytes before it and a counter upon it. Its reads fail with [`Flood`] once there are too many control
/// frames in either direction; `h2` then ends the connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Shared,
    prefix: Bytes,
    role: Role,
    read: FrameScanner,
    written: FrameScanner,
    counter: FrameCounter,
    resets: ResetCounter,
    observed: Rc<Observed>,
    /// Counts a client's bytes.
    telemetry: Option<Rc<WorkerTelemetry>>,
    /// How many of the bytes to be read were counted before.
    already: usize,
}

impl Wire {
    /// Puts `prefix`, read earlier from `socket`, before what is still to be read from it.
    pub(crate) fn new(socket: TcpStream, prefix: Bytes, role: Role) -> Self {
        let (inbound, outbound) = match role {
            Role::Server => (PREFACE.len(), 0),
            Role::Client => (0, PREFACE.len()),
        };
        Self {
            socket: Rc::new(RefCell::new(socket)),
            prefix,
            role,
            read: FrameScanner::after(inbound),
            written: FrameScanner::after(outbound),
            counter: FrameCounter::default(),
            resets: ResetCounter::default(),
            observed: Rc::default(),
            telemetry: None,
            already: 0,
        }
    }

    /// Counts what passes as a client's bytes, but for the first `already`.
    pub(crate) fn counted(mut self, telemetry: &Rc<WorkerTelemetry>, already: usize) -> Self {
        self.telemetry = Some(Rc::clone(telemetry));
        self.already = already;
        self
    }

    /// The socket beneath.
    pub(crate) fn socket(&self) -> Shared {
        Rc::clone(&self.socket)
    }

    /// What the frames that pass tell, also after the engine has taken the socket.
    pub(crate) fn observed(&self) -> Rc<Observed> {
        Rc::clone(&self.observed)
    }

    fn scan_read(&mut self, bytes: &[u8]) {
        if let Some(telemetry) = &self.telemetry {
            let already = self.already.min(bytes.len());
            self.already -= already;
            telemetry.counters().http2.sent.add((bytes.len() - already) as u64);
        }
        let Self { role, read, counter, resets, observed, .. } = self;
        let mut flooded = false;
        read.scan(bytes, |frame: FrameHeader| {
            flooded |= counter.count(frame);
            match role {
                Role::Server => flooded |= resets.count(frame),
                Role::Client if frame.is_go_away() => observed.go_away.set(true),
                Role::Client => {}
            }
        });
        observed.reads.set(observed.reads.get().wrapping_add(1));
        observed.open_head.set(read.open_head());
        if flooded {
            observed.flooded.set(true);
        }
        if read.is_past_first() {
            observed.note_greeting();
        }
    }

    fn scan_written(&mut self, bytes: &[u8]) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.counters().http2.received.add(bytes.len() as u64);
        }
        let Self { written, counter, observed, .. } = self;
        written.scan(bytes, |frame| {
            if counter.count(frame) {
                observed.flooded.set(true);
            }
        });
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.observed.flooded() {
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            std::task::ready!(Pin::new(&mut *this.socket.borrow_mut()).poll_read(cx, buf))?;
        } else {
            let length = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix.split_to(length));
        }
        if let Some(new) = buf.filled().get(before..) {
            this.scan_read(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, buf))?;
        self.scan_written(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written =
            std::task::ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let length = buf.len().min(left);
            self.scan_written(buf.get(..length).unwrap_or_default());
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
    }
}
