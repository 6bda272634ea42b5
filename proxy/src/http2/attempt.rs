//! One request to one upstream, and once more where that is safe (DESIGN §3.4).
//!
//! Safe is: the connection took no new stream; the upstream says that it did nothing with the request (a refused
//! stream, or one beyond GOAWAY's last, F6); or the connection had been opened for an earlier request, broke before a
//! byte of the answer, and repeating the method does no more than once. What was sent of the body has to be
//! remembered whole.

use std::{pin::pin, rc::Rc, task::Poll};

use h2::{Reason, ext::Protocol};
use http::{HeaderName, HeaderValue, Method, Request, Version, request, response};

use super::{
    Engine,
    exchange::{self, Incoming, Outcome},
    kept::Kept,
    pool::side,
};
use crate::{
    error::{ErrorKind, RequestError, Side},
    forward::DecidedField,
    telemetry::Tunnel,
    tunnel::Carrying,
    upstream::Whither,
};

/// How a request ended that needs no answer from the proxy any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// The upstream's answer went to the client.
    Answered,
    /// The answer was cut after its head, and so for the client.
    Cut,
    /// A tunnel was idle too long, and was cut towards both sides: the fault of neither.
    Idle,
    /// The upstream's reset was passed on.
    Reset,
    /// The client went away first.
    ClientGone,
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The head, as it came. While it is on its way, and once it was answered, it is not here.
    pub(crate) head: &'a mut request::Parts,
    /// What becomes of `bellhop-decided`.
    pub(crate) decided: &'a DecidedField,
    /// Whether a second try does no more than one.
    pub(crate) idempotent: bool,
    /// Whether the head is all there is.
    pub(crate) bodiless: bool,
}

impl Message<'_> {
    /// The protocol that an extended CONNECT asks for (RFC 8441 §4).
    pub(crate) fn protocol(&self) -> Option<&Protocol> {
        self.head.extensions.get()
    }

    /// The tunnel that it asks for, if any: a 2xx begins it.
    fn tunnel(&self) -> Option<Tunnel> {
        let what = if self.protocol().is_some() { Tunnel::Upgrade } else { Tunnel::Connect };
        (self.head.method == Method::CONNECT).then_some(what)
    }
}

/// Sends a request to `whither` and passes the answer on.
///
/// # Errors
/// Nothing of an answer went to the client, and it is still there to be told why.
pub(crate) async fn run(
    engine: &Rc<Engine>,
    whither: &Whither,
    message: Message<'_>,
    incoming: &mut Incoming,
    mut on_head: impl FnMut(&mut response::Parts),
) -> Result<Done, RequestError> {
    let (mut tried, mut sent) = (false, None);
    let tunnel = message.tunnel();
    loop {
        let Some(lease) = or_gone(incoming, engine.upstream(whither)).await else {
            return Ok(Done::ClientGone);
        };
        let (lease, before) = match (lease, sent.take()) {
            (Ok(lease), before) => (lease, before),
            // Something of it was sent: neither another endpoint nor the baseline may answer.
            (Err(_), Some(outcome)) => return conclude(outcome, side(whither), incoming),
            (Err(error), None) => return Err(error),
        };
        if tunnel == Some(Tunnel::Upgrade) {
            let patience = engine.client.worker.shared.config.limits.connect_timeout;
            // Boxed: rare, and kept for every stream otherwise.
            let offers = Box::pin(lease.upstream.offers_extended_connect(patience));
            match Box::pin(or_gone(incoming, offers)).await {
                None => return Ok(Done::ClientGone),
                Some(false) => {
                    let error = RequestError::upstream(side(whither), ErrorKind::NotOffered, None);
                    return before.map_or(Err(error), |before| conclude(before, side(whither), incoming));
                }
                Some(true) => {}
            }
        }
        let kept = Kept::of(message.head);
        let head = onward(take(message.head), message.decided);
        let (outcome, was_sent) = match lease.upstream.send(head, message.bodiless) {
            Err(_) => (Outcome::Unprocessed, false),
            Ok((outgoing, _in_flight)) => {
                let run = exchange::run(incoming, outgoing, |parts| {
                    engine.pool.note_answer(whither);
                    on_head(parts);
                    let granted = tunnel.filter(|_| parts.status.is_success());
                    granted.map(|what| Carrying::new(&engine.client.worker, what))
                });
                (run.await, true)
            }
        };
        if matches!(outcome, Outcome::Answered) {
            return Ok(Done::Answered);
        }
        kept.restore(message.head);
        let safe = match outcome {
            Outcome::Unprocessed => true,
            Outcome::Broken(_) => lease.reused && message.idempotent,
            _ => false,
        };
        let again = !tried && safe && incoming.rewind(message.bodiless);
        if !again || !engine.client.worker.retries(side(whither).into(), !was_sent) {
            return conclude(outcome, side(whither), incoming);
        }
        tried = true;
        sent = was_sent.then_some(outcome);
    }
}

/// Takes a head, and leaves an empty one.
fn take(head: &mut request::Parts) -> request::Parts {
    std::mem::replace(head, Request::new(()).into_parts().0)
}

/// The head as it goes on.
fn onward(mut head: request::Parts, decided: &DecidedField) -> Request<()> {
    const NAME: HeaderName = HeaderName::from_static(bellhop_route::DECIDED_FIELD);
    match decided {
        DecidedField::Keep => {}
        DecidedField::Remove => drop(head.headers.remove(NAME)),
        DecidedField::Add(value) => {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                head.headers.append(NAME, value);
            }
        }
    }
    if head.uri.authority().is_none() {
        // `Host` alone names it; for `h2` that is a request which came by way of HTTP/1.
        head.version = Version::HTTP_11;
    }
    Request::from_parts(head, ())
}

fn conclude(outcome: Outcome, side: Side, incoming: &mut Incoming) -> Result<Done, RequestError> {
    let failed = |kind, error: h2::Error| Err(RequestError::upstream(side, kind, error.into_io()));
    match outcome {
        Outcome::Answered => Ok(Done::Answered),
        Outcome::CutAnswer => Ok(Done::Cut),
        Outcome::Idle => Ok(Done::Idle),
        Outcome::ClientGone => Ok(Done::ClientGone),
        // The client may repeat it elsewhere, or here, whatever its method: nothing was done.
        Outcome::Unprocessed => Ok(reset(incoming, Reason::REFUSED_STREAM)),
        // Without an answer "no error" would be one.
        Outcome::Reset(Reason::NO_ERROR) => Ok(reset(incoming, Reason::INTERNAL_ERROR)),
        Outcome::Reset(reason) => Ok(reset(incoming, reason)),
        Outcome::Broken(error) => failed(ErrorKind::Reset, error),
        Outcome::Invalid(error) => failed(ErrorKind::BadResponse("not a valid HTTP/2 response"), error),
        Outcome::Malformed(fault) => Err(RequestError::upstream(side, ErrorKind::BadResponse(fault.0), None)),
    }
}

fn reset(incoming: &mut Incoming, reason: Reason) -> Done {
    incoming.reset(reason);
    Done::Reset
}

/// Waits for `work`, unless the client goes away first.
pub(crate) async fn or_gone<T>(incoming: &mut Incoming, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => incoming.poll_gone(cx).map(|()| None),
    })
    .await
}
