//! The planner: objects in, changed units and statuses out.

use bellhop_api::watch::{Unit, UnitName};

use super::{Change, ObjectName, Status};

/// What a set of changes did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Units that are new or differ from before: services first, then keys, each sorted by name.
    pub put: Vec<Unit>,
    /// Units that are no more: keys first, then services, each sorted by name.
    pub delete: Vec<UnitName>,
    /// Sandboxes and groups whose status is new or differs from before, sorted by name.
    pub statuses: Vec<(ObjectName, Status)>,
}

/// All objects, indexed, and the units that they make.
#[derive(Debug, Clone, Default)]
pub struct Planner {}

impl Planner {
    /// Takes changes in, together, and tells what they did. The sum of all effects depends on the objects alone, not on
    /// the order in which they came.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Effects {
        let _ = changes.into_iter().count();
        Effects::default()
    }

    /// What [`Planner::apply`] would do; nothing is changed in the end.
    pub fn preview(&mut self, changes: impl IntoIterator<Item = Change>) -> Effects {
        let _ = changes.into_iter().count();
        Effects::default()
    }

    /// All units as they stand: services first, then keys, each sorted by name.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        Vec::new()
    }

    /// The status of an object.
    #[must_use]
    pub fn status(&self, name: &ObjectName) -> Option<&Status> {
        let _ = name;
        None
    }
}
