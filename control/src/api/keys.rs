//! Whether a key is in force.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
};
use bellhop_api::{Problem, ProblemType, RoutingKey, answers::InForce};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Failure, Shared,
    query::{Parameters, Query, Strict},
};
use crate::{
    control::Control, feed::KeyForm, registry::Waiting, replicas::Question, server::Phase, store::StoreError,
};

/// Other replicas are asked again after so long at first, and then ever more seldom.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait in one request.
const LONGEST: u32 = 300;

#[derive(Debug)]
pub(super) struct InForceQuery {
    /// Answers when it is in force, or after this long.
    wait_seconds: Option<u32>,
}

impl Parameters for InForceQuery {
    fn read(query: &mut Query) -> Option<Self> {
        Some(Self { wait_seconds: query.number("waitSeconds", 0..=u32::MAX) })
    }
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
    let mut phase = api.phase.clone();
    let mut pause = SHORTEST_PAUSE;
    // a form that another replica has acknowledged is the newest here too
    control.fresh().await.map_err(|error| unknown(&error))?;
    loop {
        heard.borrow_and_update();
        let form = control.feed.key(parsed.as_str());
        let form = form
            .ok_or_else(|| Problem::new(ProblemType::NotFound, format!("no object has the key {parsed}")))?;
        let (now, alone) = judge(control, &form).await?;
        if now.in_force || Instant::now() >= deadline || *phase.borrow() != Phase::Serving {
            return Ok(Json(now));
        }
        if alone {
            let waiting = Waiting::new(&control.registry, &form, now.waiting_for);
            something_new(control, waiting, (&mut heard, &mut phase), deadline).await;
            continue;
        }
        tokio::select! {
            () = sleep_until(deadline.min(Instant::now() + pause)) => pause = LONGEST_PAUSE.min(pause * 2),
            _ = phase.changed() => {}
        }
    }
}

/// Returns when it is worth while to look at all proxies again: woken by a report, by the end, or by the clock.
async fn something_new(
    control: &Control,
    mut waiting: Waiting,
    (heard, phase): (&mut watch::Receiver<u64>, &mut watch::Receiver<Phase>),
    deadline: Instant,
) {
    loop {
        tokio::select! {
            _ = timeout_at(deadline.min(waiting.look()), heard.changed()) => {}
            _ = phase.changed() => return,
        }
        let newest = control.feed.key(waiting.key().as_str());
        if Instant::now() >= deadline || waiting.is_over(&control.registry, newest.as_ref()) {
            return;
        }
    }
}

/// Whether a form of a key is in force, and whether this replica is the only one.
async fn judge(control: &Control, form: &KeyForm) -> Result<(InForce, bool), Problem> {
    let others = control.others().await.map_err(|error| unknown(&error))?;
    if others.is_empty() && !control.registry.has_left_behind() {
        return Ok((control.registry.in_force(form), true));
    }
    let (key, digest) = (&form.unit.key, &*form.unit.digest);
    let question = Question::InForce { key, digest, revision: control.revision() };
    let told = control.fleet.ask(&others, &question).await;
    control.registry.remember(&told.answers, &others);
    let here = control.registry.holds(key, digest, Some(form));
    Ok((control.registry.judge(form, here, told), others.is_empty()))
}

fn unknown(error: &StoreError) -> Problem {
    Problem::new(ProblemType::Unavailable, format!("what is in force cannot be known now: {error}"))
}
