//! An answer's head, written as HTTP/1.

use bytes::{BufMut as _, BytesMut};
use http::{Method, StatusCode, header, response::Parts};

use crate::{
    answer_wait::AnswerWait,
    http2::websocket::{self, Handshake, PROTOCOL},
    validate::fields::belongs_to_the_connection,
};

/// What the request says about how it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    /// Its method.
    pub(super) asked: &'a Method,
    /// Whether the client speaks HTTP/1.0.
    pub(super) is_1_0: bool,
    /// Whether the connection ends after this answer.
    pub(super) close: bool,
    /// Held while an interim answer is written.
    pub(super) wait: &'a AnswerWait,
}

/// How the body that follows is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// By the length that the head gives; `h2` sees to it that it is right.
    Length,
    /// By chunks.
    Chunked,
    /// By the connection's end.
    UntilClose,
}

/// Writes a head, and says how its body is framed and whether the connection ends behind it. `over` is an answer that is
/// its head alone.
pub(super) fn write(head: &Parts, manner: Manner<'_>, over: bool, out: &mut BytesMut) -> (Framing, bool) {
    let status = head.status;
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in &head.headers {
        if !belongs_to_the_connection(name) && *name != header::CONTENT_LENGTH {
            field(name.as_str(), value.as_bytes(), out);
        }
    }
    // One, and the one that `h2` holds against the body; it does not look at others. Here none (RFC 9110 §8.6).
    let lengthless = status.is_informational() || status == StatusCode::NO_CONTENT;
    if let Some(length) = head.headers.get(header::CONTENT_LENGTH).filter(|_| !lengthless) {
        field("content-length", length.as_bytes(), out);
    }
    let framing = framing(head, manner, over, out);
    let close = !status.is_informational() && (manner.close || framing == Framing::UntilClose);
    if close {
        field("connection", b"close", out);
    } else if manner.is_1_0 {
        field("connection", b"keep-alive", out);
    }
    out.put_slice(b"\r\n");
    (framing, close)
}

/// Writes the head that begins a WebSocket, for an answer that says so as HTTP/2 does (RFC 8441 §5).
pub(super) fn write_switch(head: &Parts, handshake: &Handshake, out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    field("connection", b"Upgrade", out);
    field("upgrade", PROTOCOL.as_bytes(), out);
    field(header::SEC_WEBSOCKET_ACCEPT.as_str(), handshake.accept.as_bytes(), out);
    for (name, value) in &head.headers {
        let stays = belongs_to_the_connection(name)
            || *name == header::CONTENT_LENGTH
            || websocket::is_of_http1(name);
        if !stays {
            field(name.as_str(), value.as_bytes(), out);
        }
    }
    out.put_slice(b"\r\n");
}

fn framing(head: &Parts, manner: Manner<'_>, over: bool, out: &mut BytesMut) -> Framing {
    let has_length = head.headers.contains_key(header::CONTENT_LENGTH);
    let bodiless = head.status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status)
        || manner.asked == Method::HEAD;
    if bodiless {
        return Framing::None;
    }
    if has_length {
        return if over { Framing::None } else { Framing::Length };
    }
    if over {
        field("content-length", b"0", out);
        return Framing::None;
    }
    if manner.is_1_0 {
        return Framing::UntilClose;
    }
    field("transfer-encoding", b"chunked", out);
    Framing::Chunked
}

fn field(name: &str, value: &[u8], out: &mut BytesMut) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}
