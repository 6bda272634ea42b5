//! A chunked body, unpacked (RFC 9112 §7.1).

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Invalid;
use crate::validate::fields::is_forbidden_trailer;

/// Longest line of a chunk's size with its extensions, and all of the trailers.
const MAX_LINE: usize = 16 * 1024;
const MAX_TRAILERS: usize = 64;
/// More digits would overflow.
const MAX_DIGITS: usize = 16;

/// What is at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More bytes are needed.
    Wanting,
    /// Part of the body.
    Data(Bytes),
    /// The end, and the trailers.
    End(HeaderMap),
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of extensions so far: nobody uses them, so that more is an attack.
    extensions: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunked {
    /// Takes the next piece off the front of `buffer`.
    ///
    /// # Errors
    /// The bytes are no chunked body; what came before is one.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Piece, Invalid> {
        loop {
            match &mut self.state {
                State::Size => {
                    let Some(line) = take_line(buffer)? else { return Ok(Piece::Wanting) };
                    self.extensions += line.len().saturating_sub(MAX_DIGITS);
                    if self.extensions > MAX_LINE {
                        return Err(Invalid("chunk extensions too long"));
                    }
                    self.state = match size(&line)? {
                        0 => State::Trailers,
                        size => State::Data(size),
                    };
                }
                State::Data(_) if buffer.is_empty() => return Ok(Piece::Wanting),
                State::Data(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= length as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece::Data(buffer.split_to(length).freeze()));
                }
                State::DataEnd => {
                    let Some((end, _)) = buffer.split_first_chunk::<2>() else { return Ok(Piece::Wanting) };
                    if end != b"\r\n" {
                        return Err(Invalid("a chunk longer than its size"));
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => return take_trailers(buffer),
            }
        }
    }
}

/// A line without its end.
fn take_line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Invalid> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > MAX_LINE { Err(Invalid("a chunk's line is too long")) } else { Ok(None) };
    };
    if end > MAX_LINE {
        return Err(Invalid("a chunk's line is too long"));
    }
    let mut line = buffer.split_to(end + 1);
    line.truncate(end);
    match line.split_last() {
        Some((b'\r', rest)) if !rest.contains(&b'\r') => {
            line.truncate(end - 1);
            Ok(Some(line))
        }
        _ => Err(Invalid("a chunk's line ends without CR LF")),
    }
}

/// Digits, then nothing or extensions of visible characters.
fn size(line: &[u8]) -> Result<u64, Invalid> {
    let invalid = Invalid("a chunk's size");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(invalid)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return Err(invalid);
    }
    let text = rest.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    let extension = rest.trim_ascii_start();
    if !text || !(rest.is_empty() || extension.first() == Some(&b';')) {
        return Err(invalid);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| invalid)?;
    u64::from_str_radix(digits, 16).map_err(|_| invalid)
}

fn take_trailers(buffer: &mut BytesMut) -> Result<Piece, Invalid> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => (length, read(fields)?),
        Ok(httparse::Status::Partial) if buffer.len() <= MAX_LINE => return Ok(Piece::Wanting),
        Ok(httparse::Status::Partial) => return Err(Invalid("the trailers are too long")),
        Err(_) => return Err(Invalid("the trailers cannot be read")),
    };
    if !buffer.get(..length).is_some_and(super::has_strict_lines) {
        return Err(Invalid("a trailer ends without CR LF"));
    }
    buffer.advance(length);
    Ok(Piece::End(trailers))
}

fn read(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Invalid> {
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Invalid("a trailer's name"))?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Invalid("a trailer's value"))?;
        if !is_forbidden_trailer(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}
