//! Proxies: listed, and heard.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use bellhop_api::{Problem, ProblemType, answers::ProxyList, manifest::typed, report::ProxyReport};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::{
    Failure, Shared, body,
    query::{NoQuery, Strict},
};
use crate::{
    control::Control,
    registry::{TooMany, together},
    replicas::{Answers, Question, Replica},
};

/// The store says within this who else there is.
const LOOKS_WITHIN: Duration = Duration::from_secs(1);

/// What a proxy says of itself for people is kept up to so many characters.
const MOST_CHARS: usize = 253;
/// A digest is 16 hex digits.
const DIGEST_BYTES: usize = 16;

pub(super) async fn list(State(api): Shared, Strict(NoQuery {}): Strict<NoQuery>) -> Json<ProxyList> {
    let control = &api.author.control;
    let others = others(control).await;
    Json(ask_all(control, &others).await)
}

/// The other replicas. What others there are is known well enough while the store does not say.
pub(super) async fn others(control: &Control) -> Vec<Replica> {
    match timeout(LOOKS_WITHIN, control.others()).await {
        Ok(Ok(others)) => others,
        Ok(Err(_)) | Err(_) => control.fleet.last_known(),
    }
}

/// The proxies of this replica and of others.
pub(super) async fn ask_all(control: &Control, others: &[Replica]) -> ProxyList {
    let newest = control.feed.table_digest();
    if others.is_empty() {
        return ProxyList { items: control.registry.list(&newest), unanswered: Vec::new() };
    }
    let Answers { answers, unanswered } = control.fleet.ask(others, &Question::Proxies).await;
    let mut parts: Vec<_> = answers.into_iter().map(|answer| answer.said).collect();
    parts.push(control.registry.all(&newest));
    ProxyList { items: together(parts), unanswered }
}

pub(super) async fn report(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    check_id(&id)?;
    let mut report: ProxyReport = typed(body::json(&headers, body, &["application/json"]).await?)?;
    check_sizes(&mut report)?;
    api.stands()?;
    let control = &api.author.control;
    if let Some(seen) = report.position.as_ref().and_then(|position| control.feed.is_behind(position)) {
        control.doubt_epoch(seen).await;
    }
    control
        .registry
        .report(&id, report, &*control.feed, control.clock.now())
        .map_err(|error| too_many(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// An id is 1 to 253 of `A-Z a-z 0-9 . _ -`.
pub(super) fn check_id(id: &str) -> Result<(), Problem> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=253).contains(&id.len()) && id.bytes().all(good) {
        return Ok(());
    }
    let rule = "a proxy's id is 1 to 253 of A-Z a-z 0-9 . _ -";
    Err(Problem::new(ProblemType::Invalid, rule).at("id", Some(id), rule))
}

/// What is kept of a proxy is small, whatever it sends: texts for people are cut, digests that are none refused.
fn check_sizes(report: &mut ProxyReport) -> Result<(), Problem> {
    report.workload = report.workload.chars().take(MOST_CHARS).collect();
    report.version = report.version.chars().take(MOST_CHARS).collect();
    let digests = report.digests.values().flatten().map(|digest| ("digests", digest));
    for (field, digest) in digests.chain([("tableDigest", &report.table_digest)]) {
        if digest.len() > DIGEST_BYTES {
            let rule = format!("{} bytes; a digest has {DIGEST_BYTES}", digest.len());
            let problem = Problem::new(ProblemType::Invalid, format!("{field}: {rule}"));
            return Err(problem.at(field, Some(digest), rule));
        }
    }
    Ok(())
}

pub(super) fn too_many(error: &TooMany) -> Problem {
    Problem::new(ProblemType::Unavailable, error.to_string())
}
