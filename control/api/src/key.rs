//! The routing key: an opaque token that names a sandbox or a group.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

/// A routing key: 1 to 63 bytes of `[A-Za-z0-9._-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RoutingKey(Arc<str>);

/// Why a text is no routing key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingKeyError {
    /// Nothing at all.
    #[error("a routing key is empty; it takes 1 to 63 of A-Z a-z 0-9 . _ -")]
    Empty,
    /// Longer than [`RoutingKey::MAX_BYTES`].
    #[error("a routing key has {0} bytes; at most 63 are allowed")]
    TooLong(usize),
    /// A byte outside the charset.
    #[error("a routing key holds {found:?} at byte {at}; allowed are A-Z a-z 0-9 . _ -")]
    BadByte {
        /// Offset of the byte, from 0.
        at: usize,
        /// The character that starts there.
        found: char,
    },
}

impl RoutingKey {
    /// Longest key, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// Checks `text`. This is the one definition of what a key is; the proxy's reader uses it too.
    ///
    /// # Errors
    /// When `text` is empty, too long or holds a byte outside `[A-Za-z0-9._-]`.
    pub fn check(text: &str) -> Result<(), RoutingKeyError> {
        if text.is_empty() {
            return Err(RoutingKeyError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(RoutingKeyError::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            Some((at, found)) => Err(RoutingKeyError::BadByte { at, found }),
            None => Ok(()),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoutingKey {
    type Err = RoutingKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for RoutingKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingKey({})", self.0)
    }
}

impl<'de> Deserialize<'de> for RoutingKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_the_charset_and_nothing_else() {
        for good in ["a", "pr-15", "A.b_c-9", &"x".repeat(63)] {
            assert!(good.parse::<RoutingKey>().is_ok(), "{good}");
        }
        assert_eq!("".parse::<RoutingKey>(), Err(RoutingKeyError::Empty));
        assert_eq!("x".repeat(64).parse::<RoutingKey>(), Err(RoutingKeyError::TooLong(64)));
        assert_eq!("a/b".parse::<RoutingKey>(), Err(RoutingKeyError::BadByte { at: 1, found: '/' }));
        assert_eq!("ä".parse::<RoutingKey>(), Err(RoutingKeyError::BadByte { at: 0, found: 'ä' }));
    }
}
