//! What the plan says of each object.

use std::{collections::BTreeSet, net::SocketAddr};

use bellhop_api::Destination;

use super::{FullName, ObjectName};

/// What became of one sandbox or group. The default is that of one without routes and without faults, and of one that is
/// gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Destinations that its key has active routes for, sorted. Nearly always there is one, for which a tree would take ten
    /// times the room.
    pub routed: Box<[Destination]>,
    /// `KeyConflict`: another, older object has its key; this one has no routes.
    pub key_holder: Option<ObjectName>,
    /// Of a group: the sandboxes whose overrides it combines.
    pub members: BTreeSet<FullName>,
    /// `MemberMissing`: sandboxes that it names, and that contribute nothing (not there, gone, or without their key), and
    /// those that it selects and that are without their key.
    pub missing_members: BTreeSet<FullName>,
    /// `Conflict`: overrides that differ. Requests that they touch are refused.
    pub disagreements: BTreeSet<Disagreement>,
    /// Services that its overrides name and that nobody has described.
    pub missing_services: BTreeSet<FullName>,
}

/// Two overrides that differ for the same requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disagreement {
    /// For one destination: all its requests are refused.
    Destination {
        /// The destination.
        destination: Destination,
        /// The sandboxes, sorted.
        between: [FullName; 2],
    },
    /// For two destinations behind one address: requests to that address are refused, others are not.
    Address {
        /// The address.
        address: SocketAddr,
        /// The destinations, sorted.
        destinations: [Destination; 2],
        /// The sandboxes, in the order of the destinations.
        between: [FullName; 2],
    },
}
