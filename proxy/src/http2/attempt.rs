//! One request to one upstream, and once more where that is safe (DESIGN §3.4).
//!
//! Safe is: the connection took no new stream; the upstream says that it did nothing with the request (a refused
//! stream, or one beyond GOAWAY's last, F6); or the connection had been opened for an earlier request, broke before a
//! byte of the answer, and repeating the method does no more than once. What was sent of the body has to be
//! remembered whole.

use std::{pin::pin, rc::Rc, task::Poll};

use h2::Reason;
use http::{Request, response::Parts};
use tokio::net::TcpStream;

use super::{
    Engine,
    exchange::{self, Incoming, Outcome},
    pool::Whither,
};
use crate::error::{ErrorKind, RequestError, Side};

/// How a request ended that needs no answer from the proxy any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// The upstream's answer, or its refusal, went to the client.
    Answered,
    /// The answer was cut.
    Cut,
    /// The client went away first.
    ClientGone,
}

/// What is to be sent, and how often.
#[derive(Debug)]
pub(crate) struct Message {
    /// The head, as it goes on.
    pub(crate) head: Request<()>,
    /// Whether a second try does no more than one.
    pub(crate) idempotent: bool,
}

/// Sends a request to `whither` and passes the answer on.
///
/// # Errors
/// Nothing of an answer went to the client, and it is still there to be told why.
pub(crate) async fn run<F>(
    engine: &Rc<Engine>,
    whither: &Whither,
    dial: impl Fn() -> F,
    message: Message,
    incoming: &mut Incoming,
    mut on_head: impl FnMut(&mut Parts),
) -> Result<Done, RequestError>
where
    F: Future<Output = Result<TcpStream, RequestError>> + 'static,
{
    let bodiless = incoming.is_bodiless();
    let Message { head, idempotent } = message;
    let mut again = Some(head.clone());
    let mut head = head;
    loop {
        let Some(lease) = or_gone(incoming, engine.upstream(whither, &dial)).await else {
            return Ok(Done::ClientGone);
        };
        let lease = lease?;
        let outcome = match lease.upstream.send(head, bodiless) {
            Err(_) => Outcome::Unprocessed,
            Ok((outgoing, _in_flight)) => {
                exchange::run(incoming, outgoing, |parts| {
                    engine.pool.note_answer(whither);
                    on_head(parts);
                })
                .await
            }
        };
        let safe = match outcome {
            Outcome::Unprocessed => true,
            Outcome::Broken(_) => lease.reused && idempotent,
            _ => false,
        };
        match again.take() {
            Some(spare) if safe && incoming.rewind(bodiless) => head = spare,
            _ => return conclude(outcome, whither.side(), incoming),
        }
    }
}

fn conclude(outcome: Outcome, side: Side, incoming: &mut Incoming) -> Result<Done, RequestError> {
    let failed = |kind, error: h2::Error| Err(RequestError::upstream(side, kind, error.into_io()));
    match outcome {
        Outcome::Answered => Ok(Done::Answered),
        Outcome::CutAnswer => Ok(Done::Cut),
        Outcome::ClientGone => Ok(Done::ClientGone),
        // The client may repeat it elsewhere, or here, whatever its method: nothing was done.
        Outcome::Unprocessed => Ok(reset(incoming, Reason::REFUSED_STREAM)),
        // Without an answer "no error" would be one.
        Outcome::Reset(Reason::NO_ERROR) => Ok(reset(incoming, Reason::INTERNAL_ERROR)),
        Outcome::Reset(reason) => Ok(reset(incoming, reason)),
        Outcome::Broken(error) => failed(ErrorKind::Reset, error),
        Outcome::Invalid(error) => failed(ErrorKind::BadResponse("not a valid HTTP/2 response"), error),
    }
}

fn reset(incoming: &mut Incoming, reason: Reason) -> Done {
    incoming.reset(reason);
    Done::Answered
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
