//! The answer's direction of one exchange.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{
    edit,
    framing::Body,
    head::find_end,
    relay::{Outflow, Wires, client_gone},
    request::Request,
    response::Response,
};
use crate::{
    buffer::{Buffer, Buffers},
    error::{ErrorKind, RequestError},
    validate::{Fault, Method},
};

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Whole; whether both connections may be used again, as far as the answer is concerned.
    Whole {
        /// They may.
        reusable: bool,
    },
    /// From here on the connection is a tunnel.
    Tunnel,
}

#[derive(Debug)]
enum State {
    Head,
    /// An interim answer, or one that begins a tunnel, is on its way.
    Passing {
        tunnel: bool,
    },
    Body(Body),
}

/// What the head of an answer is held against, and what is added to it.
#[derive(Debug)]
pub(super) struct Download<'a> {
    asked: Method,
    client_is_1_0: bool,
    upgrade: bool,
    max_headers: usize,
    max_header_bytes: usize,
    close: bool,
    proxy_status: Option<&'a str>,
    state: State,
    flow: Outflow,
    searched: usize,
    reusable: bool,
    heard: bool,
    began: bool,
    was_reset: bool,
    /// The last status that was passed on; 0 before the first.
    pub(super) status: u16,
}

impl<'a> Download<'a> {
    /// The answer to `request`. With `close`, it says that the connection ends.
    #[inline]
    pub(super) fn new(
        request: &Request,
        limits: &crate::config::Limits,
        close: bool,
        proxy_status: Option<&'a str>,
    ) -> Self {
        Self {
            asked: request.method,
            client_is_1_0: request.is_1_0,
            upgrade: request.upgrade,
            max_headers: limits.max_headers,
            max_header_bytes: limits.max_header_bytes,
            close,
            proxy_status,
            state: State::Head,
            flow: Outflow::default(),
            searched: 0,
            reusable: !request.close && !close,
            heard: false,
            began: false,
            was_reset: false,
            status: 0,
        }
    }

