//! The field by which one proxy tells the next what it has decided.

use std::{net::SocketAddr, sync::Arc};

use bellhop_api::Destination;

use crate::{Place, RouteTable, Standing};

/// The field that tells the next proxy what was decided.
pub const DECIDED_FIELD: &str = "bellhop-decided";

/// The names for [`DECIDED_FIELD`]. Empty unless a route decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided(Option<Arc<Standing>>);

impl Decided {
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self(Some(standing))
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The destinations that were decided.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        self.0.as_deref().map_or(&[], Standing::destinations)
    }

    /// Appends the field's value to `out`: the destinations that were decided, and those that the chosen endpoint's
    /// address stands for as a workload, so that two services that override each other are decided once and not over and
    /// over. `endpoint` is none where the fallback answers. Values that a request carries already stay in front.
    pub fn write(&self, table: &RouteTable, endpoint: Option<SocketAddr>, out: &mut Vec<u8>) {
        let Some(own) = &self.0 else { return };
        out.extend_from_slice(own.as_str().as_bytes());
        let there = endpoint.and_then(|endpoint| table.standing(&Place::Workload(endpoint)));
        if let Some(there) = there.filter(|there| there != own) {
            out.extend_from_slice(b", ");
            out.extend_from_slice(there.as_str().as_bytes());
        }
    }
}

/// Whether a value of the field names one of the destinations of a place.
pub(super) fn names_any<'a>(values: impl IntoIterator<Item = &'a [u8]>, standing: &Standing) -> bool {
    let mut names = values.into_iter().flat_map(|value| value.split(|b| *b == b','));
    names.any(|name| standing.names(name.trim_ascii()))
}
