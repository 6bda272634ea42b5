//! The plan: from all objects to the units of the watch and a status for each object (conflicts, missing members), the
//! same for every store and whatever the order of the input.
//!
//! [`Planner`] keeps the objects with indexes by key, name and label, so that one change recompiles only the keys that it
//! can touch. It knows no time: control tells it what is gone, and forgets it a day later.

mod catalog;
mod claims;
mod combine;
mod memberships;
mod model;
mod planner;
mod status;
#[cfg(test)]
mod tests;

pub use model::{
    Change, EndpointAddress, FullName, Group, InlineService, Kind, Object, ObjectName, Override, Sandbox,
};
pub use planner::{Effects, Planner};
pub use status::{Disagreement, Status};
