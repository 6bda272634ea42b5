//! An HTTP/1 client's WebSocket to an endpoint that speaks HTTP/2.
//!
//! Until the endpoint grants it, it is a request like any other: what the client sends meanwhile waits, and is the next
//! request where it is refused (MATRICES B7). From then on both directions run at once; ends pass as ends, and what is
//! cut on one side is reset on the other.

use std::{pin::pin, task::Poll};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::{StatusCode, response::Parts};

use super::{
    Caller, Framing, Lent,
    answer::{self, Manner},
    download::{self, End},
    or_gone,
    upload::Intake,
};
use crate::{
    error::ErrorKind,
    http2::{exchange::Outgoing, transfer::send_all, websocket::Handshake},
    telemetry::Tunnel,
    tunnel::Carrying,
    worker::Worker,
};

/// What is read at once.
const READ: usize = 16 * 1024;

/// Waits for the answer and serves what it begins.
pub(super) async fn exchange(
    client: &mut Lent<'_>,
    mut sent: Outgoing,
    (handshake, worker): (&Handshake, &Worker),
    manner: Manner<'_>,
    on_head: impl FnOnce(&mut Parts),
) -> End {
    let caller = client.caller;
    let mut intake = Intake::new(std::mem::take(&mut client.ahead), Framing::Length(0));
    client.request_is_done = true;
    let end = {
        let mut watched = pin!(intake.run(caller, &mut sent.body));
        let mut answered = pin!(async {
            let (mut head, body) = match download::head(&mut sent.response, caller, manner).await {
                Ok(answer) => answer,
                Err(end) => return Err(end),
            };
            if head.status.is_success() {
                head.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            on_head(&mut head);
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((head, body));
            }
            Err(download::rest((head, body), caller, manner).await)
        });
        let both = std::future::poll_fn(|cx| match watched.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Err(end)),
            Poll::Pending => answered.as_mut().poll(cx),
        });
        or_gone(caller, both).await.unwrap_or(Err(End::ClientGone))
    };
    let ahead = intake.into_ahead();
    match end {
        Ok((head, body)) => {
            let mut out = BytesMut::with_capacity(512);
            answer::write_switch(&head, handshake, &mut out);
            let carrying = Carrying::new(worker, Tunnel::Upgrade);
            let up = up(ahead.freeze(), caller.uncounted(), &mut sent.body, &carrying);
            let down = down(out, body, caller, &carrying);
            tokio::select! {
                biased;
                both = async { tokio::try_join!(up, down) } => both.map_or_else(|end| end, |_| End::Whole { close: true }),
                () = caller.broken() => End::ClientGone,
                () = carrying.idle() => End::Idle,
            }
        }
        Err(end) => {
            client.ahead = ahead;
            end
        }
    }
}

/// What the client sent ahead of the tunnel was counted when it came.
async fn up(
    mut data: Bytes,
    from: Caller<'_>,
    to: &mut SendStream<Bytes>,
    carrying: &Carrying,
) -> Result<(), End> {
    let mut counted = data.len();
    loop {
        let length = data.len();
        if length > 0 {
            if !send_all(to, data, false).await {
                // Why is heard where the answer is, unless that has ended already: then this is the tunnel's end.
                return Ok(());
            }
            carrying.up(length - std::mem::take(&mut counted));
        }
        let mut read = BytesMut::new();
        match from.read(&mut read, READ).await {
            Ok(0) => break,
            Ok(_) => data = read.freeze(),
            Err(_) => {
                // RFC 8441 §5: a reset is CANCEL.
                to.send_reset(Reason::CANCEL);
                return Err(End::ClientGone);
            }
        }
    }
    // It fails where the endpoint has gone, which is heard where its answer is.
    let _ = to.send_data(Bytes::new(), true);
    Ok(())
}

async fn down(
    mut out: BytesMut,
    mut body: RecvStream,
    to: Caller<'_>,
    carrying: &Carrying,
) -> Result<(), End> {
    to.write(&mut out).await.map_err(|_| End::ClientGone)?;
    let to = to.uncounted();
    while let Some(data) = body.data().await {
        let mut data = data.map_err(|_| End::Cut(ErrorKind::Reset))?;
        let length = data.len();
        to.write(&mut data).await.map_err(|_| End::ClientGone)?;
        carrying.down(length);
        // Fails only where more is released than was received.
        let _ = body.flow_control().release_capacity(length);
    }
    body.trailers().await.map_err(|_| End::Cut(ErrorKind::Reset))?;
    to.shut().map_err(|_| End::ClientGone)
}
