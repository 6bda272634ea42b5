//! The decision: what a proxy does with one request. A pure function of table, keys and place.

mod decided;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bellhop_api::{Destination, RoutingKey};

pub use self::decided::{DECIDED_FIELD, Decided};
use crate::{KeyRoutes, Keys, Marks, Place, Reason, Route, RouteKind, RouteTable, Standing};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to this route's endpoints. The route is [`Active`](RouteKind::Active).
    Sandbox(Arc<Route>),
    /// It goes where it was going.
    Baseline(Reason),
    /// It is answered with an error.
    Refused(Reason),
}

/// A [`Verdict`] with what evidence and the next proxy need. The default one is that of a request without a key.
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

impl Default for Decision {
    fn default() -> Self {
        Self::baseline(Reason::NoKey)
    }
}

impl Decision {
    fn baseline(reason: Reason) -> Self {
        Self {
            verdict: Verdict::Baseline(reason),
            key: None,
            destination: None,
            marks: Marks::default(),
            decided: Decided::default(),
        }
    }
}

/// Decides for one request: the first of `keys` that has a route for where the request was going wins. `already` are the
/// values of [`DECIDED_FIELD`] in the request. Without a key it returns at once and touches no table.
#[inline]
pub fn decide<'a>(
    table: &RouteTable,
    keys: &Keys,
    place: &Place<'_>,
    already: impl IntoIterator<Item = &'a [u8]>,
) -> Decision {
    if keys.is_empty() {
        return Decision { marks: marks(keys), ..Decision::baseline(without_key(keys)) };
    }
    if !table.loaded() {
        return Decision { marks: marks(keys), ..Decision::baseline(Reason::NoTable) };
    }
    let standing = table.standing(place);
    let first = standing.as_ref().and_then(|standing| standing.destinations().first());
    let mut decision = match &standing {
        Some(standing) if decided::names_any(already, standing) => Decision::baseline(Reason::AlreadyDecided),
        _ => ask(table, keys, standing.as_ref()),
    };
    decision.marks = marks(keys);
    decision.destination = decision.destination.or_else(|| first.cloned());
    decision
}

fn marks(keys: &Keys) -> Marks {
    Marks { malformed: keys.malformed, stale: false }
}

fn without_key(keys: &Keys) -> Reason {
    match keys {
        Keys { malformed: true, .. } => Reason::Malformed,
        Keys { over_limit: true, .. } => Reason::OverLimit,
        _ => Reason::NoKey,
    }
}

/// Asks one key after the other, and remembers the best reason for the case that none decides.
fn ask(table: &RouteTable, keys: &Keys, standing: Option<&Arc<Standing>>) -> Decision {
    let destinations = standing.map_or(&[][..], |standing| standing.destinations());
    let mut best = Decision::baseline(Reason::UnknownKey);
    for key in keys.iter() {
        let Some((known, answer)) =
            table.look_at(key, |routes| (routes.key.clone(), Answer::of(routes, destinations)))
        else {
            continue;
        };
        match answer {
            Answer::Route(route) => {
                return Decision {
                    destination: Some(route.destination.clone()),
                    decided: standing.map(|own| Decided::new(Arc::clone(own))).unwrap_or_default(),
                    verdict: Verdict::Sandbox(route),
                    key: Some(known),
                    ..best
                };
            }
            Answer::Refused(reason, destination) => {
                let verdict = Verdict::Refused(reason);
                return Decision { verdict, key: Some(known), destination: Some(destination), ..best };
            }
            Answer::Gone if best.verdict != Verdict::Baseline(Reason::Gone) => {
                best = Decision { key: Some(known), ..Decision::baseline(Reason::Gone) };
            }
            Answer::Nothing if best.verdict == Verdict::Baseline(Reason::UnknownKey) => {
                best = Decision { key: Some(known), ..Decision::baseline(Reason::NoRouteHere) };
            }
            Answer::Gone | Answer::Nothing => {}
        }
    }
    best
}

/// What one key says of the destinations that a place stands for.
enum Answer {
    Route(Arc<Route>),
    Refused(Reason, Destination),
    Gone,
    Nothing,
}

impl Answer {
    /// A route for any of `destinations` applies; two that differ are a conflict.
    fn of(key: &KeyRoutes, destinations: &[Destination]) -> Self {
        if key.gone {
            return Self::Gone;
        }
        let mut active: Option<&Arc<Route>> = None;
        let mut refused: Option<(Reason, &Destination)> = None;
        let mut gone = false;
        for route in destinations.iter().filter_map(|destination| key.route(destination)) {
            match (route.kind, active) {
                (RouteKind::Active, None) => active = Some(route),
                (RouteKind::Active, Some(other)) if other.leads_as(route) => {}
                (RouteKind::Active, Some(_)) | (RouteKind::Conflict, _) => {
                    refused = Some((Reason::Conflict, &route.destination));
                }
                (RouteKind::Unsupported, _) => {
                    refused = refused.or(Some((Reason::Unsupported, &route.destination)));
                }
                (RouteKind::Gone, _) => gone = true,
            }
        }
        match (refused, active) {
            (Some((reason, destination)), _) => Self::Refused(reason, destination.clone()),
            (None, Some(route)) => Self::Route(Arc::clone(route)),
            (None, None) if gone => Self::Gone,
            (None, None) => Self::Nothing,
        }
    }
}
