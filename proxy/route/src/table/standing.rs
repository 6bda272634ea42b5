//! What addresses and names stand for.

use std::{borrow::Borrow, hash::Hash, sync::Arc};

use bellhop_api::Destination;
use dashmap::DashMap;

use crate::hash::Seeded;

/// What an address or a name stands for: destinations, sorted, each once, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    destinations: Box<[Destination]>,
    text: Box<str>,
}

impl Standing {
    pub(crate) fn new(mut destinations: Vec<Destination>) -> Self {
        destinations.sort_unstable();
        destinations.dedup();
        let mut text = String::new();
        for destination in &destinations {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&destination.to_string());
        }
        Self { destinations: destinations.into(), text: text.into() }
    }

    /// The destinations.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// The destinations as `bellhop-decided` names them, joined by `, `.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether one of the destinations is written `name`.
    pub(crate) fn names(&self, name: &[u8]) -> bool {
        self.text.split(", ").any(|own| own.as_bytes() == name)
    }
}

/// From addresses, or names, to what they stand for. Several services may share one.
#[derive(Debug)]
pub(super) struct Standings<K: Eq + Hash>(DashMap<K, Arc<Standing>, Seeded>);

impl<K: Eq + Hash> Standings<K> {
    pub(super) fn new() -> Self {
        Self(DashMap::with_hasher(Seeded::default()))
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, place: &Q) -> Option<Arc<Standing>>
    where
        K: Borrow<Q>,
    {
        self.0.get(place).map(|held| Arc::clone(&held))
    }

    /// `place` stands for `destination` too.
    pub(super) fn add(&self, place: K, destination: &Destination) {
        let alone = || Arc::new(Standing::new(vec![destination.clone()]));
        self.0
            .entry(place)
            .and_modify(|held| {
                let with = held.destinations().iter().chain([destination]).cloned().collect();
                *held = Arc::new(Standing::new(with));
            })
            .or_insert_with(alone);
    }

    /// `place` stands for `destination` no longer.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&self, place: &Q, destination: &Destination)
    where
        K: Borrow<Q>,
    {
        self.0.remove_if_mut(place, |_, held| {
            let without: Vec<_> =
                held.destinations().iter().filter(|each| *each != destination).cloned().collect();
            let empty = without.is_empty();
            if !empty {
                *held = Arc::new(Standing::new(without));
            }
            empty
        });
    }
}
