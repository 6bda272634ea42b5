//! The field by which one proxy tells the next what it has decided.

use std::{fmt, sync::Arc};

use bellhop_api::Destination;
use smallvec::SmallVec;

use crate::{Place, Route, RouteTable, Standing};

/// The field that tells the next proxy what was decided.
pub const DECIDED_FIELD: &str = "bellhop-decided";

/// The names for [`DECIDED_FIELD`], written as its value. Empty unless a route decided. They are the destinations that
/// were decided, and those that an endpoint of the route stands for as a workload: two services that override each other
/// are then decided once, and not over and over. Values that a request carries already stay in front of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided(SmallVec<[Arc<Standing>; 2]>);

impl Decided {
    pub(super) fn new(table: &RouteTable, own: &Arc<Standing>, route: &Route) -> Self {
        let mut all = SmallVec::from_iter([Arc::clone(own)]);
        for endpoint in &*route.endpoints {
            if let Some(there) = table.standing(&Place::Workload(*endpoint))
                && !all.contains(&there)
            {
                all.push(there);
            }
        }
        Self(all)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The destinations, some of them perhaps twice.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.iter().flat_map(|standing| standing.destinations())
    }

    /// Appends the field's value to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (at, standing) in self.0.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(standing.as_str().as_bytes());
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, standing) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { ", " } else { "" })?;
            f.write_str(standing.as_str())?;
        }
        Ok(())
    }
}

/// Whether a value of the field names one of the destinations of a place.
pub(super) fn names_any<'a>(values: impl IntoIterator<Item = &'a [u8]>, standing: &Standing) -> bool {
    let mut names = values.into_iter().flat_map(|value| value.split(|b| *b == b','));
    names.any(|name| standing.names(name.trim_ascii()))
}
