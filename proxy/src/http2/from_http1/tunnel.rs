//! An HTTP/1 client's WebSocket to an endpoint that speaks HTTP/2.
//!
//! Until the endpoint grants it, it is a request like any other: what the client sends meanwhile waits, and is the next
//! request where it is refused (MATRICES B7). From then on both directions run at once; ends pass as ends, and what is
//! cut on one side is reset on the other.

use std::{pin::pin, task::Poll};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::{StatusCode, response::Parts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::{ReadHalf, WriteHalf},
};

use super::{
    Framing, Lent,
    answer::{self, Manner},
    download::{self, End},
    upload::Intake,
};
use crate::{
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
    let (mut from, mut to) = client.socket.split();
    let mut intake = Intake::new(std::mem::take(&mut client.ahead), Framing::Length(0));
    client.request_is_done = true;
    let end = {
        let mut watched = pin!(intake.run(&mut from, &mut sent.body));
        let mut answered = pin!(async {
            let (mut head, body) = match download::head(&mut sent.response, &mut to, manner).await {
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
            Err(download::rest((head, body), &mut to, manner).await)
        });
        std::future::poll_fn(|cx| match watched.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Err(end)),
            Poll::Pending => answered.as_mut().poll(cx),
        })
        .await
    };
    let ahead = intake.into_ahead();
    match end {
        Ok((head, body)) => {
            let mut out = BytesMut::with_capacity(512);
            answer::write_switch(&head, handshake, &mut out);
            let carrying = Carrying::new(worker, Tunnel::Upgrade);
            let up = up(ahead.freeze(), from, &mut sent.body, &carrying);
            let down = down(out, body, to, &carrying);
            tokio::select! {
                biased;
                both = async { tokio::try_join!(up, down) } => both.map_or_else(|end| end, |_| End::Whole { close: true }),
                () = carrying.idle() => End::Cut,
            }
        }
        Err(end) => {
            client.ahead = ahead;
            end
        }
    }
}

async fn up(
    mut data: Bytes,
    mut from: ReadHalf<'_>,
    to: &mut SendStream<Bytes>,
    carrying: &Carrying,
) -> Result<(), End> {
    loop {
        let length = data.len();
        if length > 0 {
            if !send_all(to, data, false).await {
                // Why is heard where the answer is, unless that has ended already: then this is the tunnel's end.
                return Ok(());
            }
            carrying.up(length);
        }
        let mut read = BytesMut::with_capacity(READ);
        match from.read_buf(&mut read).await {
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
    mut to: WriteHalf<'_>,
    carrying: &Carrying,
) -> Result<(), End> {
    to.write_all_buf(&mut out).await.map_err(|_| End::ClientGone)?;
    while let Some(data) = body.data().await {
        let mut data = data.map_err(|_| End::Cut)?;
        let length = data.len();
        to.write_all_buf(&mut data).await.map_err(|_| End::ClientGone)?;
        carrying.down(length);
        // Fails only where more is released than was received.
        let _ = body.flow_control().release_capacity(length);
    }
    body.trailers().await.map_err(|_| End::Cut)?;
    to.shutdown().await.map_err(|_| End::ClientGone)
}
