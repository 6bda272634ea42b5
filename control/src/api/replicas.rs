//! What other replicas ask. Closed to everybody who does not know the secret that replicas of one store share.

use std::time::Duration;

use axum::{Json, extract::State};
use bellhop_api::{
    Problem, ProblemType, RoutingKey,
    answers::{ReplicaInForce, ReplicaProxies},
};
use http::HeaderMap;

use super::{
    Api, Failure, Shared,
    query::{NoQuery, Parameters, Query, Strict},
};
use crate::replicas::SECRET;

/// The other replica waits for a second.
const CATCHES_UP_WITHIN: Duration = Duration::from_millis(700);

#[derive(Debug)]
pub(super) struct HoldsQuery {
    key: RoutingKey,
    digest: String,
    revision: u64,
}

impl Parameters for HoldsQuery {
    fn read(query: &mut Query) -> Option<Self> {
        let key = query.parsed("key", "must be a routing key", |text| text.parse().ok());
        let (digest, revision) = (query.text("digest"), query.number("revision", 0..=u64::MAX));
        let (key, digest) = (query.needed("key", key), query.needed("digest", digest));
        Some(Self { revision: query.needed("revision", revision)?, key: key?, digest: digest? })
    }
}

pub(super) async fn proxies(
    State(api): Shared,
    headers: HeaderMap,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Result<Json<ReplicaProxies>, Failure> {
    api.knows_secret(&headers)?;
    let control = &api.author.control;
    Ok(Json(control.registry.all(&control.feed.table_digest())))
}

pub(super) async fn in_force(
    State(api): Shared,
    headers: HeaderMap,
    Strict(query): Strict<HoldsQuery>,
) -> Result<Json<ReplicaInForce>, Failure> {
    api.knows_secret(&headers)?;
    let control = &api.author.control;
    control
        .shows(query.revision, CATCHES_UP_WITHIN)
        .await
        .map_err(|_| Problem::new(ProblemType::Unavailable, "this replica is behind"))?;
    let form = control.feed.key(query.key.as_str());
    Ok(Json(control.registry.holds(&query.key, &query.digest, form.as_ref())))
}

impl Api {
    pub(super) fn knows_secret(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if shows(headers, self.author.control.fleet.replicas().secret()) {
            return Ok(());
        }
        Err(Problem::new(ProblemType::Forbidden, "this is for other replicas of this store alone"))
    }
}

/// Who shows nothing knows no secret, whatever that is.
fn shows(headers: &HeaderMap, secret: Option<&str>) -> bool {
    let given = headers.get(SECRET).map(http::HeaderValue::as_bytes);
    given.zip(secret).is_some_and(|(given, secret)| !given.is_empty() && same(secret.as_bytes(), given))
}

/// Takes as long for a good beginning as for a bad one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_secret_is_shown_by_itself_alone_and_nothing_shows_none() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(SECRET), HeaderValue::from_static(value))])
        };
        assert!(shows(&with("secret"), Some("secret")));
        for (headers, secret) in [
            (HeaderMap::new(), Some("")),
            (with(""), Some("")),
            (HeaderMap::new(), None),
            (with(""), None),
            (HeaderMap::new(), Some("secret")),
            (with("secre"), Some("secret")),
            (with("Secret"), Some("secret")),
        ] {
            assert!(!shows(&headers, secret), "{headers:?} {secret:?}");
        }
    }
}
