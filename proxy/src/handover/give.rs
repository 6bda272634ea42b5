//! The side of the proxy that goes: it gives its sockets to whoever may have them, and drains when that one serves.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::UnixStream,
    time::timeout,
};

use super::wire::{self, Draining, MAX_SOCKETS, Offered, PATH, PROTOCOL, Serving};
use crate::{admin::text, drain::Phase, shared::SharedRef};

/// What the successor has to say is short.
const MAX_LINE: u64 = 1024;
/// How long a successor may take to be ready, others being turned away meanwhile: far longer than the largest table takes
/// to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers a request for the sockets, from a caller who runs as the user `uid`; none where it asks for something else.
pub(crate) fn give(
    shared: &SharedRef,
    uid: Option<u32>,
    request: &mut Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    if request.uri().path() != PATH {
        return None;
    }
    Some(match refusal(shared, uid, request) {
        Some((status, why)) => {
            shared.telemetry.housekeeping.handovers.with_label_values(&["refused"]).inc();
            text(status, why)
        }
        None => {
            let upgrade = hyper::upgrade::on(request);
            tokio::spawn(converse(SharedRef::clone(shared), upgrade));
            let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
            let headers = answer.headers_mut();
            headers.clear();
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
            answer
        }
    })
}

fn refusal(
    shared: &SharedRef,
    uid: Option<u32>,
    request: &Request<Incoming>,
) -> Option<(StatusCode, &'static str)> {
    let Some(uid) = uid else {
        return Some((
            StatusCode::NOT_FOUND,
            "sockets are handed over on a Unix socket alone: --admin unix:PATH\n",
        ));
    };
    if uid != geteuid().as_raw() && uid != 0 {
        return Some((
            StatusCode::FORBIDDEN,
            "sockets are handed to this proxy's own user and to root alone\n",
        ));
    }
    if request.headers().get(header::UPGRADE).is_none_or(|protocol| protocol != PROTOCOL) {
        return Some((StatusCode::UPGRADE_REQUIRED, "Upgrade: bellhop-handover/1 is spoken here\n"));
    }
    if shared.drain.draining() {
        return Some((StatusCode::CONFLICT, "this proxy drains already\n"));
    }
    if shared.succession.offers().len() > MAX_SOCKETS {
        return Some((StatusCode::NOT_IMPLEMENTED, "there are more listeners than can be handed over\n"));
    }
    None
}

/// The whole handover. A successor that breaks off leaves this proxy as it is.
async fn converse(shared: SharedRef, upgrade: OnUpgrade) {
    let outcome = match hand_over(&shared, upgrade).await {
        Ok(()) => "completed",
        Err(error) => {
            tracing::warn!(%error, "a successor did not come to serve; this proxy goes on");
            "abandoned"
        }
    };
    shared.telemetry.housekeeping.handovers.with_label_values(&[outcome]).inc();
}

async fn hand_over(shared: &SharedRef, upgrade: OnUpgrade) -> io::Result<()> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let parts =
        upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| io::Error::other("this is no Unix socket"))?;
    to_successor(shared, parts.io.into_inner()).await
}

pub(super) async fn to_successor(shared: &SharedRef, stream: UnixStream) -> io::Result<()> {
    let turn = shared.succession.turn().ok_or_else(|| io::Error::other("another successor is on its way"))?;
    send_sockets(shared, &stream).await?;
    let mut stream = BufReader::new(stream);
    let Ok(serving) = timeout(PATIENCE, serving(&mut stream)).await else {
        // So that it does not come to serve beside this one. Where that cannot be told it is gone.
        let _ = stream.write_all(&wire::line(&Draining { draining: false })?).await;
        let why = format!("it was not ready within {} s", PATIENCE.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    };
    turn.complete(serving?.admin);
    tracing::info!("a successor serves the listeners");
    shared.advance(Phase::Draining);
    // The successor may be gone again; there is no way back, and nobody left to tell.
    let _ = stream.write_all(&wire::line(&Draining { draining: true })?).await;
    Ok(())
}

async fn serving(stream: &mut BufReader<UnixStream>) -> io::Result<Serving> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Err(io::Error::other("it ended before it was ready"));
    }
    Ok(serde_json::from_slice(&line)?)
}

async fn send_sockets(shared: &SharedRef, stream: &UnixStream) -> io::Result<()> {
    let offers = shared.succession.offers();
    let names = offers.iter().map(|offer| offer.name.to_owned()).collect();
    let line = wire::line(&Offered { names })?;
    let sockets: Vec<BorrowedFd<'_>> = offers.iter().map(|offer| offer.socket.as_fd()).collect();
    let mut sent = stream.async_io(Interest::WRITABLE, || wire::send_with(stream, &line, &sockets)).await?;
    while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
