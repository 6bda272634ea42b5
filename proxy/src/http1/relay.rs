//! The bytes of one exchange, both directions at once.
//!
//! One state machine for each direction, polled together by the connection's task: nothing waits for the other
//! direction, and nothing is read that has no place to go.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{io::AsyncWrite as _, net::TcpStream};

use super::{
    download::{Download, Heard},
    framing::Body,
    request::Request,
    reset_watch::ResetWatch,
};
use crate::{
    buffer::{Buffer, Buffers, SMALL},
    error::{ErrorKind, RequestError, Side},
    telemetry::Traffic,
    validate::Fault,
};

/// Bytes on their way out: a re-emitted head, then a part of a buffer.
#[derive(Debug, Default)]
pub(super) struct Outflow {
    /// Takes the place of the buffer's first bytes.
    pub(super) edited: Buffer,
    /// Bytes at the buffer's front that may go.
    pub(super) cleared: usize,
    /// How many of them have gone, or were replaced.
    pub(super) sent: usize,
    /// Whether the kernel took any.
    pub(super) began: bool,
    /// How many it took.
    pub(super) carried: u64,
}

impl Outflow {
    /// A head of `length` bytes, as it is or re-emitted.
    #[inline]
    pub(super) fn head(length: usize, edited: Option<Buffer>) -> Self {
        let sent = if edited.is_some() { length } else { 0 };
        Self { edited: edited.unwrap_or_default(), cleared: length, sent, began: false, carried: 0 }
    }

    /// Writes until all that may go has gone.
    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut TcpStream,
        from: &Buffer,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        loop {
            let rest = from.bytes().get(self.sent..self.cleared).unwrap_or_default();
            let Poll::Ready(written) = self.poll_write(cx, to, rest, buffers) else {
                self.edited.compact(buffers);
                return Poll::Pending;
            };
            let count = match written? {
                None => return Poll::Ready(Ok(())),
                Some(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Some(count) => count,
            };
            self.began = true;
            self.carried += count as u64;
            let of_head = count.min(self.edited.len());
            self.edited.consume(of_head);
            self.edited.release(buffers);
            self.sent += count - of_head;
        }
    }

    /// Writes once; none where there is nothing to write.
    #[inline]
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut TcpStream,
        rest: &[u8],
        buffers: &Buffers,
    ) -> Poll<io::Result<Option<usize>>> {
        let mut socket = Pin::new(to);
        let written = match (self.edited.is_empty(), rest.len()) {
            (true, 0) => return Poll::Ready(Ok(None)),
            (true, _) => socket.as_mut().poll_write(cx, rest),
            // One piece costs the kernel less than two, and little costs less to copy.
            (false, ..=SMALL) => {
                self.edited.extend(rest, buffers);
                self.sent += rest.len();
                socket.as_mut().poll_write(cx, self.edited.bytes())
            }
            (false, _) => {
                let both = [io::IoSlice::new(self.edited.bytes()), io::IoSlice::new(rest)];
                socket.as_mut().poll_write_vectored(cx, &both)
            }
        };
        written.map_ok(Some)
    }

    /// Whether all that may go has gone.
    #[inline]
    fn is_empty(&self) -> bool {
        self.edited.is_empty() && self.sent >= self.cleared
    }

    /// Forgets what has gone; the buffer lets go of it too.
    #[inline]
    pub(super) fn consume(&mut self, from: &mut Buffer, buffers: &Buffers) {
        from.consume(self.sent);
        (self.sent, self.cleared) = (0, 0);
        self.edited.clear(buffers);
    }
}

/// The sockets and buffers of one exchange.
#[derive(Debug)]
pub(super) struct Wires<'a> {
    pub(super) client: &'a mut TcpStream,
    /// Read from the client; the request's head stands at its front.
    pub(super) input: &'a mut Buffer,
    pub(super) upstream: &'a mut TcpStream,
    /// Read from the upstream.
    pub(super) output: &'a mut Buffer,
    pub(super) buffers: &'a Buffers,
    /// On whose side the upstream is.
    pub(super) side: Side,
    /// Counts the client's bytes.
    pub(super) traffic: &'a Traffic,
}

/// How the request's direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upward {
    /// On its way.
    Open,
    /// All of it has gone.
    Done,
    /// The client ended in the midst of it; the upstream was told.
    Cut,
    /// The upstream takes no more. It may have answered already.
    Broken,
}

/// How much of what came of a request the client's input still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// All of it, from its first byte on.
    All,
    /// Nothing; the request came whole.
    Nothing,
    /// Some of it, or some of it is elsewhere.
    Part,
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    flow: Outflow,
    body: Body,
    upward: Upward,
    /// Whether the input still holds the request from its first byte on.
    whole: bool,
    client_ended: bool,
    /// Asked while the client is not read from.
    reset: ResetWatch,
    /// The answer's direction.
    pub(super) down: Download<'a>,
}

impl<'a> Relay<'a> {
    /// Nothing sent yet. `edited` takes the place of the head.
    #[inline]
    pub(super) fn new(
        request: &Request,
        edited: Option<Buffer>,
        input: &Buffer,
        down: Download<'a>,
    ) -> Result<Self, Fault> {
        let mut flow = Outflow::head(request.length, edited);
        let mut body = Body::new(request.framing);
        flow.cleared += body.scan(input.bytes().get(request.length..).unwrap_or_default())?;
        let reset = ResetWatch::default();
        Ok(Self { flow, body, upward: Upward::Open, whole: true, client_ended: false, reset, down })
    }

