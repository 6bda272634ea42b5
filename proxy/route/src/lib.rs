//! Bellhop's routing: baggage, keys, destinations, route table, decision. Pure: no tokio, no sockets, no clock.
//!
//! A request passes through in this order: [`Carriers::read`] finds the [`Keys`] in a head ([`HeadView`]), [`decide()`]
//! asks the [`RouteTable`] what they mean for the [`Place`] that the request was going to, and gives a [`Decision`].
//! The table is fed with the units of the watch, each compiled by [`compile()`]; control validates with the same function,
//! and makes the units from its objects with [`plan`].

mod carrier;
mod compile;
mod decide;
mod digest;
mod hash;
mod head;
mod keys;
mod name;
mod place;
pub mod plan;
mod reason;
mod table;

pub use bellhop_api::{Destination, RoutingKey};
pub use carrier::{Carrier, CarrierError, Carriers};
pub use compile::{CompileError, KeyRoutes, Route, RouteKind, compile};
pub use decide::{DECIDED_FIELD, Decided, Decision, Verdict, decide};
pub use digest::{Digest, DigestError, digest};
pub use head::HeadView;
pub use keys::{KeyText, Keys};
pub use place::Place;
pub use reason::{Marks, Reason};
pub use table::{RouteTable, Standing, TableBuilder};
