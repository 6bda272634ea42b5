//! hyper as the oracle: what the relay lets go on as N messages, hyper reads as the same N with the same bodies. For the
//! fuzz targets, and for their corpora as an ordinary test.
//!
//! The first byte of an input says in how small pieces the rest arrives.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use bellhop_route::{Carriers, HeadView as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::{
    download::{Download, Heard},
    edit,
    framing::Body,
    head::find_end,
    request::Request,
};
use crate::{
    buffer::{Buffer, Buffers},
    config::Limits,
    context::Head as _,
    forward::DecidedField,
    http2,
    validate::{Method, framing::Framing, oracle::Reading},
};

/// A message as it was understood: what its start line says, and its body without chunks.
type Read = (String, Vec<u8>);

/// Checks the reading of requests.
///
/// # Panics
/// Where two readings differ.
pub(crate) fn requests(input: &[u8]) {
    let Some((step, bytes)) = input.split_first() else { return };
    let whole = relay_requests(bytes, usize::MAX);
    assert_eq!(whole, relay_requests(bytes, usize::from(*step) + 1), "in pieces");
    let (read, on) = whole;
    let seen = run(hyper_requests(on.clone()));
    assert_eq!(seen, read, "hyper reads {:?}", String::from_utf8_lossy(&on));
}

/// What the relay takes for requests, and the bytes that go on. It stops where the connection would become something
/// else or end.
fn relay_requests(bytes: &[u8], step: usize) -> (Vec<Read>, Vec<u8>) {
    let (mut read, mut on, mut rest) = (Vec::new(), Vec::new(), bytes);
    while let Some(taken) = relay_request(rest, step) {
        let Taken { request, head, on: forwarded, length, body } = taken;
        let view = request.view(&head);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = unchunk(request.framing, forwarded.get(forwarded.len() - body..).unwrap_or_default());
        let path = text(view.path_and_query());
        // hyper's type for targets takes fewer of them than servers do; that says nothing about where a message ends.
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if http::Uri::try_from(target).is_err() {
            break;
        }
        let path = if request.method == Method::Connect { path } else { slashed(&path) };
        read.push((format!("{} {}", text(view.method()), path), body));
        on.extend_from_slice(&forwarded);
        rest = rest.get(length..).unwrap_or_default();
        if request.close || request.upgrade || request.method == Method::Connect {
            break;
        }
    }
    (read, on)
}

/// A request that the relay took.
struct Taken {
    request: Request,
    head: Vec<u8>,
    /// What goes on.
    on: Vec<u8>,
    /// Bytes that were taken, and how many of them for the body.
    length: usize,
    body: usize,
}

/// The first request.
fn relay_request(bytes: &[u8], step: usize) -> Option<Taken> {
    let skipped = bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    let bytes = bytes.get(skipped..)?;
    let (mut searched, mut arrived) = (0, 0_usize);
    let length = loop {
        arrived = arrived.saturating_add(step).min(bytes.len());
        match find_end(bytes.get(..arrived)?, searched) {
            Ok(Some(length)) => break length,
            Ok(None) if arrived < bytes.len() => searched = arrived,
            Ok(None) | Err(_) => return None,
        }
    };
    let head = bytes.get(..length)?;
    let request = Request::parse(head, &Limits::default(), &Carriers::default(), Vec::new()).ok()?;
    let edited = edit::request(&request, head, false, &DecidedField::Keep, &Buffers::default());
    let mut on = edited.map_or_else(|| head.to_vec(), |edited| edited.bytes().to_vec());
    let (mut body, mut taken) = (Body::new(request.framing), 0);
    for piece in bytes.get(length..)?.chunks(step.min(bytes.len())) {
        taken += if body.is_done() { 0 } else { body.scan(piece).ok()? };
    }
    on.extend_from_slice(bytes.get(length..length + taken)?);
    let (head, length) = (head.to_vec(), skipped + length + taken);
    body.is_done().then_some(Taken { request, head, on, length, body: taken })
}

/// One head as the relay reads it, and as it would be sent to an endpoint that speaks HTTP/2, where it can be.
pub(crate) fn read_head(bytes: &[u8]) -> Option<(Reading, Option<http::request::Parts>)> {
    let length = find_end(bytes, 0).ok().flatten().filter(|length| *length == bytes.len())?;
    let head = bytes.get(..length)?;
    let request = Request::parse(head, &Limits::default(), &Carriers::default(), Vec::new()).ok()?;
    let view = request.view(head);
    let lengths: Vec<_> = view.values("content-length").collect();
    // Zeros in front say nothing.
    let digits = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    let said = |length: u64| matches!(*lengths, [text] if digits(text) == Some(length)) || length == 0;
    assert!(matches!(request.framing, Framing::Length(length) if said(length)) || lengths.is_empty());
    let carried = http2::from_http1::write_head(&view, &DecidedField::Keep);
    Some((Reading::of(&view), carried))
}

