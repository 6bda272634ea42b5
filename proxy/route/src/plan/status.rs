//! What the plan says of each object.

use std::net::IpAddr;

use bellhop_api::{Destination, DnsLabel};

use super::{MemberRef, ObjectName};

/// What became of one object. The default is that of an object without routes and without faults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// How many active routes its key has.
    pub routes: usize,
    /// `KeyConflict`: another, older object has its key; this one has no routes.
    pub key_holder: Option<ObjectName>,
    /// Of a group: the sandboxes whose overrides it combines, sorted.
    pub members: Vec<MemberRef>,
    /// `MemberMissing`: sandboxes that it names and that contribute nothing (not there, gone, or without their key).
    pub missing_members: Vec<MemberRef>,
    /// `Conflict`: overrides that differ. Requests that they touch are refused.
    pub disagreements: Vec<Disagreement>,
    /// Services that its routes need and that nobody has described, as (namespace, name), sorted.
    pub missing_services: Vec<(DnsLabel, DnsLabel)>,
}

/// Two overrides that differ for the same requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disagreement {
    /// For one destination: all its requests are refused.
    Destination {
        /// The destination.
        destination: Destination,
        /// The sandboxes.
        between: [MemberRef; 2],
    },
    /// For two destinations behind one address: requests to that address are refused, others are not.
    Address {
        /// The address.
        address: IpAddr,
        /// The port there.
        port: u16,
        /// The destinations.
        destinations: [Destination; 2],
        /// The sandboxes.
        between: [MemberRef; 2],
    },
}
