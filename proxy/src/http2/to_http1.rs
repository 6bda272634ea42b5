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
mod upload;

use std::{cell::Cell, net::SocketAddr, pin::pin, rc::Rc, task::Poll};

use bytes::BytesMut;
use http::{Method, response::Parts};

pub(crate) use self::links::Links;
use self::{
    download::{Download, End},
    links::Link,
    request::Framing,
};
use super::{
    Engine,
    attempt::{Done, Message, or_gone},
    exchange::Incoming,
};
use crate::{
    dial,
    error::{ErrorKind, RequestError, Side},
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
    let mut head = BytesMut::new();
    let framing = request::write(message.head, message.decided, message.bodiless, &mut head)
        .map_err(|request::Unmappable(rule)| RequestError::bad_request(rule))?;
    let written = Written { head, framing, method: &message.head.method };
    let (mut kept, mut sent) = (engine.links.take(endpoint), None);
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
            End::Cut => Ok(Done::Cut),
            End::ClientGone => {
                link.abort();
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

/// A request's head in HTTP/1.
struct Written<'a> {
    head: BytesMut,
    framing: Framing,
    method: &'a Method,
}

/// Both directions at once. A connection whose answer ended before its request did is not used again.
async fn exchange(
    engine: &Engine,
    link: &mut Link,
    written: &Written<'_>,
    incoming: &mut Incoming,
    on_head: impl FnOnce(&mut Parts),
) -> End {
    let (from, to) = link.socket.split();
    let limits = &engine.client.worker.shared.config.limits;
    let (respond, asked, buffer) = (&mut incoming.respond, written.method, &mut link.buffer);
    let was_reset = Cell::new(false);
    let mut upload = pin!(upload::run(written.head.clone(), written.framing, &mut incoming.body, to));
    let download = Download { from, buffer, respond, asked, limits, was_reset: &was_reset };
    let mut download = pin!(download.run(on_head));
    let mut uploaded = None;
    std::future::poll_fn(|cx| {
        if uploaded.is_none()
            && let Poll::Ready(end) = upload.as_mut().poll(cx)
        {
            if end == Err(upload::Cut::Client) {
                return Poll::Ready(End::ClientGone);
            }
            was_reset.set(end == Err(upload::Cut::Reset));
            uploaded = Some(end);
        }
        download.as_mut().poll(cx).map(|end| match end {
            End::Whole { reusable } => End::Whole { reusable: reusable && uploaded == Some(Ok(())) },
            other => other,
        })
    })
    .await
}

#[cfg(test)]
mod tests;
