//! Lines of a stream of bytes, each bounded.

use bytes::{Buf as _, Bytes, BytesMut};

use super::WatchEnd;

/// The longest line that is read. A key's unit takes some hundred bytes a route.
pub(super) const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Cuts what comes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: BytesMut,
    /// Bytes of `held` that are known to hold no line's end.
    searched: usize,
}

impl Lines {
    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole line without its end; empty ones are passed over.
    ///
    /// # Errors
    /// The line is longer than [`MAX_LINE_BYTES`], whether its end has come or not.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, WatchEnd> {
        loop {
            let unsearched = self.held.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unsearched) else {
                self.searched = self.held.len();
                return if self.searched > MAX_LINE_BYTES { Err(WatchEnd::TooLong) } else { Ok(None) };
            };
            let line = self.held.split_to(self.searched + at);
            self.held.advance(1);
            self.searched = 0;
            if line.len() > MAX_LINE_BYTES {
                return Err(WatchEnd::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }

    /// Whether the stream's end here cuts a line in two.
    pub(super) fn in_a_line(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_the_bytes_come_in() {
        for size in 1..12 {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in b"{\"a\":1}\n\n  \r\n{\"b\":2}\r\n{\"c\"".chunks(size) {
                lines.push(part);
                while let Some(line) = lines.next().unwrap() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}\r"], "{size}");
            assert!(lines.in_a_line());
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_its_end_comes() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE_BYTES]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"x");
        assert_eq!(lines.next(), Err(WatchEnd::TooLong));
    }
}
