//! Waits until a key is in force: every proxy that control has heard of lately holds the key's newest form.

use std::{io::IsTerminal as _, time::Duration};

use bellhop_api::{Kind, RoutingKey, answers::InForce};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{
    Session,
    objects::{called, encode, fetch},
};
use crate::{args::WaitFor, exit::Failure, output};

/// The pause between two questions grows from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Waits for an object's key.
pub(super) async fn object(session: &Session, kind: Kind, what: &WaitFor) -> Result<(), Failure> {
    let object = fetch(session, kind, &session.namespace, &what.name).await?;
    let key = object.status().and_then(|status| status.routing_key.clone()).ok_or_else(|| {
        Failure::Refused(format!("{} has no routing key", called(kind, &session.namespace, &what.name)))
    })?;
    key_in_force(session, &key, what.timeout.timeout).await
}

/// Waits for one key, and prints how many proxies were counted, for whom it waited and whom it lost.
///
/// # Errors
/// [`Failure::TimedOut`] where time runs out first.
pub(super) async fn key_in_force(
    session: &Session,
    key: &RoutingKey,
    timeout: Duration,
) -> Result<(), Failure> {
    let path = format!("/v1/keys/{}/in-force", encode(key.as_str()));
    let progress = Progress::new(session.quiet);
    let deadline = Instant::now() + timeout;
    let mut pause = PAUSE.0;
    loop {
        let now: InForce = session.client.get(&path).await?;
        if now.in_force {
            progress.clear();
            if !session.quiet {
                output::line(&format!("{key} is in force on {}{}", proxies(now.proxies), lost(&now)));
            }
            return Ok(());
        }
        let open = still_open(&now);
        progress.say(&format!("{key}: {open}"));
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            progress.clear();
            return Err(Failure::TimedOut(format!(
                "{key} is not in force after {}: {open}",
                humantime::format_duration(timeout)
            )));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn proxies(count: u64) -> String {
    if count == 1 { "1 proxy".to_owned() } else { format!("{count} proxies") }
}

fn lost(now: &InForce) -> String {
    if now.lost.is_empty() { String::new() } else { format!("; lost: {}", now.lost.join(", ")) }
}

fn still_open(now: &InForce) -> String {
    if now.proxies == 0 {
        return format!(
            "control has heard of no proxy yet{}; start one with --control, and see `bellhop proxies`",
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
