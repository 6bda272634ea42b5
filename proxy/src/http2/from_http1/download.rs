//! An HTTP/2 endpoint's answer on its way to an HTTP/1 client.

use std::{pin::pin, task::Poll};

use bytes::BytesMut;
use h2::{RecvStream, client::ResponseFuture};
use http::{Response, response::Parts};

use super::{
    Caller,
    answer::{self, Framing, Manner},
};
use crate::{
    error::ErrorKind,
    http2::{
        exchange::{self, Outcome},
        pack,
        to_http1::request::write_trailers,
    },
    validate::{self, Fault},
};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer was passed on whole.
    Whole {
        /// Whether the client's connection ends behind it.
        close: bool,
    },
    /// It was cut where nothing else may follow, and so it has to be for the client.
    Cut(ErrorKind),
    /// A tunnel was idle too long, and was cut towards both sides: the fault of neither.
    Idle,
    /// The client went away.
    ClientGone,
    /// The request's body breaks a rule.
    BadRequest(&'static str),
    /// Nothing of an answer went on.
    Failed {
        /// Why.
        kind: ErrorKind,
        /// Whether the endpoint did nothing with the request.
        unprocessed: bool,
    },
}

/// Waits for the answer's head; what comes before it is passed on.
///
/// # Errors
/// How the exchange ended without one.
pub(super) async fn head(
    response: &mut ResponseFuture,
    to: Caller<'_>,
    manner: Manner<'_>,
) -> Result<(Parts, RecvStream), End> {
    let mut out = BytesMut::with_capacity(1024);
    let (mut told, mut interims) = (false, validate::http2::Interims::default());
    while let Some(Ok(interim)) = interim(response, to, &mut out, manner).await? {
        let counted = interims.another(interim.headers());
        let checked = counted.and_then(|()| validate::http2::check_interim(&interim));
        // The proxy's own answer has no place within one that the client takes slowly.
        checked.map_err(|fault| if out.is_empty() { invalid(fault) } else { End::Cut(because(fault)) })?;
        // HTTP/1.0 knows no interim answers.
        if !manner.is_1_0 {
            told = true;
            answer::write(&interim.into_parts().0, manner, true, &mut out);
            manner.wait.hold(true);
        }
    }
    to.write(&mut out).await.map_err(|_| End::ClientGone)?;
    manner.wait.hold(false);
    match response.await {
        Ok(response) => {
            validate::http2::check_fields(response.headers()).map_err(invalid)?;
            Ok(response.into_parts())
        }
        // Behind an interim answer there is no second try: it was the answer to the first.
        Err(_) if told => Err(End::Failed { kind: ErrorKind::Closed, unprocessed: false }),
        Err(error) => Err(failed(error)),
    }
}

/// Waits for the next interim answer while `out` goes on: of those that nobody takes, `h2` holds any number.
async fn interim(
    response: &mut ResponseFuture,
    to: Caller<'_>,
    out: &mut BytesMut,
    manner: Manner<'_>,
) -> Result<Option<Result<Response<()>, h2::Error>>, End> {
    let mut writing = pin!(to.write(out));
    let mut written = false;
    std::future::poll_fn(|cx| {
        if !written && let Poll::Ready(end) = writing.as_mut().poll(cx) {
            end.map_err(|_| End::ClientGone)?;
            written = true;
            manner.wait.hold(false);
        }
        response.poll_informational(cx).map(Ok)
    })
    .await
}

/// Passes the answer on.
pub(super) async fn rest((head, body): (Parts, RecvStream), to: Caller<'_>, manner: Manner<'_>) -> End {
    let mut out = BytesMut::with_capacity(1024);
    let (framing, close) = answer::write(&head, manner, body.is_end_stream(), &mut out);
    if framing == Framing::None {
        return if to.write(&mut out).await.is_ok() { End::Whole { close } } else { End::ClientGone };
    }
    pass_body(body, framing, out, to).await.unwrap_or(End::Whole { close })
}

/// `None` where all of it was passed on.
async fn pass_body(mut body: RecvStream, framing: Framing, mut out: BytesMut, to: Caller<'_>) -> Option<End> {
    if !out.is_empty() && to.write(&mut out).await.is_err() {
        return Some(End::ClientGone);
    }
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return Some(End::Cut(ErrorKind::Reset)) };
        let length = data.len();
        if length == 0 {
            continue;
        }
        pack::put(&data, framing == Framing::Chunked, &mut out);
        drop(data);
        if to.write(&mut out).await.is_err() {
            return Some(End::ClientGone);
        }
        // Fails only where more is released than was received.
        let _ = body.flow_control().release_capacity(length);
    }
    let Ok(trailers) = body.trailers().await else { return Some(End::Cut(ErrorKind::Reset)) };
    let trailers = trailers.unwrap_or_default();
    if let Err(fault) = validate::http2::check_fields(&trailers) {
        return Some(End::Cut(because(fault)));
    }
    if framing == Framing::Chunked {
        write_trailers(&trailers, &mut out);
        if to.write(&mut out).await.is_err() {
            return Some(End::ClientGone);
        }
    }
    None
}

/// What HTTP/1 has no way to say is refused (MATRICES B20).
fn invalid(fault: Fault) -> End {
    End::Failed { kind: because(fault), unprocessed: false }
}

fn because(Fault(rule): Fault) -> ErrorKind {
    ErrorKind::BadResponse(rule)
}

fn failed(error: h2::Error) -> End {
    match exchange::failed(error) {
        Outcome::Unprocessed => End::Failed { kind: ErrorKind::Reset, unprocessed: true },
        Outcome::Invalid(_) => {
            let kind = ErrorKind::BadResponse("not a valid HTTP/2 response");
            End::Failed { kind, unprocessed: false }
        }
        _ => End::Failed { kind: ErrorKind::Reset, unprocessed: false },
    }
}
