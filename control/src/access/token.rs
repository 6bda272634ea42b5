//! One token: made, hashed, stored, found again.
//!
//! A token is 256 random bits, so a plain SHA-256 is the right hash: there is nothing to guess, and a slow hash made for
//! passwords would only make every request slow. Tokens are looked up by that hash; how long a look-up takes tells nothing
//! of a token, since nobody can choose a token by the beginning of its hash.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bellhop_api::access::{Secret, TOKEN_PREFIX, TokenInfo};
use bytes::Bytes;
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};

/// The record class of tokens in the store.
pub(crate) const CLASS: &str = "token";
/// Random bytes of a token, and of an id.
const TOKEN_BYTES: usize = 32;
const ID_BYTES: usize = 6;

/// The hash of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

/// A token as it is stored: everything but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredToken {
    /// SHA-256, base64url.
    hash: String,
    /// What is known of it.
    #[serde(flatten)]
    pub(crate) info: TokenInfo,
}

/// The machine gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the machine gives no random numbers")]
pub(crate) struct NoRandom;

impl StoredToken {
    /// What is stored of a token.
    pub(crate) fn new(token: &Secret, info: TokenInfo) -> Self {
        Self { hash: URL_SAFE_NO_PAD.encode(TokenHash::of(token.reveal()).0), info }
    }

    pub(crate) fn hash(&self) -> Option<TokenHash> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.hash).ok()?;
        Some(TokenHash(bytes.try_into().ok()?))
    }

    /// Content of its record.
    pub(crate) fn value(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Name of a token's record.
pub(crate) fn token_record(id: &str) -> Arc<str> {
    format!("{CLASS}/{id}").into()
}

/// A token that nobody has seen yet.
///
/// # Errors
/// When the machine gives no random numbers.
pub(crate) fn fresh_token() -> Result<Secret, NoRandom> {
    Ok(Secret::new(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?))))
}

/// An id: short enough to type, long enough not to meet another. Nothing secret.
///
/// # Errors
/// When the machine gives no random numbers.
pub(crate) fn fresh_id() -> Result<String, NoRandom> {
    Ok(random::<ID_BYTES>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_told_from_other_secrets_and_what_is_stored_of_it_does_not_hold_it() {
        let (token, other) = (fresh_token().unwrap(), fresh_token().unwrap());
        assert_ne!(token, other);
        let secret = token.reveal().strip_prefix(TOKEN_PREFIX).unwrap();
        assert_eq!(secret.len(), 43, "256 bits");
        let info = serde_json::json!({ "id": "a1", "role": "admin", "createdBy": "x",
            "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-02T00:00:00Z" });
        let stored = StoredToken::new(&token, serde_json::from_value(info).unwrap());
        let text = String::from_utf8(stored.value().to_vec()).unwrap();
        assert!(!text.contains(secret), "{text}");
        let read: StoredToken = serde_json::from_str(&text).unwrap();
        assert_eq!(read, stored);
        assert_eq!(read.hash(), Some(TokenHash::of(token.reveal())));
        assert_ne!(read.hash(), Some(TokenHash::of(other.reveal())));
    }
}
