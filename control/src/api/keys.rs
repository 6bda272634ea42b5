//! Whether a key is in force.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
};
use bellhop_api::{Problem, ProblemType, RoutingKey, answers::InForce};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{Failure, Shared, query::Strict};

/// A proxy that goes silent makes no noise: looked again at least this often while waiting.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait in one request.
const LONGEST: u32 = 300;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct InForceQuery {
    /// Answers when it is in force, or after this long.
    wait_seconds: Option<u32>,
}

pub(super) async fn in_force(
    State(api): Shared,
    Path(key): Path<String>,
    Strict(query): Strict<InForceQuery>,
) -> Result<Json<InForce>, Failure> {
    let invalid = |error| {
        Problem::new(ProblemType::Invalid, format!("{error}")).at("key", Some(&key), format!("{error}"))
    };
    let parsed: RoutingKey = key.parse().map_err(invalid)?;
    let control = &api.author.control;
    let wait = query.wait_seconds.unwrap_or(0).min(LONGEST);
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    let mut heard = control.registry.subscribe();
    let mut closing = api.closing.clone();
    loop {
        heard.borrow_and_update();
        let form = control.feed.key(parsed.as_str());
        let form = form
            .ok_or_else(|| Problem::new(ProblemType::NotFound, format!("no object has the key {parsed}")))?;
        let now = control.registry.in_force(&form);
        if now.in_force || Instant::now() >= deadline || *closing.borrow() {
            return Ok(Json(now));
        }
        let look = deadline.min(Instant::now() + LOOK);
        tokio::select! {
            // woken by a report, by the end, or by the clock: each time it is looked again
            _ = timeout_at(look, heard.changed()) => {}
            _ = closing.changed() => {}
        }
    }
}
