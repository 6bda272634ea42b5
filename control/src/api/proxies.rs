//! Proxies: listed, and heard.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use bellhop_api::{Problem, ProblemType, answers::ProxyList, manifest::typed, report::ProxyReport};
use http::{HeaderMap, StatusCode};

use super::{
    Failure, Shared, body,
    query::{NoQuery, Strict},
};
use crate::registry::TooMany;

pub(super) async fn list(State(api): Shared, Strict(NoQuery {}): Strict<NoQuery>) -> Json<ProxyList> {
    let control = &api.author.control;
    Json(ProxyList { items: control.registry.list(&control.feed.table_digest()) })
}

pub(super) async fn report(
    State(api): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    check_id(&id)?;
    let report: ProxyReport = typed(body::json(&headers, body, &["application/json"]).await?)?;
    check_sizes(&report)?;
    let control = &api.author.control;
    if let Some(position) = &report.position {
        control.feed.compare(position);
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

/// What is kept of a proxy is small, whatever it sends.
fn check_sizes(report: &ProxyReport) -> Result<(), Problem> {
    let texts = [
        ("workload", &*report.workload, 253),
        ("version", &*report.version, 64),
        ("tableDigest", &*report.table_digest, 16),
    ];
    let digests = report.digests.values().flatten().map(|digest| ("digests", &**digest, 16));
    for (field, text, most) in texts.into_iter().chain(digests) {
        if text.len() > most {
            let rule = format!("{} bytes; at most {most} are allowed", text.len());
            return Err(Problem::new(ProblemType::Invalid, format!("{field}: {rule}")).at(
                field,
                Some(text),
                rule,
            ));
        }
    }
    Ok(())
}

pub(super) fn too_many(error: &TooMany) -> Problem {
    Problem::new(ProblemType::Unavailable, error.to_string())
}
