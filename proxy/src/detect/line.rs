//! What a client speaks, told by its first bytes. Pure, and independent of how the bytes were split into reads.
//!
//! HTTP/2 is known by its preface, HTTP/1 by a first line that ends in its version. Whatever cannot become either is
//! opaque as early as can be known, since a client of another protocol may wait for its answer.

use memchr::memchr;

use super::Protocol;

/// The client connection preface (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest first line that is waited for. A longer one is told by its method; a whole one would not say more.
pub(crate) const LONGEST_LINE: usize = 8 * 1024;

/// As much of a preface as no other protocol begins with; given time, the rest belongs to the engine.
const UNMISTAKABLE: usize = b"PRI * HTTP/2.0\r\n".len();

/// Methods by which a line that is too long or too late counts as HTTP (RFC 9110, 5789, 4918).
const METHODS: [&[u8]; 16] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
];

/// What the client's bytes so far speak; `None` while more of them are needed.
pub(crate) fn classify(first: &[u8]) -> Option<Protocol> {
    if first.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    if PREFACE.starts_with(first) {
        return None;
    }
    // One empty line before the request line is to be ignored (RFC 9112, 2.2).
    let line = match first {
        [] | [b'\r'] | [b'\r', b'\n'] => return None,
        [b'\r', b'\n', line @ ..] => line,
        line => line,
    };
    let seen = line.get(..LONGEST_LINE).unwrap_or(line);
    match memchr(b'\n', seen) {
        Some(end) => Some(whole(seen.get(..end).unwrap_or_default())),
        None if line.len() > LONGEST_LINE => Some(by_method(line)),
        None if is_no_line(seen) => Some(Protocol::Opaque),
        None => None,
    }
}

/// What they speak if no more come, or not in time.
pub(crate) fn classify_late(first: &[u8]) -> Protocol {
    match classify(first) {
        Some(protocol) => protocol,
        None if first.len() >= UNMISTAKABLE && PREFACE.starts_with(first) => Protocol::Http2,
        None => by_method(first.strip_prefix(b"\r\n").unwrap_or(first)),
    }
}

fn whole(line: &[u8]) -> Protocol {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    // What was opaque before the line's end came stays so.
    if is_no_line(text) {
        return Protocol::Opaque;
    }
    if text.ends_with(b" HTTP/1.1") || text.ends_with(b" HTTP/1.0") {
        return Protocol::Http1;
    }
    Protocol::Opaque
}

fn by_method(line: &[u8]) -> Protocol {
    let known =
        METHODS.iter().any(|method| line.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" /")));
    if known { Protocol::Http1 } else { Protocol::Opaque }
}

/// A control byte is in no request line, except in a faulty one whose beginning leaves no doubt.
fn is_no_line(line: &[u8]) -> bool {
    line.iter().any(|byte| is_foreign(*byte)) && by_method(line) == Protocol::Opaque
}

fn is_foreign(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r')
}
