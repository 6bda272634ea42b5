//! HTTP/1: head in, canned answer out. Bodies of requests are counted off and dropped.

use std::{io, rc::Rc};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{BODY_BYTES, BULK, Version, WEBSOCKET, body_of, websocket};

/// Heads beyond this end the connection.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// Bodies of requests are read in pieces of so many bytes at most.
const PIECE_BYTES: usize = 256 * 1024;

/// What the answer depends on.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    body_length: usize,
    close: bool,
    ask: Ask,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Ask {
    Small,
    /// Which of [`BULK`].
    Bulk(usize),
    /// With the handshake's key.
    WebSocket(Vec<u8>),
}

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, version: Rc<Version>) {
    let keep = answer(version.name, BODY_BYTES, false);
    let close = answer(version.name, BODY_BYTES, true);
    let mut input = BytesMut::with_capacity(4096);
    loop {
        let Some(head) = head(&mut stream, &mut input).await else { return };
        input.advance(head.length);
        if let Ask::WebSocket(key) = &head.ask {
            websocket::serve(stream, input, key, &version).await;
            return;
        }
        if !skip(&mut stream, &mut input, head.body_length).await {
            return;
        }
        version.count();
        let written = match (&head.ask, head.close) {
            (Ask::Bulk(which), close) => bulk(&mut stream, &version, *which, close).await,
            (_, true) => stream.write_all(&close).await,
            (_, false) => stream.write_all(&keep).await,
        };
        if written.is_err() || head.close {
            return;
        }
    }
}

/// The next head; it stands at the start of `input`. `None`: there is none to serve.
async fn head(stream: &mut TcpStream, input: &mut BytesMut) -> Option<Head> {
    loop {
        match parse(input) {
            Ok(Some(head)) => return Some(head),
            Ok(None) if input.len() < HEAD_MAX_BYTES => {}
            _ => return None,
        }
        if !matches!(stream.read_buf(input).await, Ok(n) if n > 0) {
            return None;
        }
    }
}

/// Takes a request's body; false where it does not come.
async fn skip(stream: &mut TcpStream, input: &mut BytesMut, length: usize) -> bool {
    let here = length.min(input.len());
    input.advance(here);
    let mut rest = length - here;
    let mut piece = vec![0; rest.min(PIECE_BYTES)];
    while rest > 0 {
        let wanted = rest.min(piece.len());
        match stream.read(piece.get_mut(..wanted).unwrap_or_default()).await {
            Ok(n) if n > 0 => rest -= n,
            _ => return false,
        }
    }
    true
}

async fn bulk(stream: &mut TcpStream, version: &Version, which: usize, close: bool) -> io::Result<()> {
    let Some(body) = version.bulk.get(which) else { return Ok(()) };
    stream.write_all(&head_of(version.name, body.len(), close)).await?;
    stream.write_all(body).await
}

fn answer(version: &str, bytes: usize, close: bool) -> Vec<u8> {
    [head_of(version, bytes, close), body_of(version, bytes)].concat()
}

fn head_of(version: &str, bytes: usize, close: bool) -> Vec<u8> {
    let connection = if close { "connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nserver: bench-backend\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
         x-version: {version}\r\n{connection}content-length: {bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// `None` where the head is not whole yet; an error where the backend cannot go on.
fn parse(input: &[u8]) -> Result<Option<Head>, ()> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(()),
    };
    let path = request.path.unwrap_or_default();
    let ask = BULK.iter().position(|(bulk, _)| *bulk == path).map_or(Ask::Small, Ask::Bulk);
    let mut head = Head { length, body_length: 0, close: request.version == Some(0), ask };
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(drop)?;
            head.body_length = text.trim().parse().map_err(drop)?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close |= field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(());
        } else if path == WEBSOCKET && field.name.eq_ignore_ascii_case("sec-websocket-key") {
            head.ask = Ask::WebSocket(field.value.to_vec());
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_its_length_its_body_and_whether_it_is_the_last() {
        let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nConnection: close\r\n\r\nbo";
        let head = Head { length: input.len() - 2, body_length: 7, close: true, ask: Ask::Small };
        assert_eq!(parse(input), Ok(Some(head)));
        assert_eq!(parse(&input[..20]), Ok(None));
        assert_eq!(parse(b"\0\r\n\r\n"), Err(()));
    }

    #[test]
    fn large_answers_and_websockets_are_asked_for_by_path() {
        let ask = |text: &str| parse(text.as_bytes()).unwrap().unwrap().ask;
        assert_eq!(ask("GET /bulk/10m HTTP/1.1\r\nHost: a\r\n\r\n"), Ask::Bulk(1));
        let socket = "GET /socket HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\n\r\n";
        assert_eq!(ask(socket), Ask::WebSocket(b"k".to_vec()));
    }
}
