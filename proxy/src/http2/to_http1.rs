//! An HTTP/2 client's request to an HTTP/1 endpoint, and the answer back (RFC 9113 §8.2, §8.3.1; RFC 9112).
//!
//! Each stream in flight has a connection of its own. What one message of HTTP/2 means is written in the one way of
//! HTTP/1 that means the same, and what has no such way is refused; what comes back is read more strictly than a
//! client would have to, since a second reading of an answer is how one client gets another's.

mod download;
mod links;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
pub(crate) mod request;
mod response;
mod switch;
mod upload;

use std::{cell::Cell, net::SocketAddr, pin::pin, rc::Rc, task::Poll};

use bytes::BytesMut;
use h2::Reason;
use http::{Method, response::Parts};

pub(crate) use self::links::Links;
use self::{
    download::{Download, End},
    links::Link,
    request::Framing,
    response::Asked,
    switch::Switch,
};
use super::{
    Engine,
    attempt::{Done, Message, or_gone},
    exchange::Incoming,
    websocket::{Handshake, PROTOCOL},
};
use crate::{
    dial,
    error::{ErrorKind, RequestError, Side},
    telemetry::Tunnel,
    tunnel::Carrying,
    upstream::Midway,
};

/// Sends a request to an endpoint that speaks HTTP/1, and passes the answer on. Tried once more where a connection that
/// had served before ended without a word, and the request is idempotent and has no body.
///
/// # Errors
/// Nothing of an answer went to the client, and it is still there to be told why.
pub(crate) async fn run(
    engine: &Rc<Engine>,
    endpoint: SocketAddr,
    message: Message<'_>,
    incoming: &mut Incoming,
    mut on_head: impl FnMut(&mut Parts),
) -> Result<Done, RequestError> {
    let handshake = handshake(&message)?;
    let mut head = BytesMut::new();
    let framing =
        request::write(message.head, message.decided, message.bodiless, handshake.as_ref(), &mut head)
            .map_err(|request::Unmappable(rule)| RequestError::bad_request(rule))?;
    let method = if handshake.is_some() { &Method::GET } else { &message.head.method };
    let written = Written { head, framing, asked: Asked { method, handshake: handshake.as_ref() } };
    // What becomes a tunnel has its connection for itself, from the first byte on.
    let mut kept = if handshake.is_some() { None } else { engine.links.take(endpoint) };
    let mut sent = None;
    loop {
        let mut link = match kept.take() {
            Some(link) => link,
            None => {
                let dialled = dial::sandbox(&engine.client.worker.shared, endpoint);
                let Some(dialled) = or_gone(incoming, dialled).await else { return Ok(Done::ClientGone) };
                // Where it was sent once, neither another endpoint nor the baseline may answer.
                let because = |error| sent.map_or(error, failed);
                Link::new(dialled.map_err(because)?, &engine.client.worker.telemetry)
            }
        };
        let end = exchange(engine, &mut link, &written, incoming, &mut on_head).await;
        let again = link.reused && message.idempotent && message.bodiless;
        return match end {
            End::Whole { reusable } => {
                if reusable {
                    engine.links.keep(endpoint, link);
                }
                Ok(Done::Answered)
            }
            End::Cut => {
                link.abort();
                Ok(Done::Cut)
            }
            End::Idle => {
                link.abort();
                // RFC 8441 §5: a reset of a tunnel is CANCEL.
                incoming.reset(Reason::CANCEL);
                Ok(Done::Idle)
            }
            End::ClientGone => {
                link.abort();
                Ok(Done::ClientGone)
            }
            End::Malformed(fault) => {
                link.abort();
                incoming.refuse(fault);
                Ok(Done::ClientGone)
            }
            End::Failed { silent: true, kind }
                if again && engine.client.worker.retries(Side::Sandbox.into(), false) =>
            {
                sent = Some(kind);
                continue;
            }
            End::Failed { kind, .. } => Err(failed(kind)),
        };
    }
}

fn failed(kind: ErrorKind) -> RequestError {
    RequestError::upstream(Side::Sandbox, kind, None)
}

/// The WebSocket handshake that an extended CONNECT becomes.
fn handshake(message: &Message<'_>) -> Result<Option<Handshake>, RequestError> {
    match message.protocol() {
        None => Ok(None),
        Some(protocol) if protocol.as_str() == PROTOCOL => Ok(Some(Handshake::new())),
        Some(_) => Err(failed(ErrorKind::NotOffered)),
    }
}

/// A request's head in HTTP/1.
struct Written<'a> {
    head: BytesMut,
    framing: Framing,
    asked: Asked<'a>,
}

/// Both directions at once. A connection whose answer ended before its request did is not used again; a tunnel ends when
/// both of its directions have.
async fn exchange(
    engine: &Engine,
    link: &mut Link,
    written: &Written<'_>,
    incoming: &mut Incoming,
    on_head: impl FnOnce(&mut Parts),
) -> End {
    let mut midway = Midway::new(&mut link.socket);
    let (from, to) = midway.socket.split();
    let worker = &engine.client.worker;
    let limits = &worker.shared.config.limits;
    let (respond, asked, buffer) = (&mut incoming.respond, written.asked, &mut link.buffer);
    let (was_reset, switch) = (Cell::new(false), Switch::default());
    let upload = upload::run(written.head.clone(), written.framing, &mut incoming.body, to, &switch);
    let mut upload = pin!(upload);
    let download = Download { from, buffer, respond, asked, limits, was_reset: &was_reset, switch: &switch };
    let mut download = pin!(download.run(on_head, || Carrying::new(worker, Tunnel::Upgrade)));
    let mut idle = pin!(switch.idle());
    let (mut uploaded, mut downloaded) = (None, None);
    let end = std::future::poll_fn(|cx| {
        if uploaded.is_none()
            && let Poll::Ready(end) = upload.as_mut().poll(cx)
        {
            match end {
                Err(upload::Cut::Client) => return Poll::Ready(End::ClientGone),
                Err(upload::Cut::Malformed(fault)) => return Poll::Ready(End::Malformed(fault)),
                _ => {}
            }
            was_reset.set(end == Err(upload::Cut::Reset));
            uploaded = Some(end);
        }
        if downloaded.is_none()
            && let Poll::Ready(end) = download.as_mut().poll(cx)
        {
            downloaded = Some(end);
        }
        let is_tunnel = switch.is_turned().is_some();
        match downloaded {
            Some(End::Whole { reusable }) if !is_tunnel || uploaded.is_some() => {
                Poll::Ready(End::Whole { reusable: reusable && uploaded == Some(Ok(())) })
            }
            None | Some(End::Whole { .. }) if is_tunnel => idle.as_mut().poll(cx).map(|()| End::Idle),
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    })
    .await;
    midway.over = true;
    end
}

#[cfg(test)]
mod tests;
