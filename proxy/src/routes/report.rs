//! Telling control what is held: at once after a change, at most five times a second, else every 10 s.

use std::{collections::BTreeSet, error::Error, future::Future, time::Duration};

use bellhop_api::{RoutingKey, report::ProxyReport};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    House,
    backoff::Backoff,
    control::{Control, ControlError},
};

const EVERY: Duration = Duration::from_secs(10);
/// Reports are so far apart in the long run. One more may follow at once, since what comes in two lines should not keep
/// the next change waiting: five in any second.
const APART: Duration = Duration::from_millis(250);
/// How long leaving may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Keys of one report; the rest follow in the next ones.
const MOST_KEYS: usize = 500;

/// Reports until `leaving`; then says goodbye and returns.
pub(super) async fn report(
    control: &Control,
    house: &House<'_>,
    workload: &str,
    leaving: impl Future<Output = ()>,
) {
    tokio::select! {
        () = keep_reporting(control, house, workload) => {}
        () = leaving => {}
    }
    let goodbye = ProxyReport { goodbye: true, ..compose(house, workload, &BTreeSet::new()) };
    match timeout(GOODBYE, control.report(&goodbye)).await {
        Ok(outcome) => count(house, &outcome),
        Err(_) => house.counters.reports.with_label_values(&["failed"]).inc(),
    }
}

async fn keep_reporting(control: &Control, house: &House<'_>, workload: &str) {
    let mut backoff = Backoff::default();
    let mut told = false;
    let mut pace = Pace::new();
    loop {
        let next = pace.next(Instant::now());
        let keys = house.held.take_unreported(MOST_KEYS);
        let outcome = control.report(&compose(house, workload, &keys)).await;
        count(house, &outcome);
        match outcome {
            Ok(()) => {
                backoff.reset();
                told = false;
                sleep_until(next).await;
                tokio::select! {
                    () = house.held.report_due() => {}
                    () = sleep(EVERY) => {}
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn Error, "control was not told what is held");
                house.held.untaken(keys);
                let asked = match error {
                    ControlError::Status { status, retry_after } => {
                        // otherwise nobody would know why nothing comes in force
                        if status.is_client_error() && !std::mem::replace(&mut told, true) {
                            tracing::warn!(%status, "control refuses this proxy's reports, and waits for it in vain");
                        }
                        retry_after
                    }
                    ControlError::Unreachable(_) | ControlError::Credentials(_) => None,
                };
                sleep_until(next).await;
                sleep(backoff.next(asked)).await;
            }
        }
    }
}

/// When the next report may go.
struct Pace {
    /// When the one after the next may, if none goes before.
    after_next: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { after_next: Instant::now() }
    }

    /// Takes note of a report that goes `now`.
    fn next(&mut self, now: Instant) -> Instant {
        let next = self.after_next.max(now);
        self.after_next = next + APART;
        next
    }
}

/// What is held now, and of `keys` in particular.
fn compose(house: &House<'_>, workload: &str, keys: &BTreeSet<RoutingKey>) -> ProxyReport {
    let position = house.tables.position();
    let table = house.tables.current();
    let digest = |key: &RoutingKey| table.key(key.as_str()).map(|routes| routes.digest.to_string());
    ProxyReport {
        workload: workload.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        position: position.as_deref().cloned(),
        table_digest: table.digest().to_string(),
        keys: table.len() as u64,
        digests: keys.iter().map(|key| (key.clone(), digest(key))).collect(),
        goodbye: false,
    }
}

fn count(house: &House<'_>, outcome: &Result<(), ControlError>) {
    let outcome = match outcome {
        Ok(()) => "accepted",
        Err(ControlError::Status { .. }) => "refused",
        Err(ControlError::Unreachable(_) | ControlError::Credentials(_)) => "failed",
    };
    house.counters.reports.with_label_values(&[outcome]).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments in milliseconds at which reports go that are always due.
    #[tokio::test(start_paused = true)]
    async fn one_report_may_follow_at_once_and_there_are_five_in_any_second_at_most() {
        let (begin, mut pace, mut times) = (Instant::now(), Pace::new(), Vec::new());
        for _ in 0..20 {
            let now = Instant::now();
            times.push(now.duration_since(begin).as_millis());
            sleep_until(pace.next(now)).await;
        }
        assert_eq!(times.get(..4), Some(&[0, 0, 250, 500][..]));
        assert!(
            times.windows(6).all(|some| some.last() >= some.first().map(|first| first + 1000).as_ref()),
            "{times:?}"
        );
        // Whoever was silent for long has no more than that.
        sleep(10 * EVERY).await;
        let now = Instant::now();
        assert_eq!(pace.next(now), now);
        assert_eq!(pace.next(now), now + APART);
    }
}
