//! An HTTP/1 client's request to an endpoint that speaks HTTP/2, and the answer back.
//!
//! The HTTP/1 engine has read and checked the head; from there on its connection is lent to [`Request::send`], which
//! lets go of no byte beyond the request's end. A client that ends its side before the answer is whole has gone away:
//! HTTP/2 has no end to pass on after a stream's own.

mod answer;
mod caller;
mod connections;
mod download;
mod request;
#[cfg(test)]
mod tests;
mod tunnel;
mod upload;

use std::{cell::Cell, net::SocketAddr, pin::pin, task::Poll};

use bytes::BytesMut;
use http::{Method, response::Parts};

use self::{answer::Manner, upload::Intake};
pub(crate) use self::{caller::Caller, connections::Connections, download::End};
pub(crate) use super::unpack::Framing;
use super::{exchange::Outgoing, upstream::InFlight, websocket::Handshake};
use crate::{
    answer_wait::AnswerWait,
    context::Head,
    error::{ErrorKind, RequestError, Side},
    forward::DecidedField,
    worker::Worker,
};

/// A head as [`Request::send`] writes it; none where it cannot be.
#[cfg(any(test, fuzzing))]
pub(crate) fn write_head(head: &impl Head, decided: &DecidedField) -> Option<http::request::Parts> {
    let method = Method::from_bytes(head.method()).ok()?;
    Some(request::write(head, &method, decided, None).ok()?.into_parts().0)
}

/// One request of an HTTP/1 client, as its engine knows it.
#[derive(Debug)]
pub(crate) struct Request<'a, H> {
    /// The head.
    pub(crate) head: H,
    /// How its body is framed; never until the connection closes.
    pub(crate) framing: Framing,
    /// Whether the client speaks HTTP/1.0.
    pub(crate) is_1_0: bool,
    /// Whether the connection ends after this answer.
    pub(crate) close: bool,
    /// What becomes of `bellhop-decided`.
    pub(crate) decided: &'a DecidedField,
    /// Whether it asks to switch protocols.
    pub(crate) upgrade: bool,
    /// How long the answer's head is waited for.
    pub(crate) wait: &'a AnswerWait,
}

/// The client's connection.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    /// Its socket.
    pub(crate) caller: Caller<'a>,
    /// Read from it and not yet used: first what belongs to the request's body, in the end what does not.
    pub(crate) ahead: BytesMut,
    /// Whether the request was read to its end.
    pub(crate) request_is_done: bool,
}

/// The endpoints' side.
#[derive(Debug)]
pub(crate) struct Endpoints<'a> {
    /// Where connections are kept.
    pub(crate) connections: &'a Connections,
    /// The worker that they live on.
    pub(crate) worker: &'a Worker,
    /// The one that is asked.
    pub(crate) endpoint: SocketAddr,
}

