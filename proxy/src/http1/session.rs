//! A client's connection between requests: it waits for a head, watches the upstreams that it owns, and ends.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{head::find_end, request::Request};
use crate::{
    buffer::Buffer,
    connection::{Arrival, Baseline, Client, Detected},
    endpoints::Choices,
    error::{ErrorKind, RequestError},
    http2::from_http1::Connections,
    patrol::Watched,
    respond::{self, Answer},
    telemetry::{self, RequestRecord},
    tunnel,
    upstream::{Idle, Upstreams, reset},
    validate::size,
};

/// How a connection goes on.
#[derive(Debug)]
pub(super) enum Fate {
    /// With the next request.
    Next,
    /// It is closed; everything that the client sent was read.
    Close,
    /// It is closed, but the client may still be sending: what it sends is read for a while, so that the answer arrives.
    Linger,
    /// It is reset: what was sent is not whole.
    Reset,
    /// It is a tunnel to this socket, from which these bytes were read.
    Tunnel(Box<(TcpStream, Bytes, telemetry::Tunnel)>),
}

/// What comes next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// A request. Its head stands at the front of the input.
    Request(Request),
    /// Something that is none.
    Faulty(RequestError),
    /// Nothing more.
    End(Fate),
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Rc<Client>,
    pub(super) socket: TcpStream,
    /// Read from the client and not yet passed on.
    pub(super) input: Buffer,
    /// What detection dialled, until somebody asks for it.
    pub(super) dialled: Baseline,
    pub(super) upstreams: Upstreams,
    /// Connections to endpoints that speak HTTP/2.
    pub(super) over_http2: Connections,
    pub(super) choices: Rc<Choices>,
    pub(super) fate: Fate,
    /// Whether requests name their own destinations.
    pub(super) explicit: bool,
    watched: Watched,
    searched: usize,
    timed: bool,
}

impl Session {
    /// A connection as detection left it.
    pub(super) fn new(client: &Rc<Client>, from: Detected) -> Self {
        let worker = &client.worker;
        let mut input = Buffer::default();
        input.extend(&from.first, &worker.buffers);
        worker.telemetry.counters().http1.sent.add((from.first.len() - from.counted) as u64);
        // A server that spoke first, to a client that turned out to speak HTTP/1: its bytes are no answer.
        let spoke = !from.server_first.is_empty();
        Self {
            client: Rc::clone(client),
            socket: from.client,
            input,
            dialled: from.baseline,
            over_http2: Connections::default(),
            upstreams: Upstreams::new(worker.shared.config.limits.max_idle_upstreams),
            choices: Rc::new(Choices::new(&worker.endpoints)),
            fate: if spoke { Fate::Reset } else { Fate::Next },
            explicit: matches!(client.arrival, Arrival::Explicit),
            watched: worker.patrol.watch(),
            searched: 0,
            timed: false,
        }
    }

    /// Whether there is a next request to wait for.
    #[inline]
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.fate, Fate::Next)
    }

    /// Waits for the next head. Costs no system call until something happens.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if let Some(next) = self.parse() {
                self.untime();
                return Poll::Ready(next);
            }
            match self.input.poll_fill(cx, &mut self.socket, &self.client.worker.buffers) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Next::End(Fate::Close)),
                Poll::Ready(Ok(count)) => {
                    self.client.worker.telemetry.counters().http1.sent.add(count as u64)
                }
                Poll::Ready(Err(_)) => {
                    self.upstreams.reset_all();
                    return Poll::Ready(Next::End(Fate::Reset));
                }
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(end) = self.poll_upstreams(cx) {
            return Poll::Ready(Next::End(end));
        }
        if !self.input.is_empty() {
            if self.is_too_late(cx) {
                return Poll::Ready(Next::Faulty(RequestError::client(ErrorKind::HeadTimeout)));
            }
            // Whoever sends a head in pieces shall not hold a whole buffer meanwhile.
            self.input.compact(&self.client.worker.buffers);
        }
        Poll::Pending
    }

    fn poll_upstreams(&mut self, cx: &mut Context<'_>) -> Poll<Fate> {
        loop {
            match self.upstreams.poll_idle(cx) {
                Poll::Ready(Idle::Dropped) => {}
                Poll::Ready(Idle::Ended) => return Poll::Ready(Fate::Close),
                Poll::Ready(Idle::Reset | Idle::Spoke) => return Poll::Ready(Fate::Reset),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// A head that has begun has to be whole in time.
    #[cold]
    fn is_too_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.timed {
            self.timed = true;
            self.watched.allow(self.client.worker.shared.config.limits.header_timeout);
            self.watched.register(cx.waker());
        }
        self.watched.is_over()
    }

    #[inline]
    fn untime(&mut self) {
        if self.timed {
            self.timed = false;
            self.watched.allow_ever();
        }
    }

    #[inline]
    fn parse(&mut self) -> Option<Next> {
        self.skip_empty_lines();
        if self.input.is_empty() {
            return None;
        }
        let worker = &*self.client.worker;
        let limits = &worker.shared.config.limits;
        let bytes = self.input.bytes();
        let faulty = |kind| Some(Next::Faulty(RequestError::client(kind)));
        let end = match find_end(bytes, self.searched) {
            Ok(end) => end,
            Err(fault) => return faulty(fault.into()),
        };
        let Some(head) = end.and_then(|length| bytes.get(..length)) else {
            self.searched = bytes.len();
            return size::outgrown(bytes, limits).and_then(faulty);
        };
        self.searched = 0;
        let request = Request::parse(head, limits, &worker.shared.carriers, worker.lines.take());
        match request {
            Ok(request) if self.explicit && !request.plain => {
                faulty(ErrorKind::BadRequest("a target that plain HTTP cannot be spoken to"))
            }
            Ok(request) => Some(Next::Request(request)),
            Err(kind) => faulty(kind),
        }
    }

    /// RFC 9112 §2.2: empty lines before a request line are no request.
    #[inline]
    fn skip_empty_lines(&mut self) {
        while self.input.bytes().starts_with(b"\r\n") {
            self.input.consume(2);
            self.searched = 0;
        }
    }

    /// Answers what is no request, and ends the connection.
    pub(super) async fn refuse(&mut self, mut record: RequestRecord, error: &RequestError) {
        record.refused(error.kind.reason());
        let answer = respond::answer(&self.client, false, None, error);
        record.status(answer.status);
        self.say(&answer, false, true).await;
        self.fate = Fate::Linger;
    }

    /// Writes the proxy's own answer.
    pub(super) async fn say(&mut self, answer: &Answer, to_head: bool, close: bool) {
        let bytes = answer.http1(to_head, close);
        self.client.worker.telemetry.counters().http1.received.add(bytes.len() as u64);
        if self.socket.write_all(&bytes).await.is_err() {
            self.fate = Fate::Reset;
        }
    }

    /// Ends the connection.
    pub(super) async fn end(self) {
        match self.fate {
            Fate::Next | Fate::Close if self.input.is_empty() => {}
            Fate::Reset => reset(self.socket),
            Fate::Tunnel(server) => {
                let (server, to_client, what) = *server;
                let to_server = Bytes::copy_from_slice(self.input.bytes());
                // They came while this was HTTP.
                let counted = to_server.len();
                let ends = tunnel::Ends { client: self.socket, to_server, counted, server, to_client };
                drop(self.input);
                tunnel::run(&self.client, ends, what).await;
            }
            Fate::Linger | Fate::Next | Fate::Close => super::linger::linger(self.socket).await,
        }
    }
}
