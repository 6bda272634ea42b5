//! The token of a position: store epoch, replica, place in that replica's log. Opaque to everybody else.

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc};

use super::Sequence;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) epoch: Arc<str>,
    pub(crate) replica: Arc<str>,
    pub(crate) at: Sequence,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.replica, self.at)
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
        let (rest, at) = text.rsplit_once('.').ok_or(Foreign)?;
        let (epoch, replica) = rest.rsplit_once('.').ok_or(Foreign)?;
        Ok(Self { epoch: epoch.into(), replica: replica.into(), at: at.parse().map_err(|_| Foreign)? })
    }
}
