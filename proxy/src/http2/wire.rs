//! The socket as the engine sees it: bytes that were read before the engine began come first, and every frame is
//! looked at as it passes, without being copied.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
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
    in_head: Cell<bool>,
}

impl Observed {
    /// Whether the peer sent a GOAWAY.
    pub(crate) fn go_away(&self) -> bool {
        self.go_away.get()
    }

    /// Whether a head has begun and is not all there: until it is, the peer can send nothing else.
    pub(crate) fn in_head(&self) -> bool {
        self.in_head.get()
    }
}

/// A connection closed for its flood of control frames (MATRICES B11).
#[derive(Debug, thiserror::Error)]
#[error("too many HTTP/2 control frames")]
pub(crate) struct Flood;

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
    flooded: bool,
    /// Counts a client's bytes.
    telemetry: Option<Rc<WorkerTelemetry>>,
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
            flooded: false,
            telemetry: None,
        }
    }

    /// Counts what passes as a client's bytes.
    pub(crate) fn counted(mut self, telemetry: &Rc<WorkerTelemetry>) -> Self {
        self.telemetry = Some(Rc::clone(telemetry));
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
            telemetry.counters().http2.sent.add(bytes.len() as u64);
        }
        let Self { role, read, counter, resets, observed, flooded, .. } = self;
        read.scan(bytes, |frame: FrameHeader| {
            *flooded |= counter.count(frame);
            match role {
                Role::Server => *flooded |= resets.count(frame),
                Role::Client if frame.is_go_away() => observed.go_away.set(true),
                Role::Client => {}
            }
        });
        observed.in_head.set(read.in_head());
    }

    fn scan_written(&mut self, bytes: &[u8]) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.counters().http2.received.add(bytes.len() as u64);
        }
        let Self { written, counter, flooded, .. } = self;
        written.scan(bytes, |frame| *flooded |= counter.count(frame));
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.flooded {
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