/// What hyper takes for requests.
async fn hyper_requests(bytes: Vec<u8>) -> Vec<Read> {
    let read = Rc::new(RefCell::new(Vec::new()));
    let keeps = Rc::clone(&read);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let keeps = Rc::clone(&keeps);
        async move {
            let target = request.uri().path_and_query().map_or("", |target| target.as_str());
            let is_connect = request.method() == http::Method::CONNECT;
            let target = if is_connect { String::new() } else { slashed(target) };
            let said = format!("{} {target}", request.method());
            if let Ok(body) = request.into_body().collect().await {
                keeps.borrow_mut().push((said, body.to_bytes().to_vec()));
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let (mut client, server) = tokio::io::duplex(1 << 20);
    // What fits in one duplex is all that inputs hold.
    let _ = client.write_all(&bytes).await;
    let _ = client.shutdown().await;
    let mut http = hyper::server::conn::http1::Builder::new();
    let _ = http.half_close(true).serve_connection(TokioIo::new(server), service).await;
    read.take()
}

/// Checks the reading of answers.
///
/// # Panics
/// Where two readings differ.
pub(crate) fn answers(input: &[u8]) {
    let Some((step, bytes)) = input.split_first() else { return };
    let to_head = step & 1 == 1;
    let whole = relay_answer(bytes, usize::MAX, to_head);
    let pieces = relay_answer(bytes, usize::from(*step) + 1, to_head);
    let (Some((status, on)), Some(in_pieces)) = (whole, pieces) else { return };
    assert_eq!((status, &on), (in_pieces.0, &in_pieces.1), "in pieces");
    if status == 101 {
        return;
    }
    let seen = run(hyper_answer(on.clone(), to_head));
    let text = String::from_utf8_lossy(&on);
    assert_eq!(seen.as_ref().map(|seen| seen.0), Some(status), "hyper reads {text:?}");
    let body = seen.map(|seen| seen.1).unwrap_or_default();
    assert!(on.ends_with(&body) || on.ends_with(b"\r\n\r\n"), "hyper reads {text:?}");
}

/// The status and the bytes that go on, where the relay takes `bytes` for one whole answer. Bytes behind its end are told
/// in another way when they come with it, and are not compared.
fn relay_answer(bytes: &[u8], step: usize, to_head: bool) -> Option<(u16, Vec<u8>)> {
    let asked: &[u8] =
        if to_head { b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" } else { b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" };
    let request = Request::parse(asked, &Limits::default(), &Carriers::default(), Vec::new()).ok()?;
    let mut down = Download::new(&request, &Limits::default(), false, None);
    let (mut output, mut on) = (Buffer::default(), Vec::new());
    for piece in bytes.chunks(step.min(bytes.len()).max(1)) {
        match down.push(piece, &mut output, &mut on).ok()? {
            Some(Heard::Whole { .. } | Heard::Tunnel) => return Some((down.status, on)),
            None => {}
        }
    }
    down.lasts_until_close().then_some((down.status, on))
}

/// What hyper takes for the answer.
async fn hyper_answer(bytes: Vec<u8>, to_head: bool) -> Option<(u16, Vec<u8>)> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.ok()?;
    let method = if to_head { http::Method::HEAD } else { http::Method::GET };
    let request = hyper::Request::builder().method(method).uri("/").header("host", "a");
    let asking = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?);
    let answering = async {
        let mut asked = [0; 1024];
        // The request comes in one piece.
        let _ = tokio::io::AsyncReadExt::read(&mut server, &mut asked).await;
        let _ = server.write_all(&bytes).await;
        let _ = server.shutdown().await;
    };
    let reading = async {
        let response = asking.await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.into_body().collect().await.ok()?.to_bytes().to_vec()))
    };
    let (_, _, read) = tokio::join!(connection, answering, reading);
    read
}

/// An absolute target may leave its path out, which means `/`.
fn slashed(path: &str) -> String {
    let slash = if path.starts_with(['/', '*']) { "" } else { "/" };
    format!("{slash}{path}")
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    #[expect(
        clippy::expect_used,
        reason = "a fuzz target or a test: without a runtime there is nothing to check"
    )]
    runtime.expect("a runtime without drivers needs nothing").block_on(future)
}

/// A body without its chunks, read in the plainest way.
fn unchunk(framing: Framing, body: &[u8]) -> Vec<u8> {
    if framing != Framing::Chunked {
        return body.to_vec();
    }
    let (mut out, mut rest) = (Vec::new(), body);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
        let digits = line.split([';', ' ', '\t']).next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).unwrap_or_default();
        if size == 0 {
            break;
        }
        out.extend_from_slice(rest.get(end + 2..end + 2 + size).unwrap_or_default());
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests;
