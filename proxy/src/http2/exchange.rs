//! One request and its answer between two HTTP/2 streams: heads, bodies, trailers, informational answers, resets.
//!
//! Both directions run at once and each is mirrored: what one side ends, cuts or refuses is ended, cut or refused on
//! the other with the same reason, wherever that reason means the same there.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture, server::SendResponse};
use http::response::Parts;

use super::transfer::{Cut, Transfer};
use crate::{
    error::ErrorKind,
    tunnel::Carrying,
    validate::{self, Fault},
};

/// What an attempt came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The answer was passed on whole, or a reset was.
    Answered,
    /// The upstream's answer was cut after its head went on; the client's stream was reset.
    CutAnswer,
    /// A tunnel was idle too long, and was cut towards both sides: the fault of neither.
    Idle,
    /// The client went away; the upstream was told.
    ClientGone,
    /// The upstream says that it did nothing with the request: it may be sent again whatever its method.
    Unprocessed,
    /// The upstream reset the stream before it answered.
    Reset(Reason),
    /// The upstream's connection broke before it answered.
    Broken(h2::Error),
    /// What the upstream sent is no valid answer.
    Invalid(h2::Error),
    /// The head of its answer cannot be passed on.
    Malformed(Fault),
}

/// The client's half: the request's body and where the answer goes.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The request's body.
    pub(crate) body: RecvStream,
    /// Where the answer goes.
    pub(crate) respond: SendResponse<Bytes>,
    upload: Transfer,
    uploaded: bool,
    /// What was wrong with a request that was refused under way.
    fault: Option<Fault>,
}

impl Incoming {
    /// A request whose body was not touched.
    pub(crate) fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        let uploaded = body.is_end_stream();
        Self { body, respond, upload: Transfer::replayable(), uploaded, fault: None }
    }

    /// Whether the request has no body, or none any more.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Makes the body ready to be sent once more, if all of it that went on is remembered.
    pub(crate) fn rewind(&mut self, bodiless: bool) -> bool {
        let possible = self.upload.rewind();
        self.uploaded = bodiless;
        possible
    }

    /// Ready when the client takes its request back, or its connection ends.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(drop)
    }

    /// Ends the stream of a request that is malformed behind its head (RFC 9113 §8.1.1).
    pub(crate) fn refuse(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.reset(Reason::PROTOCOL_ERROR);
    }

    /// Why there is nobody to answer any more: the request broke a rule, as was seen here or by `h2`, or its client left.
    pub(crate) fn why_gone(&mut self) -> ErrorKind {
        self.fault.or_else(|| self.fault_of_h2()).map_or(ErrorKind::ClientGone, ErrorKind::from)
    }

    /// `h2` tells of it behind what came before; nobody wants that any more.
    fn fault_of_h2(&mut self) -> Option<Fault> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.body.poll_data(&mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) if error.is_library() => {
                    return Some(Fault("a body or trailers that break HTTP/2"));
                }
                Poll::Ready(_) | Poll::Pending => return None,
            }
        }
    }

    /// Tells the client that the stream failed.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// The upstream's half, after the request's head was sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Where the request's body goes.
    pub(crate) body: SendStream<Bytes>,
    /// The answer to come.
    pub(crate) response: ResponseFuture,
}

#[derive(Debug)]
enum Download {
    Awaited,
    Streaming(Box<(RecvStream, SendStream<Bytes>, Transfer)>),
    Done,
}

/// Moves one request and its answer until both are over, or one of them is cut.
///
/// `on_head` may change the answer's head before it goes on, and says whether a tunnel begins behind it.
pub(crate) async fn run(
    incoming: &mut Incoming,
    outgoing: Outgoing,
    on_head: impl FnOnce(&mut Parts) -> Option<Carrying>,
) -> Outcome {
    let mut exchange = Exchange {
        incoming,
        outgoing,
        download: Download::Awaited,
        on_head: Some(on_head),
        interims: validate::http2::Interims::default(),
        tunnel: None,
        upload_cut: false,
    };
    std::future::poll_fn(|cx| {
        let outcome = exchange.poll(cx);
        exchange.tell();
        if outcome.is_pending() { exchange.poll_idle(cx) } else { outcome }
    })
    .await
}

