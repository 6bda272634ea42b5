//! How the whole stands: replicas, store, objects, proxies. It changes nothing, and waits a second at most.

use std::time::Duration;

use axum::{Json, extract::State};
use bellhop_api::{
    Kind,
    answers::{ObjectCounts, ProxyCounts, ProxyInfo, ProxyState, ReplicaStatus, StoreStatus, SystemStatus},
};
use http::HeaderMap;
use tokio::time::timeout;

use super::{
    Failure, Shared,
    proxies::{ask_all, others},
    query::{NoQuery, Strict},
};
use crate::{control::Control, replicas::Question};

/// The store says within this what is newest.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// A proxy that is heard takes longer than this for no change: it does not follow.
const FOLLOWS_WITHIN_SECONDS: u64 = 30;

pub(super) async fn status(State(api): Shared, Strict(NoQuery {}): Strict<NoQuery>) -> Json<SystemStatus> {
    let control = &api.author.control;
    let (others, newest) = tokio::join!(others(control), timeout(ANSWERS_WITHIN, control.store.newest()));
    let newest = newest.ok().and_then(Result::ok);
    let (listed, told) =
        tokio::join!(ask_all(control, &others), control.fleet.ask(&others, &Question::Status));
    let mut replicas = vec![control.replica_status()];
    for other in others {
        let mut told = told.answers.iter().map(|answer| &answer.said);
        let told = told.find(|told: &&ReplicaStatus| told.id == other.id).cloned();
        let told = told.unwrap_or(ReplicaStatus { id: other.id, ..ReplicaStatus::default() });
        replicas.push(ReplicaStatus { address: Some(other.url), ..told });
    }
    let fault = control.write_fault();
    let store = StoreStatus {
        kind: control.store.kind().into(),
        epoch: control.feed.epoch().to_string(),
        revision: control.revision(),
        newest,
        healthy: newest.is_some() && fault.is_none(),
    };
    let mut problems = Vec::new();
    if newest.is_none() {
        problems.push("the store does not say what is newest".to_owned());
    }
    problems.extend(fault.map(|fault| format!("the last write to the store failed: {fault}")));
    problems.extend(replica_problems(&replicas));
    problems.extend(proxy_problems(&listed.items));
    Json(SystemStatus {
        healthy: problems.is_empty(),
        problems,
        store,
        replicas,
        objects: count_objects(control),
        proxies: count_proxies(&listed.items),
        items: listed.items,
    })
}

/// What one replica says of itself to another.
pub(super) async fn replica(
    State(api): Shared,
    headers: HeaderMap,
    Strict(NoQuery {}): Strict<NoQuery>,
) -> Result<Json<ReplicaStatus>, Failure> {
    api.knows_secret(&headers)?;
    Ok(Json(api.author.control.replica_status()))
}

impl Control {
    fn replica_status(&self) -> ReplicaStatus {
        let replicas = self.fleet.replicas();
        ReplicaStatus {
            id: replicas.id().to_owned(),
            address: replicas.url().map(str::to_owned),
            answers: true,
            holds_lease: Some(replicas.holds_lease()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            uptime_seconds: Some(self.uptime().as_secs()),
            revision: Some(self.revision()),
        }
    }
}

fn replica_problems(replicas: &[ReplicaStatus]) -> Vec<String> {
    let silent = replicas.iter().filter(|replica| !replica.answers);
    let mut problems: Vec<_> = silent
        .map(|replica| {
            let at = replica.address.as_deref().unwrap_or_default();
            format!("replica {} at {at} does not answer within a second", replica.id)
        })
        .collect();
    // one that does not answer may hold it
    if problems.is_empty() && replicas.iter().all(|replica| replica.holds_lease != Some(true)) {
        problems.push("no replica holds the lease: what expires is not written down".into());
    }
    problems
}

/// Proxies that are heard and do not follow. Ones that are lost may be gone for good: they are counted, and no fault.
fn proxy_problems(proxies: &[ProxyInfo]) -> Option<String> {
    let stuck = |proxy: &&ProxyInfo| {
        let old = proxy.table_age_seconds.is_none_or(|age| age > FOLLOWS_WITHIN_SECONDS);
        proxy.state == ProxyState::Live && !proxy.current && old && !proxy.version.is_empty()
    };
    let count = proxies.iter().filter(stuck).count();
    let first = proxies.iter().find(stuck)?;
    Some(format!(
        "{count} connected proxies have had old routes for more than {FOLLOWS_WITHIN_SECONDS} s: {}{}",
        first.id,
        if count > 1 { ", …" } else { "" }
    ))
}

fn count_objects(control: &Control) -> ObjectCounts {
    let mut counts = ObjectCounts::default();
    for (name, _) in control.world().all().filter(|(_, held)| held.stored.deleted_until.is_none()) {
        match name.kind {
            Kind::Service => counts.services += 1,
            Kind::Sandbox => counts.sandboxes += 1,
            Kind::SandboxGroup => counts.groups += 1,
        }
    }
    counts
}

fn count_proxies(proxies: &[ProxyInfo]) -> ProxyCounts {
    let mut counts = ProxyCounts::default();
    for proxy in proxies {
        match (proxy.state, proxy.current) {
            (ProxyState::Lost, _) => counts.lost += 1,
            (ProxyState::Live | ProxyState::Unknown, current) => {
                counts.connected += 1;
                *(if current { &mut counts.current } else { &mut counts.behind }) += 1;
            }
        }
    }
    counts
}
