//! Digests of the compiled form, equal on every replica and every proxy.

use std::{fmt, ops::BitXor, str::FromStr};

use bellhop_api::watch::{EndpointProtocol, Fallback, KeyUnit, RouteState, RouteUnit};
use xxhash_rust::xxh3::xxh3_64;

use crate::compile::tidy;

/// A digest, written as 16 lower-case hex digits. That of a table is the exclusive or of those of its keys; 0 is that of
/// an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub u64);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 16 lower-case hex digits")]
pub struct DigestError;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(DigestError)
    }
}

impl BitXor for Digest {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

/// Digest of what `unit` means: independent of the order in which it lists things, of `unit.digest`, and of the names of
/// sandboxes. Control puts it into the unit; a proxy reports its own.
///
/// A value that this version does not know counts as unknown, so that a proxy that is too old for a route never reports
/// to hold it.
#[must_use]
pub fn digest(unit: &KeyUnit) -> Digest {
    let mut routes: Vec<_> = unit.routes.iter().collect();
    routes.sort_by(|a, b| a.destination.cmp(&b.destination));
    let mut canon = Vec::with_capacity(64 + 64 * routes.len());
    text(&mut canon, unit.key.as_str());
    canon.push(u8::from(unit.gone));
    routes.into_iter().for_each(|route| put_route(&mut canon, route));
    Digest(xxh3_64(&canon))
}

fn put_route(canon: &mut Vec<u8>, route: &RouteUnit) {
    text(canon, &route.destination.to_string());
    canon.push(match route.state {
        RouteState::Active => 0,
        RouteState::Gone => 1,
        RouteState::Conflict => 2,
        RouteState::Unknown => 255,
    });
    canon.push(match route.fallback {
        Fallback::None => 0,
        Fallback::Baseline => 1,
        Fallback::Unknown => 255,
    });
    canon.push(match route.protocol {
        EndpointProtocol::Same => 0,
        EndpointProtocol::Http1 => 1,
        EndpointProtocol::Http2 => 2,
        EndpointProtocol::Unknown => 255,
    });
    let mut requires: Vec<_> = route.requires.iter().collect();
    requires.sort_unstable();
    requires.dedup();
    count(canon, requires.len());
    requires.into_iter().for_each(|ability| text(canon, ability));
    let endpoints = tidy(&route.endpoints);
    count(canon, endpoints.len());
    endpoints.iter().for_each(|endpoint| text(canon, &endpoint.to_string()));
}

fn text(canon: &mut Vec<u8>, text: &str) {
    count(canon, text.len());
    canon.extend_from_slice(text.as_bytes());
}

fn count(canon: &mut Vec<u8>, count: usize) {
    canon.extend_from_slice(&(count as u64).to_le_bytes());
}
