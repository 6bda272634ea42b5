//! The body of an HTTP/1 message, taken out of its framing (RFC 9112 §6, §7).

pub(crate) mod chunked;

use bytes::{Bytes, BytesMut};

use self::chunked::{Chunked, Piece};

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It lasts until the connection ends.
    UntilClose,
}

/// What came is no message that has one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) &'static str);

/// CR and LF only together: `httparse` takes a bare LF for a line's end.
pub(crate) fn has_strict_lines(head: &[u8]) -> bool {
    let mut after_cr = false;
    for &byte in head {
        if (byte == b'\n') != after_cr {
            return false;
        }
        after_cr = byte == b'\r';
    }
    !after_cr
}

/// A body without its framing.
#[derive(Debug)]
pub(crate) enum Unpacked {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

/// What is at the front of the bytes.
#[derive(Debug)]
pub(crate) enum Unpacking {
    /// More bytes are needed.
    Wanting,
    /// Part of the body.
    Data {
        /// The bytes.
        data: Bytes,
        /// Whether nothing follows.
        last: bool,
    },
    /// The end, and the trailers.
    Trailers(http::HeaderMap),
}

impl Unpacked {
    /// Before its first byte.
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next part off the front of `buffer`.
    ///
    /// # Errors
    /// The framing is broken.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Unpacking, Invalid> {
        match self {
            Self::Chunked(chunked) => Ok(match chunked.take(buffer)? {
                Piece::Wanting => Unpacking::Wanting,
                Piece::Data(data) => Unpacking::Data { data, last: false },
                Piece::End(trailers) => Unpacking::Trailers(trailers),
            }),
            Self::Length(_) | Self::UntilClose if buffer.is_empty() => Ok(Unpacking::Wanting),
            Self::UntilClose => Ok(Unpacking::Data { data: buffer.split().freeze(), last: false }),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= length as u64;
                Ok(Unpacking::Data { data: buffer.split_to(length).freeze(), last: *left == 0 })
            }
        }
    }
}
