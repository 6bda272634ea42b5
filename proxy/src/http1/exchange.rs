//! One request in the hands of the HTTP/1 engine: it finds the upstream's connection, relays, and settles how both
//! connections go on.

use std::{future::poll_fn, rc::Rc};

use bellhop_api::watch::EndpointProtocol;
use bytes::Bytes;
use tokio::net::TcpStream;

use super::{
    download::{Download, Heard},
    edit,
    framing::Body,
    relay::{Left, Relay, Wires, client_gone},
    request::Request,
    session::{Fate, Session},
};
use crate::{
    answer_wait::AnswerWait,
    buffer::Buffer,
    connection::Baseline,
    context::{Head, RequestContext},
    dial, dialling,
    error::{ErrorKind, RequestError, Side},
    forward::{Attempt, Target},
    handler::Exchange,
    respond::Answer,
    telemetry::{RequestRecord, Tunnel},
    tunnel,
    upstream::{Midway, Upstream, Whither, is_quiet, reset},
    validate::{Fault, Method},
};

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Http1Exchange<'a> {
    pub(super) session: &'a mut Session,
    pub(super) request: Request,
    /// How much of the request the input still holds.
    pub(super) left: Left,
    /// Whether the answer has begun.
    pub(super) began: bool,
    pub(super) client_is_gone: bool,
    /// Whether the memory of the request's fields was given back.
    lines_are_lent: bool,
    /// Whether it came to its end, good or bad.
    finished: bool,
}

impl<'a> Http1Exchange<'a> {
    /// A request whose head stands at the front of the session's input.
    #[inline]
    pub(super) fn new(session: &'a mut Session, request: Request) -> Self {
        Self {
            session,
            request,
            left: Left::All,
            began: false,
            client_is_gone: false,
            lines_are_lent: false,
            finished: false,
        }
    }

    /// Gives back what the exchange had borrowed.
    #[inline]
    pub(super) fn finish(&mut self) {
        self.finished = true;
        let worker = &self.session.client.worker;
        if !self.lines_are_lent {
            worker.lines.give_back(std::mem::take(&mut self.request.lines));
        }
        self.session.input.release(&worker.buffers);
    }

    fn whither(&self, context: &RequestContext, target: Target) -> Whither {
        match (target, &context.authority) {
            (Target::Sandbox { endpoint, .. }, _) => Whither::Endpoint(endpoint),
            (Target::Baseline, Some(authority)) => Whither::Authority(authority.clone()),
            (Target::Baseline, None) => Whither::Baseline,
        }
    }

    /// Connects, or takes the connection that detection has dialled.
    async fn dial(&mut self, whither: Whither) -> Result<Upstream, RequestError> {
        // A crowd that dials at once must not hold a whole buffer each meanwhile.
        self.session.input.compact(&self.session.client.worker.buffers);
        let dialled = match whither {
            Whither::Baseline => std::mem::replace(&mut self.session.dialled, Baseline::NotDialled),
            Whither::Endpoint(_) | Whither::Authority(_) => Baseline::NotDialled,
        };
        let session = &*self.session;
        let connecting = async {
            let shared = &session.client.worker.shared;
            match &whither {
                Whither::Endpoint(endpoint) => Ok((dial::sandbox(shared, *endpoint).await?, true)),
                Whither::Authority(authority) => Ok((dial::baseline_by_name(shared, authority).await?, true)),
                Whither::Baseline => dial_baseline(session, dialled).await,
            }
        };
        // The kernel may try for minutes; a client that has gone by then must not hold its place that long.
        let connected = tokio::select! {
            biased;
            connected = connecting => connected,
            error = tunnel::broken(&session.socket) => Err(client_gone(error)),
        };
        self.client_is_gone = matches!(connected, Err(RequestError { kind: ErrorKind::ClientGone, .. }));
        let (socket, fresh) = connected.inspect_err(|_| {
            if self.client_is_gone {
                self.session.fate = Fate::Reset;
            }
        })?;
        let client = &self.session.client;
        if let Whither::Endpoint(endpoint) = whither {
            self.session.choices.succeeded(endpoint);
        }
        let side = if matches!(whither, Whither::Endpoint(_)) { Side::Sandbox } else { Side::Baseline };
        let _open = client.worker.telemetry.upstream(side.into());
        Ok(Upstream { whither, socket, fresh, _open })
    }