    /// Moves what can be moved; ready when the answer has ended.
    ///
    /// # Errors
    /// What went wrong. [`Relay::may_retry`] and [`Download::began`] say what can be done about it.
    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wires: &mut Wires<'_>,
    ) -> Poll<Result<Heard, RequestError>> {
        if self.upward == Upward::Open
            && let Poll::Ready(upward) = self.poll_up(cx, wires)?
        {
            self.upward = upward;
            if upward == Upward::Done && !self.whole {
                self.release_request(wires.input, wires.buffers);
            }
        }
        match self.down.poll(cx, wires, self.upward == Upward::Done)? {
            Poll::Ready(heard) => Poll::Ready(Ok(heard)),
            Poll::Pending => {
                let is_read = match self.upward {
                    Upward::Open => self.flow.is_empty(),
                    Upward::Done | Upward::Cut | Upward::Broken => {
                        !self.client_ended && self.watch_client(cx, wires)?
                    }
                };
                if !is_read && let Poll::Ready(error) = self.reset.poll(cx, wires.client) {
                    return Poll::Ready(Err(client_gone(error)));
                }
                Poll::Pending
            }
        }
    }

    #[inline]
    fn poll_up(&mut self, cx: &mut Context<'_>, wires: &mut Wires<'_>) -> Poll<Result<Upward, RequestError>> {
        loop {
            if let Err(error) = ready!(self.flow.poll(cx, wires.upstream, wires.input, wires.buffers)) {
                self.down.note_broken(&error);
                return Poll::Ready(Ok(Upward::Broken));
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(Upward::Done));
            }
            self.whole = false;
            self.flow.consume(wires.input, wires.buffers);
            match ready!(wires.input.poll_fill(cx, wires.client, wires.buffers)) {
                Ok(0) => {
                    self.client_ended = true;
                    end(wires.upstream);
                    return Poll::Ready(Ok(Upward::Cut));
                }
                Ok(count) => wires.traffic.sent.add(count as u64),
                Err(error) => return Poll::Ready(Err(client_gone(error))),
            }
            match self.body.scan(wires.input.bytes()) {
                Ok(count) => self.flow.cleared = count,
                Err(Fault(rule)) => return Poll::Ready(Err(RequestError::bad_request(rule))),
            }
        }
    }

    /// While the answer is awaited the client may end, which its upstream is told; or send the next request, which waits.
    /// Whether the task is woken when more comes.
    fn watch_client(&mut self, cx: &mut Context<'_>, wires: &mut Wires<'_>) -> Result<bool, RequestError> {
        if self.whole && self.down.heard() {
            self.release_request(wires.input, wires.buffers);
            wires.input.release(wires.buffers);
        }
        wires.input.compact(wires.buffers);
        while wires.input.has_room() {
            if wires.client.poll_read_ready(cx).is_pending() {
                return Ok(true);
            }
            match wires.input.poll_fill(cx, wires.client, wires.buffers) {
                Poll::Ready(Ok(0)) => {
                    self.client_ended = true;
                    end(wires.upstream);
                    return Ok(false);
                }
                Poll::Ready(Ok(count)) => wires.traffic.sent.add(count as u64),
                Poll::Ready(Err(error)) => return Err(client_gone(error)),
                Poll::Pending => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Lets the input go of this request; what is behind it stays.
    #[inline]
    pub(super) fn release_request(&mut self, input: &mut Buffer, buffers: &Buffers) {
        self.whole = false;
        self.flow.sent = self.flow.cleared;
        self.flow.consume(input, buffers);
    }

    /// How much of the request the input still holds.
    #[inline]
    pub(super) fn left(&self) -> Left {
        match self.upward {
            _ if self.whole => Left::All,
            Upward::Done => Left::Nothing,
            Upward::Open | Upward::Cut | Upward::Broken => Left::Part,
        }
    }

    /// Whether both connections stand as they did before.
    #[inline]
    pub(super) fn is_clean(&self) -> bool {
        self.upward == Upward::Done && !self.client_ended
    }

    /// Whether the kernel took a byte of the request.
    pub(super) fn is_begun(&self) -> bool {
        self.flow.began
    }

    /// Whether the request may be sent once more, after its connection turned out to be dead (DESIGN §3.4).
    pub(super) fn may_retry(&self, error: &RequestError, idempotent: bool, upgrade: bool) -> bool {
        let died = matches!(error.kind, ErrorKind::Closed | ErrorKind::Reset);
        let untouched = !self.flow.began && self.whole;
        let repeatable = idempotent && !upgrade && self.whole && self.body.is_done();
        died && !self.client_ended && !self.down.heard() && (untouched || repeatable)
    }
}

/// Passes an end on as an end.
fn end(socket: &TcpStream) {
    // An upstream that has reset the connection needs no end any more.
    let _ = SockRef::from(socket).shutdown(Shutdown::Write);
}

/// The client reset the connection, or took no more.
pub(super) fn client_gone(error: io::Error) -> RequestError {
    RequestError { kind: ErrorKind::ClientGone, side: Side::Client, source: Some(error) }
}
