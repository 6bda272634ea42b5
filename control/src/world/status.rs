//! From what the planner says of an object to the status that users see.

use std::sync::Arc;

use bellhop_api::{Condition, ConditionStatus, Phase, Status, watch::RouteState};
use bellhop_route::plan::{self, Disagreement, MemberRef, ObjectName};
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
            conditions: conditions(&plan, &notes),
            members: plan.members.iter().map(member).collect(),
            destinations: self.destinations(held, &plan),
        };
        if held.stored.is_expired(now) {
            status.phase = Phase::Expired;
            status.conditions = vec![condition("Expired", true, "TimeOver", "its time is over; apply or renew it to have it back")];
            status.destinations.clear();
        } else if status.conditions.iter().any(|condition| condition.kind != "ServiceDescribed") {
            status.phase = Phase::Degraded;
        }
        let why = status.conditions.iter().find(|condition| condition.kind != "ServiceDescribed");
        let ready = match why {
            Some(why) => condition("Ready", false, &why.kind, &why.message),
            None => condition("Ready", true, "Accepted", ""),
        };
        status.conditions.insert(0, ready);
        let old = before.and_then(Option::as_ref).map(|held| &held.status);
        let generation = held.stored.object.metadata().generation;
        for condition in &mut status.conditions {
            let same = old.into_iter().flat_map(|old| &old.conditions).find(|old| old.kind == condition.kind && old.status == condition.status);
            condition.last_transition_time = same.and_then(|old| old.last_transition_time).or(Some(now));
            condition.observed_generation = generation;
        }
        let held = Held { notes, status, ..Held::clone(held) };
        self.objects.insert(name.clone(), Arc::new(held));
    }

    fn destinations(&self, held: &Held, plan: &plan::Status) -> Vec<String> {
        let unit = held.key.as_ref().filter(|_| plan.key_holder.is_none()).and_then(|key| self.units.get(key));
        let routes = unit.into_iter().flat_map(|unit| &unit.routes);
        routes.filter(|route| route.state == RouteState::Active).map(|route| route.destination.to_string()).collect()
    }
}

fn member(member: &MemberRef) -> String {
    format!("{}/{}", member.namespace, member.name)
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
fn conditions(plan: &plan::Status, notes: &[Note]) -> Vec<Condition> {
    let mut all = Vec::new();
    if let Some(holder) = &plan.key_holder {
        let message = format!("the routing key belongs to {}, which is older; this one has no routes", describe(holder));
        all.push(condition("KeyConflict", true, "KeyTaken", &message));
    }
    if !plan.disagreements.is_empty() {
        let message = join(plan.disagreements.iter().map(disagreement));
        all.push(condition("RouteConflict", true, "MembersDiffer", &message));
    }
    if !plan.missing_members.is_empty() {
        let message = format!("missing: {}", join(plan.missing_members.iter().map(member)));
        all.push(condition("MemberMissing", true, "NotThere", &message));
    }
    let of = |pick: fn(&Note) -> Option<&String>| join(notes.iter().filter_map(pick).cloned());
    for (kind, holds, reason, before, found) in [
        (
            "ServiceMissing",
            true,
            "NoPorts",
            "no Service describes it and the override names no port: ",
            of(|note| if let Note::ServiceMissing(of) = note { Some(of) } else { None }),
        ),
        (
            "NotPermitted",
            true,
            "ForeignService",
            "another namespace's service does not permit this one (overrideFrom): ",
            of(|note| if let Note::Foreign(of) = note { Some(of) } else { None }),
        ),
        (
            "PortMissing",
            true,
            "NoSuchPort",
            "the Service has no such port: ",
            of(|note| if let Note::PortMissing(of) = note { Some(of) } else { None }),
        ),
        (
            "Unresolved",
            true,
            "NoAddress",
            "the name has no address: ",
            of(|note| if let Note::Unresolved(of) = note { Some(of) } else { None }),
        ),
        (
            "EndpointNotPermitted",
            true,
            "Address",
            "",
            of(|note| if let Note::Address(of) = note { Some(of) } else { None }),
        ),
        (
            "ServiceDescribed",
            false,
            "NameOnly",
            "known by name alone, so that intercepting proxies cannot recognise it; apply a Service, or give addresses or workloads: ",
            of(|note| if let Note::ServiceImplied(of) = note { Some(of) } else { None }),
        ),
    ] {
        if !found.is_empty() {
            all.push(condition(kind, holds, reason, &format!("{before}{found}")));
        }
    }
    all
}

/// Two overrides that differ, for people.
pub(crate) fn disagreement(disagreement: &Disagreement) -> String {
    match disagreement {
        Disagreement::Destination { destination, between: [a, b] } => {
            format!("{} and {} override {destination} differently", member(a), member(b))
        }
        Disagreement::Address { address, port, destinations: [x, y], between: [a, b] } => format!(
            "{} overrides {x} and {} overrides {y}, which share the address {}",
            member(a),
            member(b),
            std::net::SocketAddr::new(*address, *port)
        ),
    }
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join("; ")
}
