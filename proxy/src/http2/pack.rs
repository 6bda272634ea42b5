//! The body of an HTTP/1 message, put into its framing (RFC 9112 §7.1).

use bytes::{BufMut as _, BytesMut};

/// Writes some of a body to `out`, as a chunk of its own where that is the framing. An empty piece would end a body in
/// chunks: nothing is written for it.
pub(super) fn put(data: &[u8], chunked: bool, out: &mut BytesMut) {
    if !chunked {
        return out.put_slice(data);
    }
    if !data.is_empty() {
        out.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.put_slice(data);
        out.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_as_they_are_or_as_chunks_and_an_empty_one_ends_nothing() {
        let written = |chunked| {
            let mut out = BytesMut::new();
            for data in [&b"eleven more"[..], b"", b"z"] {
                put(data, chunked, &mut out);
            }
            out
        };
        assert_eq!(written(false), &b"eleven morez"[..]);
        assert_eq!(written(true), &b"b\r\neleven more\r\n1\r\nz\r\n"[..]);
    }
}
