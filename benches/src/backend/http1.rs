//! HTTP/1: head in, canned answer out. Bodies of requests are counted off and dropped.

use std::rc::Rc;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Version, body};

/// Heads beyond this end the connection.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// What the answer depends on.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    body_length: usize,
    close: bool,
}

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, version: Rc<Version>) {
    let keep = answer(version.name, false);
    let close = answer(version.name, true);
    let mut input = BytesMut::with_capacity(4096);
    loop {
        let head = loop {
            match parse(&input) {
                Ok(Some(head)) => break head,
                Ok(None) if input.len() < HEAD_MAX_BYTES => {}
                _ => return,
            }
            if !matches!(stream.read_buf(&mut input).await, Ok(n) if n > 0) {
                return;
            }
        };
        input.advance(head.length);
        let mut rest = head.body_length;
        loop {
            let here = rest.min(input.len());
            input.advance(here);
            rest -= here;
            if rest == 0 {
                break;
            }
            if !matches!(stream.read_buf(&mut input).await, Ok(n) if n > 0) {
                return;
            }
        }
        version.served.set(version.served.get() + 1);
        let bytes = if head.close { &close } else { &keep };
        if stream.write_all(bytes).await.is_err() || head.close {
            return;
        }
    }
}

fn answer(version: &str, close: bool) -> Vec<u8> {
    let body = body(version);
    let connection = if close { "connection: close\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nserver: bench-backend\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
         x-version: {version}\r\n{connection}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes
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
    let mut head = Head { length, body_length: 0, close: request.version == Some(0) };
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(drop)?;
            head.body_length = text.trim().parse().map_err(drop)?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close |= field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(());
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
        assert_eq!(parse(input), Ok(Some(Head { length: input.len() - 2, body_length: 7, close: true })));
        assert_eq!(parse(&input[..20]), Ok(None));
        assert_eq!(parse(b"\0\r\n\r\n"), Err(()));
    }
}