/// A tunnel that has begun.
struct Begun {
    carrying: Rc<Carrying>,
    /// Its end where nothing moves on it for too long.
    idle: LocalBoxFuture<'static, ()>,
}

impl From<Carrying> for Begun {
    fn from(carrying: Carrying) -> Self {
        let carrying = Rc::new(carrying);
        let watched = Rc::clone(&carrying);
        Self { carrying, idle: Box::pin(async move { watched.idle().await }) }
    }
}

struct Exchange<'a, F> {
    incoming: &'a mut Incoming,
    outgoing: Outgoing,
    download: Download,
    on_head: Option<F>,
    interims: validate::http2::Interims,
    tunnel: Option<Begun>,
    /// The upstream wants no more of the request's body.
    upload_cut: bool,
}

impl<F: FnOnce(&mut Parts) -> Option<Carrying>> Exchange<'_, F> {
    /// Tells what a tunnel carried.
    fn tell(&mut self) {
        let Some(tunnel) = &self.tunnel else { return };
        let up = self.incoming.upload.take_moved();
        if up > 0 {
            tunnel.carrying.up(up);
        }
        if let Download::Streaming(streams) = &mut self.download {
            let down = streams.2.take_moved();
            if down > 0 {
                tunnel.carrying.down(down);
            }
        }
    }

    /// Cuts a tunnel that was idle too long, towards both sides. RFC 8441 §5: a reset of a tunnel is CANCEL.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(tunnel) = &mut self.tunnel else { return Poll::Pending };
        std::task::ready!(tunnel.idle.as_mut().poll(cx));
        self.outgoing.body.send_reset(Reason::CANCEL);
        self.incoming.reset(Reason::CANCEL);
        Poll::Ready(Outcome::Idle)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.poll_upload(cx) {
            return Poll::Ready(outcome);
        }
        if let Some(outcome) = self.poll_download(cx) {
            return Poll::Ready(outcome);
        }
        if !matches!(self.download, Download::Done) {
            return Poll::Pending;
        }
        // An upstream that answered may want no more of the body (RFC 9113 §8.1). Dropping the stream tells the client
        // so once the answer is out; a reset by hand would overtake it.
        if self.upload_cut || self.incoming.uploaded { Poll::Ready(Outcome::Answered) } else { Poll::Pending }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Option<Outcome> {
        if self.incoming.uploaded || self.upload_cut {
            return None;
        }
        let Incoming { body, upload, uploaded, .. } = &mut *self.incoming;
        match upload.poll(cx, body, &mut self.outgoing.body) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => *uploaded = true,
            Poll::Ready(Err(Cut::Sink)) => self.upload_cut = true,
            Poll::Ready(Err(Cut::Malformed(fault))) => {
                self.outgoing.body.send_reset(Reason::CANCEL);
                self.incoming.refuse(fault);
                return Some(Outcome::ClientGone);
            }
            Poll::Ready(Err(Cut::Source(error))) => {
                self.outgoing.body.send_reset(passed_on(&error, Reason::CANCEL));
                return Some(Outcome::ClientGone);
            }
        }
        None
    }

    fn poll_download(&mut self, cx: &mut Context<'_>) -> Option<Outcome> {
        if matches!(self.download, Download::Awaited) {
            match self.poll_head(cx) {
                Poll::Pending => {
                    return match self.incoming.poll_gone(cx) {
                        Poll::Pending => None,
                        Poll::Ready(()) => Some(self.client_gone()),
                    };
                }
                Poll::Ready(Err(outcome)) => return Some(outcome),
                Poll::Ready(Ok(download)) => self.download = download,
            }
        }
        if let Download::Streaming(streams) = &mut self.download {
            let (from, to, transfer) = &mut **streams;
            match transfer.poll(cx, from, to) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => {
                    self.tell();
                    self.download = Download::Done;
                }
                Poll::Ready(Err(Cut::Sink)) => return Some(self.client_gone()),
                Poll::Ready(Err(Cut::Malformed(_))) => {
                    to.send_reset(Reason::INTERNAL_ERROR);
                    self.outgoing.body.send_reset(Reason::PROTOCOL_ERROR);
                    return Some(Outcome::CutAnswer);
                }
                Poll::Ready(Err(Cut::Source(error))) => {
                    to.send_reset(cut_answer(&error));
                    return Some(Outcome::CutAnswer);
                }
            }
        }
        None
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Download, Outcome>> {
        loop {
            match std::task::ready!(self.outgoing.response.poll_informational(cx)) {
                Some(Ok(interim)) => {
                    let counted = self.interims.another(interim.headers());
                    self.check(counted.and_then(|()| validate::http2::check_interim(&interim)))?;
                    // Something of an answer goes on: from here there is no second try.
                    self.incoming.upload.settle();
                    if self.incoming.respond.send_informational(interim).is_err() {
                        return Poll::Ready(Err(self.client_gone()));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => break,
            }
        }
        let response = match std::task::ready!(Pin::new(&mut self.outgoing.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(failed(error))),
        };
        self.check(validate::http2::check_fields(response.headers()))?;
        self.incoming.upload.settle();
        let (mut head, body) = response.into_parts();
        if let Some(on_head) = self.on_head.take() {
            self.tunnel = on_head(&mut head).map(Begun::from);
        }
        let over = body.is_end_stream();
        Poll::Ready(match self.incoming.respond.send_response(http::Response::from_parts(head, ()), over) {
            Err(_) => Err(self.client_gone()),
            Ok(_) if over => Ok(Download::Done),
            Ok(to) => Ok(Download::Streaming(Box::new((body, to, Transfer::default())))),
        })
    }

    /// Refuses what is no answer to HTTP/1 (MATRICES B20), so that no one behind takes it for another one.
    fn check(&mut self, checked: Result<(), Fault>) -> Result<(), Outcome> {
        checked.map_err(|fault| {
            self.outgoing.body.send_reset(Reason::PROTOCOL_ERROR);
            Outcome::Malformed(fault)
        })
    }

    fn client_gone(&mut self) -> Outcome {
        self.outgoing.body.send_reset(Reason::CANCEL);
        Outcome::ClientGone
    }
}

/// Reads a failure that came before the answer's head.
pub(crate) fn failed(error: h2::Error) -> Outcome {
    let reason = error.reason();
    match () {
        () if error.is_go_away() && error.is_remote() => Outcome::Unprocessed,
        () if error.is_reset() && error.is_remote() => match reason {
            Some(Reason::REFUSED_STREAM) => Outcome::Unprocessed,
            Some(reason) => Outcome::Reset(reason),
            None => Outcome::Broken(error),
        },
        () if error.is_library() => Outcome::Invalid(error),
        () => Outcome::Broken(error),
    }
}

/// The reason with which a client learns that its answer was cut. Without an error the answer would look whole, and a
/// refusal would promise that nothing was processed.
pub(crate) fn cut_answer(error: &h2::Error) -> Reason {
    match passed_on(error, Reason::INTERNAL_ERROR) {
        Reason::NO_ERROR | Reason::REFUSED_STREAM => Reason::INTERNAL_ERROR,
        reason => reason,
    }
}

/// A stream's reset is passed on with its reason; what ends a whole connection is not the other connection's fault.
fn passed_on(error: &h2::Error, otherwise: Reason) -> Reason {
    match error.reason() {
        Some(reason) if error.is_reset() && error.is_remote() => reason,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests;