    /// Begins one try: nothing is sent yet.
    #[inline]
    fn begin<'b>(&mut self, attempt: &'b Attempt) -> Result<Relay<'b>, RequestError> {
        if self.lines_are_lent {
            self.read_lines_again();
        }
        let Session { client, input, explicit, .. } = &*self.session;
        let worker = &*client.worker;
        let shared = &worker.shared;
        let head = input.bytes().get(..self.request.length).unwrap_or_default();
        let edited = edit::request(&self.request, head, *explicit, &attempt.decided, &worker.buffers);
        // While the answer is awaited nobody looks at them; other requests do at theirs.
        self.lines_are_lent = true;
        worker.lines.give_back(std::mem::take(&mut self.request.lines));
        let close = shared.drain.draining();
        let down =
            Download::new(&self.request, &shared.config.limits, close, attempt.proxy_status.as_deref());
        Relay::new(&self.request, edited, input, down).map_err(|Fault(rule)| RequestError::bad_request(rule))
    }

    /// For another try. What was read once reads the same again.
    #[cold]
    fn read_lines_again(&mut self) {
        let Session { client, input, .. } = &*self.session;
        let worker = &*client.worker;
        let head = input.bytes().get(..self.request.length).unwrap_or_default();
        let (limits, carriers) = (&worker.shared.config.limits, &worker.shared.carriers);
        if let Ok(again) = Request::parse(head, limits, carriers, worker.lines.take()) {
            self.request = again;
        }
    }

    /// What one try moves bytes between.
    #[inline]
    fn wires<'b>(&'b mut self, upstream: &'b mut TcpStream, output: &'b mut Buffer, side: Side) -> Wires<'b> {
        let Session { client, socket, input, .. } = &mut *self.session;
        let buffers = &client.worker.buffers;
        let traffic = &client.worker.telemetry.counters().http1;
        Wires { client: socket, input, upstream, output, buffers, side, traffic }
    }

    /// The answer has ended: what becomes of both connections.
    #[inline]
    fn settle(&mut self, heard: Heard, relay: &mut Relay<'_>, output: &mut Buffer, upstream: Upstream) {
        let session = &mut *self.session;
        relay.release_request(&mut session.input, &session.client.worker.buffers);
        session.upstreams.note_answer(&upstream.whither);
        // What came behind a CONNECT that was not granted was meant for the tunnel: it is no request.
        let (refused_tunnel, early) = (self.request.method == Method::Connect, !session.input.is_empty());
        match heard {
            Heard::Whole { reusable: true } if relay.is_clean() && !(refused_tunnel && early) => {
                session.upstreams.keep(upstream);
            }
            Heard::Whole { .. } => {
                session.fate =
                    if relay.is_clean() && session.input.is_empty() { Fate::Close } else { Fate::Linger };
            }
            Heard::Tunnel => {
                let from_server = Bytes::copy_from_slice(output.bytes());
                let what =
                    if self.request.method == Method::Connect { Tunnel::Connect } else { Tunnel::Upgrade };
                session.fate = Fate::Tunnel(Box::new((upstream.socket, from_server, what)));
            }
        }
        output.clear(&session.client.worker.buffers);
    }

    /// The exchange broke off: its upstream's connection ends, as a reset where the request was not whole.
    fn break_off(&mut self, error: &RequestError, relay: Option<&Relay<'_>>, upstream: Upstream) {
        self.began = relay.is_some_and(|relay| relay.down.began());
        self.left = Left::Part;
        self.client_is_gone = error.kind == ErrorKind::ClientGone;
        if error.side == Side::Client || matches!(error.kind, ErrorKind::BadResponse(_)) {
            reset(upstream.socket);
        }
        // What was sent of the answer must not look whole: an end is passed on as an end, anything else is a reset.
        self.session.fate = match error.kind {
            ErrorKind::Closed => Fate::Close,
            _ => Fate::Reset,
        };
    }

    /// Whether the whole request has come, so that the connection can go on behind it. Lets the input go of it then.
    fn skip_request(&mut self) -> bool {
        // What came behind was meant for the tunnel.
        if self.request.method == Method::Connect || self.left != Left::All {
            return self.request.method != Method::Connect && self.left == Left::Nothing;
        }
        let behind = self.session.input.bytes().get(self.request.length..).unwrap_or_default();
        let mut body = Body::new(self.request.framing);
        let Ok(count) = body.scan(behind) else { return false };
        if body.is_done() {
            self.session.input.consume(self.request.length + count);
        }
        body.is_done()
    }
}

