//! From what the planner says of an object to the status that users see.

use std::{collections::BTreeSet, sync::Arc};

use bellhop_api::{Condition, ConditionStatus, Phase, Status};
use bellhop_route::plan::{self, Disagreement, ObjectName};
use jiff::Timestamp;

use super::{Held, Note, World};
use crate::record::describe;

impl World {
    /// Makes the status of an object anew. `notes`: as just found; else those of before stand.
    pub(super) fn refresh_status(
        &mut self,
        name: &ObjectName,
        notes: Option<Vec<Note>>,
        before: Option<&Option<Arc<Held>>>,
        now: Timestamp,
    ) {
        let Some(held) = self.objects.get(name) else { return };
        let notes = notes.unwrap_or_else(|| held.notes.clone());
        let plan = self.planner.status(name).cloned().unwrap_or_default();
        let mut status = Status {
            phase: Phase::Active,
            routing_key: held.key.clone(),
            expires_at: held.stored.expires_at(),
            conditions: conditions(&plan, &notes, &self.implied_services(&held.stored.object, name)),
            members: plan.members.iter().map(ToString::to_string).collect(),
            destinations: plan.routed.iter().map(ToString::to_string).collect(),
        };
        if held.stored.is_gone(now) {
            status.phase = Phase::Expired;
            status.conditions = vec![condition(
                "Expired",
                true,
                "TimeOver",
                "its time is over; apply or renew it to have it back",
            )];
            status.destinations.clear();
        } else if status.conditions.iter().any(|condition| condition.kind != INFORMATION) {
            status.phase = Phase::Degraded;
        }
        let why = status.conditions.iter().find(|condition| condition.kind != INFORMATION);
        let ready = match why {
            Some(why) => condition("Ready", false, &why.kind, &why.message),
            None => condition("Ready", true, "Accepted", ""),
        };
        status.conditions.insert(0, ready);
        // it is kept as long as the object
        status.conditions.shrink_to_fit();
        let old = before.and_then(Option::as_ref).map(|held| &held.status);
        let generation = held.stored.object.metadata().generation;
        for condition in &mut status.conditions {
            let same = old
                .into_iter()
                .flat_map(|old| &old.conditions)
                .find(|old| old.kind == condition.kind && old.status == condition.status);
            condition.last_transition_time = same.and_then(|old| old.last_transition_time).or(Some(now));
            condition.observed_generation = generation;
        }
        let held = Held { notes, status, ..Held::clone(held) };
        self.objects.insert(name.clone(), Arc::new(held));
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Condition {
    Condition {
        kind: kind.into(),
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.into(),
        message: message.into(),
        last_transition_time: None,
        observed_generation: None,
    }
}

/// Everything that is the matter; nothing where nothing is.
fn conditions(plan: &plan::Status, notes: &[Note], implied: &BTreeSet<String>) -> Vec<Condition> {
    let holder = plan.key_holder.as_ref().map(describe);
    let differ: Vec<_> = plan.disagreements.iter().map(disagreement).collect();
    let missing: Vec<_> = plan.missing_members.iter().map(ToString::to_string).collect();
    let undescribed: Vec<_> = plan
        .missing_services
        .iter()
        .map(|service| format!("{}.{}", service.name, service.namespace))
        .collect();
    let of = |pick: fn(&Note) -> Option<&String>| notes.iter().filter_map(pick).cloned().collect::<Vec<_>>();
    let implied: Vec<_> = implied.iter().filter(|service| !undescribed.contains(service)).cloned().collect();
    let all = [
        (
            "KeyConflict",
            "KeyTaken",
            "its routing key belongs to an older object, so that it has no routes",
            holder.into_iter().collect(),
        ),
        ("RouteConflict", "MembersDiffer", "requests that these touch are refused", differ),
        ("MemberMissing", "NotThere", "these sandboxes are not there, or have no routes", missing),
        (
            "ServiceMissing",
            "NoPorts",
            "these route nothing: no Service says which ports they have, and the override names none \
             (apply a Service, or write the port as in route:8080)",
            undescribed,
        ),
        (
            "NotPermitted",
            "ForeignService",
            "services of other namespaces, which do not permit this one in overrideFrom",
            of(Note::foreign),
        ),
        ("Unresolved", "NoAddress", "these names have no address", of(Note::unresolved)),
        ("EndpointNotPermitted", "Address", "these may not be endpoints", of(Note::address)),
        (
            "ServiceDescribed",
            "NameOnly",
            "intercepting proxies cannot recognise these, as nothing says their addresses; apply a Service",
            implied,
        ),
    ];
    let all = all.into_iter().filter(|(.., found)| !found.is_empty());
    all.map(|(kind, reason, what, found)| {
        condition(kind, kind != INFORMATION, reason, &format!("{what}: {}", found.join("; ")))
    })
    .collect()
}

/// The condition that takes nothing from an object.
const INFORMATION: &str = "ServiceDescribed";

impl Note {
    fn foreign(&self) -> Option<&String> {
        if let Self::Foreign(what) = self { Some(what) } else { None }
    }

    fn unresolved(&self) -> Option<&String> {
        if let Self::Unresolved(what) = self { Some(what) } else { None }
    }

    fn address(&self) -> Option<&String> {
        if let Self::Address(what) = self { Some(what) } else { None }
    }
}

/// Two overrides that differ, for people.
pub(crate) fn disagreement(disagreement: &Disagreement) -> String {
    match disagreement {
        Disagreement::Destination { destination, between: [a, b] } => {
            format!("{a} and {b} override {destination} differently")
        }
        Disagreement::Address { address, destinations: [x, y], between: [a, b] } => {
            format!("{a} overrides {x} and {b} overrides {y}, which share the address {address}")
        }
    }
}
