//! The token of a position: store epoch, replica, place in that replica's log; and, for the other replicas, the store's
//! revision and what all units were. Opaque to everybody else.

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc};

use super::Sequence;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) epoch: Arc<str>,
    pub(crate) replica: Arc<str>,
    pub(crate) at: Sequence,
    pub(crate) revision: u64,
    pub(crate) content: Content,
}

/// Digest of all units, services as well as keys: 128 bits, so that two that differ are never taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Content(u128);

impl Content {
    /// A unit, by its line, comes; or goes, where it was there.
    pub(crate) fn toggle(&mut self, line: &[u8]) {
        self.0 ^= xxhash_rust::xxh3::xxh3_128(line);
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, replica, at, revision, content: Content(content) } = self;
        write!(f, "{epoch}.{replica}.{at}.{revision}.{content:032x}")
    }
}

/// Not a token of ours: a list answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign;

impl From<Infallible> for Foreign {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for Token {
    type Err = Foreign;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(5, '.');
        let mut part = || parts.next().ok_or(Foreign);
        let content = part()?;
        if content.len() != 32 {
            return Err(Foreign);
        }
        let content = Content(u128::from_str_radix(content, 16).map_err(|_| Foreign)?);
        let revision = part()?.parse().map_err(|_| Foreign)?;
        let at = part()?.parse().map_err(|_| Foreign)?;
        let (replica, epoch) = (part()?.into(), part()?.into());
        Ok(Self { epoch, replica, at, revision, content })
    }
}