    /// Whether any byte of an answer came.
    #[inline]
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Whether the head of the final answer has not come, and none of an interim one is on its way.
    #[inline]
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether a byte of the final answer went to the client, so that no other answer can.
    #[inline]
    pub(super) fn began(&self) -> bool {
        self.began
    }

    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wires: &mut Wires<'_>,
        request_is_done: bool,
    ) -> Poll<Result<Heard, RequestError>> {
        loop {
            let before = self.flow.carried;
            let written = self.flow.poll(cx, wires.client, wires.output, wires.buffers);
            wires.traffic.received.add(self.flow.carried - before);
            self.began |=
                self.flow.began && matches!(self.state, State::Body(_) | State::Passing { tunnel: true });
            if let Err(error) = ready!(written) {
                return Poll::Ready(Err(client_gone(error)));
            }
            if let Some(heard) = self.passed_on(wires.output, wires.buffers) {
                return Poll::Ready(Ok(heard));
            }
            let bad = |Fault(rule)| RequestError::upstream(wires.side, ErrorKind::BadResponse(rule), None);
            if self.take(wires.output.bytes(), request_is_done, wires.buffers).map_err(bad)? {
                continue;
            }
            match ready!(wires.output.poll_fill(cx, wires.upstream, wires.buffers)) {
                Ok(0) => return Poll::Ready(self.ended(wires)),
                Ok(_) => self.heard = true,
                Err(error) => {
                    return Poll::Ready(Err(RequestError::upstream(
                        wires.side,
                        ErrorKind::Reset,
                        Some(error),
                    )));
                }
            }
        }
    }

    /// The upstream takes no more. A reset is told once, here to the one who writes: the one who reads would find an end
    /// behind it, and take half an answer for whole. Behind an end it is a broken pipe, and the end stays one.
    #[cold]
    pub(super) fn note_broken(&mut self, error: &io::Error) {
        self.was_reset = error.kind() != io::ErrorKind::BrokenPipe;
    }

    /// What was cleared has gone. Says whether that was all.
    #[inline]
    fn passed_on(&mut self, output: &mut Buffer, buffers: &Buffers) -> Option<Heard> {
        self.flow.consume(output, buffers);
        match &self.state {
            State::Passing { tunnel: true } => return Some(Heard::Tunnel),
            State::Passing { tunnel: false } => self.state = State::Head,
            State::Body(body) if body.is_done() => {
                return Some(Heard::Whole { reusable: self.reusable && output.is_empty() });
            }
            State::Head | State::Body(_) => {}
        }
        None
    }

    /// Finds out what may go on of what was read. Says whether there is something.
    #[inline]
    fn take(&mut self, bytes: &[u8], request_is_done: bool, buffers: &Buffers) -> Result<bool, Fault> {
        if bytes.is_empty() {
            return Ok(false);
        }
        match &mut self.state {
            State::Body(body) => self.flow.cleared = body.scan(bytes)?,
            State::Head => {
                let Some(length) = find_end(bytes, self.searched)? else {
                    self.searched = bytes.len();
                    return if bytes.len() > self.max_header_bytes {
                        Err(Fault("too long a head"))
                    } else {
                        Ok(false)
                    };
                };
                self.searched = 0;
                let (head, behind) = bytes.split_at_checked(length).unwrap_or_default();
                self.head(head, behind, request_is_done, buffers)?;
            }
            State::Passing { .. } => {}
        }
        Ok(true)
    }

    #[inline]
    fn head(
        &mut self,
        head: &[u8],
        behind: &[u8],
        request_is_done: bool,
        buffers: &Buffers,
    ) -> Result<(), Fault> {
        let response = Response::parse(head, self.max_headers)?;
        if response.is_interim() {
            self.interim(head.len());
            return Ok(());
        }
        self.status = response.status;
        let tunnel = self.is_tunnel(&response, request_is_done)?;
        let close = self.close && !response.close && !tunnel;
        let edited = edit::response(head, response.has_hop_fields, close, self.proxy_status, buffers);
        self.flow = Outflow::head(head.len(), edited);
        if tunnel {
            self.state = State::Passing { tunnel };
            return Ok(());
        }
        let mut body = Body::new(response.framing(self.asked, self.client_is_1_0)?);
        let cleared = body.scan(behind)?;
        if cleared < behind.len() {
            return Err(Fault("bytes behind the answer's end"));
        }
        self.flow.cleared += cleared;
        self.reusable &=
            !response.close && (!self.client_is_1_0 || response.keep_alive) && body != Body::UntilClose;
        self.state = State::Body(body);
        Ok(())
    }

    /// An interim answer goes on, and does not end the wait. HTTP/1.0 knows none.
    fn interim(&mut self, length: usize) {
        self.flow = Outflow::head(length, None);
        if self.client_is_1_0 {
            self.flow.sent = length;
        }
        self.state = State::Passing { tunnel: false };
    }

    fn is_tunnel(&self, response: &Response, request_is_done: bool) -> Result<bool, Fault> {
        match response.status {
            101 if self.upgrade && request_is_done => Ok(true),
            101 => Err(Fault("a switch of protocols that nobody asked for")),
            200..300 => Ok(self.asked == Method::Connect),
            _ => Ok(false),
        }
    }

    /// The upstream ended.
    fn ended(&self, wires: &Wires<'_>) -> Result<Heard, RequestError> {
        match &self.state {
            _ if self.was_reset => Err(RequestError::upstream(wires.side, ErrorKind::Reset, None)),
            State::Body(Body::UntilClose) => Ok(Heard::Whole { reusable: false }),
            _ => Err(RequestError::upstream(wires.side, ErrorKind::Closed, None)),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Download<'_> {
    /// Takes in bytes as if they had been read, and hands out what goes on of them.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        output: &mut Buffer,
        on: &mut Vec<u8>,
    ) -> Result<Option<Heard>, Fault> {
        let buffers = Buffers::default();
        output.extend(bytes, &buffers);
        while self.take(output.bytes(), true, &buffers)? {
            on.extend_from_slice(self.flow.edited.bytes());
            on.extend_from_slice(output.bytes().get(self.flow.sent..self.flow.cleared).unwrap_or_default());
            self.flow.sent = self.flow.cleared;
            if let Some(heard) = self.passed_on(output, &buffers) {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }

    /// Whether an end of the upstream is the end of the answer.
    pub(super) fn lasts_until_close(&self) -> bool {
        matches!(self.state, State::Body(Body::UntilClose))
    }
}