impl<H: Head> Request<'_, H> {
    /// Sends the request and passes the answer on, whose head `on_head` may change.
    ///
    /// A request without a body is tried once more where the endpoint did nothing with it, or where an idempotent one
    /// met a connection that had served before and ended.
    ///
    /// # Errors
    /// The endpoint cannot be had, or the request cannot be written; nothing went either way.
    pub(crate) async fn send(
        &self,
        to: &Endpoints<'_>,
        client: &mut Lent<'_>,
        mut on_head: impl FnMut(&mut Parts),
    ) -> Result<End, RequestError> {
        let method = Method::from_bytes(self.head.method());
        let method = method.map_err(|_| RequestError::bad_request("a method that HTTP/2 cannot carry"))?;
        let bodiless = self.framing == Framing::Length(0);
        let handshake = (self.upgrade && bodiless).then(|| Handshake::asked(&self.head)).flatten();
        let handshake = handshake.as_ref();
        let (is_1_0, close, wait) = (self.is_1_0, self.close, self.wait);
        let manner = Manner { asked: &method, is_1_0, close, wait };
        let (mut tried, mut sent) = (false, None);
        loop {
            let getting = to.connections.get(to.worker, to.endpoint);
            let Some(got) = or_gone(client.caller, getting).await else { return Ok(End::ClientGone) };
            let (upstream, reused) = match (got, sent) {
                (Ok(found), _) => found,
                // Something of it was sent: neither another endpoint nor the baseline may answer.
                (Err(_), Some(end)) => return Ok(end),
                (Err(error), None) => return Err(error),
            };
            let patience = to.worker.shared.config.limits.connect_timeout;
            if handshake.is_some() {
                match or_gone(client.caller, upstream.offers_extended_connect(patience)).await {
                    Some(true) => {}
                    // Where it was sent once, what was read of the client meanwhile is to be taken back.
                    Some(false) => {
                        let error = RequestError::upstream(Side::Sandbox, ErrorKind::NotOffered, None);
                        return sent.ok_or(error);
                    }
                    None => return Ok(End::ClientGone),
                }
            }
            let head = request::write(&self.head, &method, self.decided, handshake)?;
            let (end, was_sent) = match (upstream.send(head, bodiless && handshake.is_none()), handshake) {
                (Ok((sent, _in_flight)), Some(handshake)) => {
                    let begins = (handshake, to.worker);
                    (tunnel::exchange(client, sent, begins, manner, &mut on_head).await, true)
                }
                (Ok(sent), None) => (exchange(client, self.framing, sent, manner, &mut on_head).await, true),
                (Err(_), _) => (End::Failed { kind: ErrorKind::Reset, unprocessed: true }, false),
            };
            let safe = match end {
                End::Failed { unprocessed: true, .. } => true,
                End::Failed { kind: ErrorKind::Reset, .. } => {
                    reused && method.is_idempotent() && handshake.is_none()
                }
                _ => false,
            };
            if tried || !bodiless || !safe || !to.worker.retries(Side::Sandbox.into(), !was_sent) {
                return Ok(end);
            }
            tried = true;
            sent = was_sent.then_some(end);
        }
    }
}

impl End {
    /// The error that the caller is told, where it can be.
    pub(crate) fn error(self) -> Option<RequestError> {
        match self {
            Self::Whole { .. } | Self::Idle => None,
            Self::ClientGone => Some(RequestError::client(ErrorKind::ClientGone)),
            Self::BadRequest(rule) => Some(RequestError::bad_request(rule)),
            Self::Cut(kind) | Self::Failed { kind, .. } => {
                Some(RequestError::upstream(Side::Sandbox, kind, None))
            }
        }
    }
}

/// Waits for `work`, unless the client is reset first.
async fn or_gone<T>(caller: Caller<'_>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = caller.broken() => None,
    }
}

/// Both directions at once, until the answer has ended.
async fn exchange(
    client: &mut Lent<'_>,
    framing: Framing,
    (mut sent, _in_flight): (Outgoing, InFlight),
    manner: Manner<'_>,
    on_head: impl FnOnce(&mut Parts),
) -> End {
    let began = Cell::new(false);
    let on_head = |head: &mut Parts| {
        began.set(true);
        on_head(head);
    };
    let caller = client.caller;
    let mut intake = Intake::new(std::mem::take(&mut client.ahead), framing);
    let end = {
        let mut upload = pin!(intake.run(caller, &mut sent.body));
        let mut download = pin!(async {
            let (mut head, body) = match download::head(&mut sent.response, caller, manner).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            on_head(&mut head);
            download::rest((head, body), caller, manner).await
        });
        let both = std::future::poll_fn(|cx| match upload.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => download.as_mut().poll(cx),
        });
        or_gone(caller, both).await.unwrap_or(End::ClientGone)
    };
    client.request_is_done = intake.is_done();
    client.ahead = intake.into_ahead();
    match end {
        // In the midst of an answer there is no place for another one.
        End::BadRequest(_) if began.get() => End::ClientGone,
        end => end,
    }
}
