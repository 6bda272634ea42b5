//! A request's head, written as HTTP/1.1.

use bellhop_route::DECIDED_FIELD;
use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, Method, header, request::Parts};

use crate::{
    forward::DecidedField,
    http2::websocket::{self, Handshake, PROTOCOL},
    validate::fields::{belongs_to_the_connection, is_forbidden_trailer},
};

/// How the body that follows is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// By `Content-Length`; `h2` resets a stream whose body contradicts it (MATRICES B6).
    Length,
    /// By chunks.
    Chunked,
    /// What follows is a tunnel's, once the endpoint has switched protocols.
    Tunnel,
}

/// There is no way to write the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unmappable(pub(crate) &'static str);

/// Writes the head to `out`: origin-form, `Host` first, connection-specific fields gone, cookie crumbs merged.
///
/// # Errors
/// CONNECT without a handshake, a request without authority, and bytes that would end a line; nothing is written then.
pub(crate) fn write(
    head: &Parts,
    decided: &DecidedField,
    bodiless: bool,
    handshake: Option<&Handshake>,
    out: &mut BytesMut,
) -> Result<Framing, Unmappable> {
    if head.method == Method::CONNECT && handshake.is_none() {
        return Err(Unmappable("CONNECT cannot be sent to an HTTP/1 endpoint"));
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let host = match (head.uri.authority(), head.headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (None, None) => return Err(Unmappable("the request names no authority")),
    };
    if !is_one_word(target.as_bytes()) || !is_one_word(host) {
        return Err(Unmappable("white space or control characters in target or authority"));
    }
    out.reserve(256 + target.len() + head.headers.len() * 64);
    let method = if handshake.is_some() { &Method::GET } else { &head.method };
    for part in [method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\nhost: ", host, b"\r\n"] {
        out.put_slice(part);
    }
    write_fields(&head.headers, decided, handshake.is_some(), out);
    let framing = match handshake {
        Some(handshake) => write_handshake(handshake, out),
        None => write_framing(head, bodiless, out),
    };
    out.put_slice(b"\r\n");
    Ok(framing)
}

fn is_one_word(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

fn write_fields(headers: &HeaderMap, decided: &DecidedField, upgrades: bool, out: &mut BytesMut) {
    for (name, value) in headers {
        let name_text = name.as_str();
        let skipped = belongs_to_the_connection(name)
            || *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || *name == header::COOKIE
            || (upgrades && websocket::is_of_http1(name))
            || (name_text == DECIDED_FIELD && *decided == DecidedField::Remove);
        if !skipped {
            write_field(name_text, value.as_bytes(), out);
        }
    }
    let mut cookies = headers.get_all(header::COOKIE).iter().map(http::HeaderValue::as_bytes);
    if let Some(first) = cookies.next() {
        out.put_slice(b"cookie: ");
        out.put_slice(first);
        for crumb in cookies {
            out.put_slice(b"; ");
            out.put_slice(crumb);
        }
        out.put_slice(b"\r\n");
    }
    if let DecidedField::Add(value) = decided {
        write_field(DECIDED_FIELD, value, out);
    }
}

fn write_field(name: &str, value: &[u8], out: &mut BytesMut) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// RFC 6455 §4.1. The version and what else a client says of it passes as it is.
fn write_handshake(handshake: &Handshake, out: &mut BytesMut) -> Framing {
    write_field("connection", b"Upgrade", out);
    write_field("upgrade", PROTOCOL.as_bytes(), out);
    write_field(header::SEC_WEBSOCKET_KEY.as_str(), handshake.key.as_bytes(), out);
    Framing::Tunnel
}

fn write_framing(head: &Parts, bodiless: bool, out: &mut BytesMut) -> Framing {
    let length = head.headers.get(header::CONTENT_LENGTH);
    match (length, bodiless) {
        // Where a body would be usual, its absence is said (RFC 9110 §8.6).
        (None, true) if !matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => Framing::None,
        (_, true) => {
            write_field("content-length", b"0", out);
            Framing::None
        }
        (Some(length), false) => {
            write_field("content-length", length.as_bytes(), out);
            Framing::Length
        }
        (None, false) => {
            write_field("transfer-encoding", b"chunked", out);
            Framing::Chunked
        }
    }
}

/// Writes the end of a chunked body, with the trailers that HTTP/1 allows there (RFC 9110 §6.5.1).
pub(crate) fn write_trailers(trailers: &HeaderMap, out: &mut BytesMut) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers {
        if !is_forbidden_trailer(name) {
            write_field(name.as_str(), value.as_bytes(), out);
        }
    }
    out.put_slice(b"\r\n");
}
