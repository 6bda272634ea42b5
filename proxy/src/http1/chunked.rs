//! The chunked transfer coding (RFC 9112 §7.1), followed byte by byte and never unpacked.
//!
//! Stricter than most readers: sizes of at most 15 digits, CRLF alone ends a line, no control bytes. What passes here has
//! one reading.

use crate::validate::Fault;

/// Bytes of chunk extensions in one body: nobody uses them, so that more is an attack.
const MAX_EXTENSION_BYTES: u32 = 16 * 1024;
/// Bytes of one body's trailer section.
const MAX_TRAILER_BYTES: u32 = 16 * 1024;
/// More digits could overflow 64 bits.
const MAX_DIGITS: u8 = 15;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    BeforeExtension,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// A chunked body as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    digits: u8,
    left: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
}

impl Chunked {
    /// Before the first chunk.
    pub(super) fn new() -> Self {
        Self { state: State::Size, digits: 0, left: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Whether the body's last byte was seen.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Follows the body through `bytes`. Says how many of them belong to it: all, unless it ends within them.
    ///
    /// # Errors
    /// The coding is broken. No byte from `bytes` may be forwarded then.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut rest = bytes;
        while self.state != State::Done {
            if self.state == State::Data {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= step as u64;
                rest = rest.get(step..).unwrap_or_default();
                if self.left > 0 {
                    break;
                }
                self.state = State::DataCr;
            }
            let Some((byte, behind)) = rest.split_first() else { break };
            self.step(*byte)?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match (self.state, byte) {
            (State::Size, _) => self.size(byte)?,
            (State::BeforeExtension, b' ' | b'\t') => self.extended(State::BeforeExtension)?,
            (State::BeforeExtension, b';') => self.extended(State::Extension)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) if is_text(byte) => self.extended(State::Extension)?,
            (State::SizeLf, b'\n') if self.left > 0 => State::Data,
            (State::SizeLf, b'\n') => State::TrailerStart,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.trailed(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailed(State::TrailerValue)?,
            (State::TrailerValue, b'\r') => self.trailed(State::TrailerLf)?,
            (State::TrailerValue, _) if is_text(byte) => self.trailed(State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(Fault("broken chunked coding")),
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<State, Fault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == MAX_DIGITS {
                return Err(Fault("a chunk size with too many digits"));
            }
            self.digits += 1;
            self.left = (self.left << 4) | u64::from(digit);
            return Ok(State::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(Fault("a chunk without a size")),
            b'\r' => Ok(State::SizeLf),
            b';' => self.extended(State::Extension),
            b' ' | b'\t' => self.extended(State::BeforeExtension),
            _ => Err(Fault("a chunk size that is no hexadecimal number")),
        }
    }

    fn extended(&mut self, to: State) -> Result<State, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            Err(Fault("chunk extensions too long"))
        } else {
            Ok(to)
        }
    }

    fn trailed(&mut self, to: State) -> Result<State, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES { Err(Fault("trailers too long")) } else { Ok(to) }
    }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a field's value: anything printable, blanks, and bytes above ASCII.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut body = Chunked::new();
        let used = body.scan(bytes)?;
        Ok(body.is_done().then_some(used))
    }

    #[test]
    fn a_chunked_body_ends_with_its_trailers_and_bytes_behind_it_are_left() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n00;x=\"y\"\r\nX-Sum: 1\r\nY:\r\n\r\n",
            "A ;a\r\n0123456789\r\n1\r\n\r\r\n0\r\n\r\n",
        ] {
            let more = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(scan(more.as_bytes()), Ok(Some(body.len())), "{body:?}");
            assert_eq!(scan(&body.as_bytes()[..body.len() - 1]), Ok(None), "{body:?}");
        }
    }

    #[test]
    fn a_broken_chunk_size_line_end_extension_or_trailer_is_a_fault() {
        let long = format!("1;{}\r\n", "a".repeat(16 * 1024));
        let sizes =
            ["\r\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", "1_0\r\n", " 1\r\n", "10000000000000000\r\n"];
        let ends =
            ["5\nhello", "5\r\nhello!", "5\r\nhello\n", "5\rhello", "5 \r\n", "1;a\nb", "1;a\0\r\n", &long];
        let trailers = [
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\n\n",
            "0\r\n\r0",
        ];
        for body in sizes.into_iter().chain(ends).chain(trailers) {
            assert!(scan(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_into_reads_gives_the_same_result(
            body in prop_oneof![
                "([0-9a-f]{1,2}(;[a-z=]{0,3})?\r\n[a-z]{0,9}\r\n){0,3}0\r\n(X: y\r\n)?\r\n[A-Z]{0,5}",
                "[0-9a-f;\r\n:X ]{0,30}",
            ],
            cuts in prop::collection::vec(1..5usize, 0..40),
        ) {
            let bytes = body.as_bytes();
            let whole = scan(bytes);
            let (mut state, mut used, mut rest, mut fault) = (Chunked::new(), 0, bytes, false);
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                match state.scan(piece) {
                    Ok(count) => used += count,
                    Err(_) => { fault = true; break }
                }
                rest = behind;
                if state.is_done() { break }
            }
            match whole {
                Err(_) => prop_assert!(fault),
                Ok(Some(length)) => prop_assert!(state.is_done() && used == length),
                Ok(None) => prop_assert!(!fault && !state.is_done() && used == bytes.len()),
            }
        }
    }
}
