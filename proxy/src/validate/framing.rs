//! What a head says of the body behind it (RFC 9112 §6.3, RFC 9113 §8.1.1), without the choices these leave.

use super::{Fault, Method};

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; none is zero.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All that comes until the connection ends; answers alone.
    UntilClose,
}

/// What the fields of one head say of its framing, gathered field by field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lengths {
    length: Option<u64>,
    chunked: bool,
}

impl Lengths {
    /// A `Content-Length` field: one, of digits alone.
    ///
    /// # Errors
    /// It is none, or not the first.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        // 18 digits cannot overflow; no honest body is longer.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault("a Content-Length that is no length"));
        }
        let length = value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Fault("more than one Content-Length")),
        }
    }

    /// A `Transfer-Encoding` field: one, that says `chunked` and nothing else.
    ///
    /// # Errors
    /// It says something else, or is not the first.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !value.eq_ignore_ascii_case(b"chunked") || self.chunked {
            return Err(Fault("a transfer coding other than chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    /// What they come to; none where neither field is there.
    ///
    /// # Errors
    /// Both fields, or a transfer coding in HTTP/1.0, where it has no meaning (RFC 9112 §6.1).
    pub(crate) fn framing(self, is_1_0: bool) -> Result<Option<Framing>, Fault> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Fault("both Content-Length and Transfer-Encoding")),
            (None, true) if is_1_0 => Err(Fault("a transfer coding in HTTP/1.0")),
            (None, true) => Ok(Some(Framing::Chunked)),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, false) => Ok(None),
        }
    }
}

/// A CONNECT has no body: what follows its 2xx is the tunnel (RFC 9110 §9.3.6).
///
/// # Errors
/// It says that it has one.
#[inline]
pub(crate) fn check_connect(method: Method, framing: Option<Framing>) -> Result<(), Fault> {
    if method == Method::Connect && framing.is_some_and(|framing| framing != Framing::Length(0)) {
        return Err(Fault("CONNECT with a body"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_listed_empty_overflowing_and_repeated_lengths_are_faults() {
        for bad in ["", "+1", "-1", "1, 1", "0x1", "1 ", "18446744073709551616", "9999999999999999999"] {
            assert!(Lengths::default().content_length(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut twice = Lengths::default();
        assert_eq!(twice.content_length(b"3"), Ok(()));
        assert!(twice.content_length(b"3").is_err());
    }

    #[test]
    fn a_transfer_coding_is_chunked_alone_and_never_beside_a_length_or_in_1_0() {
        for bad in ["gzip, chunked", "chunked, chunked", "identity", "", "chunked;q=1", "xchunked"] {
            assert!(Lengths::default().transfer_encoding(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut both = Lengths::default();
        assert_eq!(both.transfer_encoding(b"Chunked"), Ok(()));
        assert_eq!(both.framing(false), Ok(Some(Framing::Chunked)));
        assert!(both.framing(true).is_err());
        assert_eq!(both.content_length(b"3"), Ok(()));
        assert!(both.framing(false).is_err());
    }
}
