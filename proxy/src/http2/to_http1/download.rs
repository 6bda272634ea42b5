//! An HTTP/1 endpoint's answer on its way to an HTTP/2 stream.

use std::{cell::Cell, pin::pin, task::Poll};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream, server::SendResponse};
use http::{Response, response::Parts};
use tokio::{io::AsyncReadExt as _, net::tcp::ReadHalf};

use super::{
    response::{self, Asked, Head},
    switch::Switch,
};
use crate::{
    config::Limits,
    error::ErrorKind,
    http2::transfer::send_all,
    http2::unpack::{Framing, Invalid, Unpacked, Unpacking},
    tunnel::Carrying,
    validate::{self, Fault},
};

/// What is read at once.
const READ: usize = 16 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was passed on whole; whether the connection can be used again.
    Whole {
        /// It can.
        reusable: bool,
    },
    /// It was cut after its head, and so for the client.
    Cut,
    /// A tunnel was idle too long, and was cut towards both sides: the fault of neither.
    Idle,
    /// The client went away.
    ClientGone,
    /// The request's trailers cannot be passed on.
    Malformed(Fault),
    /// Nothing of it went on.
    Failed {
        /// Why.
        kind: ErrorKind,
        /// Whether the endpoint said nothing at all.
        silent: bool,
    },
}

/// One answer.
pub(crate) struct Download<'a> {
    /// The endpoint's half of the connection.
    pub(crate) from: ReadHalf<'a>,
    /// What was read from it.
    pub(crate) buffer: &'a mut BytesMut,
    /// Where the answer goes.
    pub(crate) respond: &'a mut SendResponse<Bytes>,
    /// What was asked.
    pub(crate) asked: Asked<'a>,
    /// Bounds on the head.
    pub(crate) limits: &'a Limits,
    /// Whether the one who writes was told of a reset; an end that is read then is none.
    pub(crate) was_reset: &'a Cell<bool>,
    /// Turned where the endpoint switches protocols.
    pub(crate) switch: &'a Switch,
}

enum Read {
    Some,
    End,
    Broken,
    ClientGone,
}

impl Download<'_> {
    /// Passes the answer on; `on_head` may change its head. `carrying` makes the tunnel that one may begin.
    pub(crate) async fn run(
        mut self,
        on_head: impl FnOnce(&mut Parts),
        carrying: impl FnOnce() -> Carrying,
    ) -> End {
        let head = match self.head().await {
            Ok(head) => head,
            Err(end) => return end,
        };
        let Head { mut parts, framing, reusable, switched } = head;
        on_head(&mut parts);
        let over = matches!(framing, Framing::None | Framing::Length(0));
        let response = Response::from_parts(parts, ());
        let Ok(mut to) = self.respond.send_response(response, over) else { return End::ClientGone };
        if switched {
            self.switch.turn(carrying());
        }
        let end = if over { End::Whole { reusable } } else { self.body(framing, reusable, &mut to).await };
        match end {
            // Bytes past an answer's end are nobody's answer (MATRICES B20).
            End::Whole { reusable } => End::Whole { reusable: reusable && self.buffer.is_empty() },
            End::Cut => {
                // RFC 8441 §5: of a tunnel, a reset is CANCEL.
                let is_tunnel = self.switch.is_turned().is_some();
                to.send_reset(if is_tunnel { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
                End::Cut
            }
            other => other,
        }
    }

    async fn head(&mut self) -> Result<Head, End> {
        let (mut silent, mut interims) = (true, validate::http2::Interims::default());
        loop {
            let failed = |kind| End::Failed { kind, silent: false };
            match response::take(self.buffer, self.asked, self.limits) {
                Err(Invalid(rule)) => return Err(failed(ErrorKind::BadResponse(rule))),
                Ok(Some(head)) if head.parts.status.is_informational() => {
                    let counted = interims.another(&head.parts.headers);
                    counted.map_err(|Fault(rule)| failed(ErrorKind::BadResponse(rule)))?;
                    let interim = Response::from_parts(head.parts, ());
                    self.respond.send_informational(interim).map_err(|_| End::ClientGone)?;
                    continue;
                }
                Ok(Some(head)) => return Ok(head),
                Ok(None) => {}
            }
            let respond = &mut *self.respond;
            match read(&mut self.from, self.buffer, |cx| respond.poll_reset(cx).map(drop)).await {
                Read::Some => silent = false,
                Read::End => return Err(End::Failed { kind: ErrorKind::Closed, silent }),
                Read::Broken => return Err(End::Failed { kind: ErrorKind::Reset, silent }),
                Read::ClientGone => return Err(End::ClientGone),
            }
        }
    }

    async fn body(&mut self, framing: Framing, reusable: bool, to: &mut SendStream<Bytes>) -> End {
        let mut unpacked = Unpacked::new(framing);
        loop {
            match unpacked.take(self.buffer) {
                Err(_) => return End::Cut,
                Ok(Unpacking::Data { data, last }) => {
                    let length = data.len();
                    if !send_all(to, data, last).await {
                        return End::ClientGone;
                    }
                    if let Some(carrying) = self.switch.is_turned() {
                        carrying.down(length);
                    }
                    if last {
                        return End::Whole { reusable };
                    }
                }
                Ok(Unpacking::Trailers(trailers)) => {
                    let sent = if trailers.is_empty() {
                        to.send_data(Bytes::new(), true)
                    } else {
                        to.send_trailers(trailers)
                    };
                    return if sent.is_ok() { End::Whole { reusable } } else { End::ClientGone };
                }
                Ok(Unpacking::Wanting) => {
                    match read(&mut self.from, self.buffer, |cx| to.poll_reset(cx).map(drop)).await {
                        Read::Some => {}
                        Read::End if framing == Framing::UntilClose && !self.was_reset.get() => {
                            let _ = to.send_data(Bytes::new(), true);
                            return End::Whole { reusable: false };
                        }
                        Read::End | Read::Broken => return End::Cut,
                        Read::ClientGone => return End::ClientGone,
                    }
                }
            }
        }
    }
}

/// Reads more, unless the client goes away first.
async fn read(
    from: &mut ReadHalf<'_>,
    buffer: &mut BytesMut,
    mut gone: impl FnMut(&mut std::task::Context<'_>) -> Poll<()>,
) -> Read {
    buffer.reserve(READ);
    let mut reading = pin!(from.read_buf(buffer));
    std::future::poll_fn(|cx| match reading.as_mut().poll(cx) {
        Poll::Ready(Ok(0)) => Poll::Ready(Read::End),
        Poll::Ready(Ok(_)) => Poll::Ready(Read::Some),
        Poll::Ready(Err(_)) => Poll::Ready(Read::Broken),
        Poll::Pending => gone(cx).map(|()| Read::ClientGone),
    })
    .await
}
