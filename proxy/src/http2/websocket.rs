//! WebSocket's two ways to begin: HTTP/1.1's upgrade (RFC 6455 §4) and HTTP/2's extended CONNECT (RFC 8441 §5).
//!
//! What one says by a key and its digest the other says by being HTTP/2: where one becomes the other, the proxy asks
//! for the digest, or gives it. Everything else that a handshake holds passes as it is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use sha1::{Digest as _, Sha1};

use crate::context::Head;

/// The protocol's name, in `Upgrade` and in `:protocol`.
pub(crate) const PROTOCOL: &str = "websocket";
/// What a key is digested with (RFC 6455 §1.3).
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;

/// A key, and the answer that shows that it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// `Sec-WebSocket-Key`.
    pub(crate) key: String,
    /// `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
}

impl Handshake {
    /// One of the proxy's own. A key need not be secret: it tells a WebSocket server from a cache.
    pub(crate) fn new() -> Self {
        let mut nonce = [0; KEY_BYTES];
        fastrand::fill(&mut nonce);
        Self::of_key(STANDARD.encode(nonce))
    }

    fn of_key(key: String) -> Self {
        let mut digest = Sha1::new();
        digest.update(key.as_bytes());
        digest.update(SALT);
        let accept = STANDARD.encode(digest.finalize());
        Self { key, accept }
    }

    /// The one that a client's request asks for: a GET that wants to upgrade to WebSocket and has one valid key.
    pub(crate) fn asked(head: &impl Head) -> Option<Self> {
        let wants = head.values("upgrade").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|one| one.trim_ascii().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
        });
        if !wants || head.method() != b"GET" {
            return None;
        }
        let mut keys = head.values("sec-websocket-key");
        let (Some(key), None) = (keys.next(), keys.next()) else { return None };
        let is_valid = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == KEY_BYTES);
        let key = std::str::from_utf8(key).ok().filter(|_| is_valid)?;
        Some(Self::of_key(key.to_owned()))
    }
}

/// Whether a field belongs to the handshake of HTTP/1 alone.
pub(crate) fn is_of_http1(name: &HeaderName) -> bool {
    *name == header::SEC_WEBSOCKET_KEY || *name == header::SEC_WEBSOCKET_ACCEPT
}

/// Whether a field's one value is `wanted`.
pub(crate) fn is_exactly(headers: &http::HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    values.next() == Some(wanted.as_bytes()) && values.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §1.3.
    #[test]
    fn the_answer_to_the_rfcs_key_is_the_rfcs() {
        let handshake = Handshake::of_key("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn own_keys_are_sixteen_bytes_and_differ() {
        let (one, other) = (Handshake::new(), Handshake::new());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.key).unwrap().len(), KEY_BYTES);
    }
}
