//! One request of a client's connection, in the hands of the request's steps.

use std::{rc::Rc, sync::Arc};

use bellhop_api::watch::EndpointProtocol;
use bellhop_route::{HeadView, Reason};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderName, HeaderValue, Method, Request, Response, header, request::Parts, response};

use super::{
    Engine,
    attempt::{self, Done, Message},
    exchange::Incoming,
    to_http1,
};
use crate::{
    answer_wait::AnswerWait,
    connection::Arrival,
    context::{Head, RequestContext},
    error::{ErrorKind, RequestError},
    forward::{Attempt, Target},
    handler::{self, Exchange},
    respond::{self, Answer},
    telemetry::{Listener, Protocol, RequestRecord},
    upstream::Whither,
    validate,
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Serves one request, from its head to the end of its answer.
///
/// What an `async fn` takes it keeps twice; this is kept for each stream.
pub(crate) fn serve(
    engine: Rc<Engine>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let busy = engine.busy();
    let (head, body) = request.into_parts();
    let mut record = begin_record(&engine, &head);
    let incoming = Incoming::new(body, respond);
    let mut stream = Stream { engine: Rc::clone(&engine), head, incoming, over: false };
    async move {
        let _busy = busy;
        match stream.refusal() {
            None => handler::handle(&engine.client, &engine.choices, &mut record, &mut stream).await,
            Some(Refusal::Reset) => {
                record.refused(Reason::BadRequest);
                stream.incoming.reset(h2::Reason::PROTOCOL_ERROR);
            }
            Some(Refusal::Answer(kind)) => {
                record.refused(kind.reason());
                let answer = respond::answer(&engine.client, false, None, &RequestError::client(kind));
                stream.answer(&mut record, answer).await;
            }
        }
    }
}

/// What becomes of a request that is not let in.
enum Refusal {
    Reset,
    Answer(ErrorKind),
}

fn begin_record(engine: &Engine, head: &Parts) -> RequestRecord {
    let client = &engine.client;
    let protocol = if View(head).is_grpc() { Protocol::Grpc } else { Protocol::Http2 };
    let listener = Listener::from(&client.arrival);
    RequestRecord::begin(&client.worker.telemetry, listener, protocol, std::time::Instant::now())
}

/// A request and where its answer goes.
struct Stream {
    engine: Rc<Engine>,
    head: Parts,
    incoming: Incoming,
    /// An answer or a reset went to the client, or the client is gone.
    over: bool,
}

impl Stream {
    fn refusal(&self) -> Option<Refusal> {
        let client = &self.engine.client;
        match validate::http2::check(&self.head, &client.worker.shared.config.limits) {
            // A CONNECT that names a protocol asks for a service of its authority, as any other request does.
            Ok(())
                if self.head.method == Method::CONNECT
                    && self.head.extensions.get::<h2::ext::Protocol>().is_none()
                    && matches!(client.arrival, Arrival::Explicit) =>
            {
                let why = "CONNECT to this proxy is served over HTTP/1";
                Some(Refusal::Answer(ErrorKind::BadRequest(why)))
            }
            Ok(()) => None,
            // A malformed message is a stream error (RFC 9113 §8.1.1).
            Err(ErrorKind::BadRequest(_)) => Some(Refusal::Reset),
            Err(kind) => Some(Refusal::Answer(kind)),
        }
    }
}

impl Exchange for Stream {
    fn head(&self) -> impl Head + '_ {
        View(&self.head)
    }

    async fn send(
        &mut self,
        context: &RequestContext,
        attempt: &Attempt,
        record: &mut RequestRecord,
        wait: &AnswerWait,
    ) -> Result<(), RequestError> {
        let on_head = |head: &mut response::Parts| {
            wait.hold(true);
            record.status(head.status.as_u16());
            if let Target::Sandbox { endpoint, .. } = attempt.target {
                self.engine.choices.succeeded(endpoint);
            }
            append(&mut head.headers, attempt.proxy_status.as_deref());
        };
        let message = Message {
            head: &mut self.head,
            decided: &attempt.decided,
            idempotent: context.idempotent,
            bodiless: self.incoming.is_bodiless(),
        };
        let done = match attempt.target {
            Target::Sandbox { endpoint, protocol: EndpointProtocol::Http1 } => {
                // Boxed: rare, and larger than all the rest.
                let run = to_http1::run(&self.engine, endpoint, message, &mut self.incoming, on_head);
                Box::pin(run).await?
            }
            target => {
                let whither = whither(context, target);
                attempt::run(&self.engine, &whither, message, &mut self.incoming, on_head).await?
            }
        };
        self.over = true;
        match done {
            Done::Answered | Done::Idle => Ok(()),
            Done::Cut | Done::Reset => {
                Err(RequestError::upstream(attempt.target.side(), ErrorKind::Reset, None))
            }
            Done::ClientGone => Err(RequestError::client(self.incoming.why_gone())),
        }
    }

    async fn answer(&mut self, record: &mut RequestRecord, answer: Answer) {
        if !std::mem::replace(&mut self.over, true) {
            record.status(answer.status);
            tell(&mut self.incoming, answer);
        }
    }
}

/// Whom an attempt leads to.
fn whither(context: &RequestContext, target: Target) -> Whither {
    match target {
        Target::Baseline => match &context.authority {
            Some(authority) => Whither::Authority(Arc::clone(authority)),
            None => Whither::Baseline,
        },
        Target::Sandbox { endpoint, .. } => Whither::Endpoint(endpoint),
    }
}

/// Gives the proxy's own answer. One to gRPC is a head alone, whose fields its caller reads as trailers.
fn tell(incoming: &mut Incoming, answer: Answer) {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers = response.headers_mut();
    append(headers, Some(&answer.proxy_status));
    if let Some((status, message)) = answer.grpc {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", u64::from(status).into());
        headers.insert("grpc-message", HeaderValue::from_static(message));
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, answer.body.len().into());
    }
    let bodiless = answer.body.is_empty();
    // Fails where the client is gone: then there is nobody to tell.
    if let Ok(mut to) = incoming.respond.send_response(response, bodiless)
        && !bodiless
    {
        let _ = to.send_data(answer.body.into(), true);
    }
}

/// Appends a member to `Proxy-Status`, after what is there (RFC 9209 §2).
fn append(headers: &mut http::HeaderMap, member: Option<&str>) {
    if let Some(Ok(value)) = member.map(HeaderValue::from_str) {
        headers.append(PROXY_STATUS, value);
    }
}

/// A head as the steps see it.
pub(crate) struct View<'a>(pub(crate) &'a Parts);

impl HeadView for View<'_> {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }

    fn query(&self) -> Option<&[u8]> {
        self.0.uri.query().map(str::as_bytes)
    }
}

impl Head for View<'_> {
    fn method(&self) -> &[u8] {
        self.0.method.as_str().as_bytes()
    }

    fn authority(&self) -> Option<&[u8]> {
        match self.0.uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => self.0.headers.get(header::HOST).map(HeaderValue::as_bytes),
        }
    }

    fn target_has_authority(&self) -> bool {
        self.0.uri.authority().is_some()
    }

    fn path_and_query(&self) -> &[u8] {
        self.0.uri.path_and_query().map_or(b"", |target| target.as_str().as_bytes())
    }

    fn version(&self) -> &'static str {
        "2"
    }

    fn is_grpc(&self) -> bool {
        self.0.headers.get(header::CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()))
    }
}

/// `application/grpc`, with or without `+proto` and parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}
