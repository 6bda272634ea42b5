//! How far a message's body reaches (RFC 9112 §6.3). Bodies are framed, never unpacked.

use super::chunked::Chunked;
use crate::validate::{Fault, framing::Framing};

/// A body as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

impl Body {
    /// Before its first byte.
    #[inline]
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether its last byte was seen. A body that lasts until the connection ends never says so.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Follows the body through `bytes`. Says how many of them belong to it: all, unless it ends within them.
    ///
    /// # Errors
    /// The coding is broken. No byte from `bytes` may be forwarded then.
    #[inline]
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                Ok(count)
            }
            Self::Chunked(chunks) => chunks.scan(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}
