//! Waits until a key is in force: every proxy that control has heard of lately holds the key's newest form.

use std::{io::IsTerminal as _, time::Duration};

use bellhop_api::{Kind, Phase, RoutingKey, answers::InForce};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, timeout_at};

use super::{
    Session,
    objects::{called, encode, fetch},
};
use crate::{args::WaitFor, exit::Failure, output};

/// Control answers as soon as it is in force, else after so long: then whom it waits for is told anew.
const EACH_SECONDS: u32 = 1;
/// Nobody waits longer; and no clock goes on for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Waits for an object's key.
pub(super) async fn object(session: &Session, kind: Kind, what: &WaitFor) -> Result<(), Failure> {
    let object = fetch(session, kind, &session.namespace, &what.name).await?;
    if object.status().is_some_and(|status| status.phase == Phase::Expired) {
        return Err(Failure::Refused(format!(
            "{} has expired and routes nothing; apply or renew it first",
            called(kind, &session.namespace, &what.name)
        )));
    }
    let conditions = object.status().map_or(&[][..], |status| &status.conditions);
    if let Some(taken) = conditions.iter().find(|condition| condition.kind == "KeyConflict") {
        let name = called(kind, &session.namespace, &what.name);
        return Err(Failure::Refused(format!("{name} routes nothing: {}", taken.message)));
    }
    let key = object.status().and_then(|status| status.routing_key.clone()).ok_or_else(|| {
        Failure::Refused(format!("{} has no routing key", called(kind, &session.namespace, &what.name)))
    })?;
    let now = key_in_force(session, &key, what.timeout.timeout).await?;
    if session.output.is_for_people() {
        Ok(())
    } else {
        output::print(session.output, &now, |_| String::new())
    }
}

/// Waits for one key, and prints how many proxies were counted, for whom it waited and whom it lost.
///
/// # Errors
/// [`Failure::TimedOut`] where time runs out first.
pub(super) async fn key_in_force(
    session: &Session,
    key: &RoutingKey,
    timeout: Duration,
) -> Result<InForce, Failure> {
    let path = format!("/v1/keys/{}/in-force", encode(key.as_str()));
    let progress = Progress::new(session.quiet);
    let deadline = Instant::now() + timeout.min(LONGEST);
    let mut now: InForce = session.client.get(&path).await?;
    while !now.in_force {
        let open = still_open(&now);
        progress.say(&format!("{key}: {open}"));
        let next = format!("{path}?waitSeconds={EACH_SECONDS}");
        let Ok(answer) = timeout_at(deadline, session.client.get(&next)).await else {
            progress.clear();
            return Err(Failure::TimedOut(format!(
                "{key} is not in force after {}: {open}",
                humantime::format_duration(timeout)
            )));
        };
        now = answer?;
    }
    progress.clear();
    session.say(&format!("{key} is in force on {}{}", proxies(now.proxies), lost(&now)));
    Ok(now)
}

fn proxies(count: u64) -> String {
    if count == 1 { "1 proxy".to_owned() } else { format!("{count} proxies") }
}

fn lost(now: &InForce) -> String {
    if now.lost.is_empty() { String::new() } else { format!("; lost: {}", now.lost.join(", ")) }
}

/// What is open where a key is not in force, in words.
pub(crate) fn still_open(now: &InForce) -> String {
    if !now.unanswered.is_empty() {
        return format!(
            "{} counted; control replicas that do not answer: {}{}",
            proxies(now.proxies),
            now.unanswered.join(", "),
            lost(now)
        );
    }
    if now.proxies == 0 {
        return format!(
            "control has heard of no proxy yet{}; start one with --control, and see `bellhop proxies`",
            lost(now)
        );
    }
    if now.waiting_for.is_empty() {
        return format!(
            "{} counted; control has just started, and gives others a moment to come back{}",
            proxies(now.proxies),
            lost(now)
        );
    }
    format!("{} counted, waiting for {}{}", proxies(now.proxies), now.waiting_for.join(", "), lost(now))
}

/// A line on a terminal that tells what is waited for; nothing elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