/// The baseline's connection, and whether it was dialled for this request. Detection's was for the client's first one;
/// nobody has watched it while others were answered elsewhere.
async fn dial_baseline(session: &Session, dialled: Baseline) -> Result<(TcpStream, bool), RequestError> {
    match dialled.ready().await {
        Baseline::Connected(socket) if is_quiet(&socket) => {
            return Ok((socket, !session.upstreams.has_answered()));
        }
        Baseline::Failed(error) => return Err(dial::failed(Side::Baseline, error)),
        Baseline::Connected(_) | Baseline::NotDialled | Baseline::Dialling(_) => {}
    }
    let dialled = dialling::baseline(Rc::clone(&session.client)).await;
    Ok((dialled.map_err(|error| dial::failed(Side::Baseline, error))?, true))
}

impl Exchange for Http1Exchange<'_> {
    #[inline]
    fn head(&self) -> impl Head + '_ {
        let bytes = self.session.input.bytes();
        self.request.view(bytes.get(..self.request.length).unwrap_or_default())
    }

    #[inline]
    async fn send(
        &mut self,
        context: &RequestContext,
        attempt: &Attempt,
        record: &mut RequestRecord,
        wait: &AnswerWait,
    ) -> Result<(), RequestError> {
        let side = attempt.target.side();
        if let Target::Sandbox { protocol: EndpointProtocol::Http2, endpoint } = attempt.target {
            return Box::pin(self.send_over_http2(endpoint, attempt, record, wait)).await;
        }
        let whither = self.whither(context, attempt.target);
        let mut upstream = if let Some(upstream) = self.session.upstreams.take(&whither) {
            upstream
        } else {
            Box::pin(self.dial(whither)).await?
        };
        loop {
            let mut relay = match self.begin(attempt) {
                Ok(relay) => relay,
                Err(error) => {
                    self.break_off(&error, None, upstream);
                    return Err(error);
                }
            };
            let mut output = Buffer::default();
            let mut midway = Midway::new(&mut upstream.socket);
            let moved = poll_fn(|cx| {
                let moved = relay.poll(cx, &mut self.wires(midway.socket, &mut output, side));
                midway.over = moved.is_ready();
                wait.hold(!relay.down.awaits_head());
                self.left = relay.left();
                moved
            });
            let moved = moved.await;
            drop(midway);
            let error = match moved {
                Ok(heard) => {
                    record.status(relay.down.status);
                    self.settle(heard, &mut relay, &mut output, upstream);
                    return Ok(());
                }
                Err(error) => error,
            };
            output.clear(&self.session.client.worker.buffers);
            let again = !upstream.fresh
                && relay.may_retry(&error, context.idempotent, self.request.upgrade)
                && self.session.client.worker.retries(side.into(), !relay.is_begun());
            if !again {
                record.status(relay.down.status);
                self.break_off(&error, Some(&relay), upstream);
                return Err(error);
            }
            upstream = match Box::pin(self.dial(upstream.whither)).await {
                Ok(upstream) => upstream,
                // Something of it was sent: neither another endpoint nor the baseline may answer.
                Err(_) if relay.is_begun() => return Err(error),
                Err(again) => return Err(again),
            };
        }
    }

    async fn answer(&mut self, record: &mut RequestRecord, answer: Answer) {
        if self.began || self.client_is_gone {
            return;
        }
        let to_head = self.request.method == Method::Head;
        let draining = self.session.client.worker.shared.drain.draining();
        let close = answer.close || draining || self.request.close || !self.skip_request();
        self.session.fate = if close { Fate::Linger } else { Fate::Next };
        record.status(answer.status);
        Box::pin(self.session.say(&answer, to_head, close)).await;
    }
}

/// An exchange that is dropped under way was cut: by the drain's deadline, or by a panic. What went on of its answer must
/// not look whole.
impl Drop for Http1Exchange<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.finished {
            tunnel::reset(&self.session.socket);
        }
    }
}
