//! Following control's watch: one stream after another, for as long as the proxy lives.

use std::{error::Error, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    House, WatchEnd, WatchState,
    backoff::Backoff,
    control::{Control, ControlError},
    event,
    follow::Follower,
    lines::Lines,
    tables::SILENCE,
};

/// How often a fault that lasts is logged.
const REMIND: Duration = Duration::from_secs(60);

/// How a stream ended.
struct End {
    cause: WatchEnd,
    /// It had come as far as following, so control is well.
    good: bool,
    retry_after: Option<Duration>,
    /// What is held cannot be resumed from: ask for a list.
    forget_since: bool,
    /// For people, where the cause alone says too little.
    detail: Option<String>,
}

impl From<WatchEnd> for End {
    fn from(cause: WatchEnd) -> Self {
        Self { cause, good: false, retry_after: None, forget_since: false, detail: None }
    }
}

/// Watches, and never returns.
pub(super) async fn watch(control: &Control, house: &House<'_>) {
    let mut backoff = Backoff::default();
    let mut told: Option<(WatchEnd, Instant)> = None;
    let mut list = false;
    loop {
        house.tables.set_watch_state(WatchState::Connecting);
        let end = stream(control, house, list).await;
        house.counters.watch_ends.with_label_values(&[end.cause.as_str()]).inc();
        if end.good {
            // A peer that was well and then talked nonsense is not asked again at once.
            if matches!(end.cause, WatchEnd::Closed | WatchEnd::HalfLine | WatchEnd::Silent) {
                backoff.reset();
            }
            told = None;
        }
        list = end.forget_since;
        let wait = backoff.next(end.retry_after);
        let cause = end.cause.as_str();
        if told.is_none_or(|(before, at)| before != end.cause || at.elapsed() > REMIND) {
            let detail = end.detail.as_deref();
            tracing::warn!(cause, detail, ?wait, "the watch ended; the last table stays in force");
            told = Some((end.cause, Instant::now()));
        } else {
            tracing::debug!(cause, ?wait, "the watch ended again");
        }
        house.tables.set_watch_state(WatchState::Connecting);
        sleep(wait).await;
    }
}

/// One stream, to its end.
async fn stream(control: &Control, house: &House<'_>, list: bool) -> End {
    let position = house.tables.position().filter(|_| !list);
    let body = match control.watch(position.as_ref().map(|position| position.token.as_str())).await {
        Ok(body) => body,
        Err(ControlError::Status { status, retry_after }) => {
            tracing::debug!(%status, "control does not give the watch");
            // 4xx that speaks of the request itself: perhaps of the token.
            let forget_since = matches!(status, StatusCode::BAD_REQUEST | StatusCode::GONE);
            let detail = Some(format!("control answers {status}"));
            return End { retry_after, forget_since, detail, ..WatchEnd::Status.into() };
        }
        Err(error @ ControlError::Credentials(_)) => {
            return End { detail: Some(error.to_string()), ..WatchEnd::Credentials.into() };
        }
        Err(error @ ControlError::Unreachable(_)) => {
            return End { detail: Some(deepest(&error)), ..WatchEnd::Unreachable.into() };
        }
    };
    let mut follower = Follower::new(house, position.is_none());
    let cause = read(body, house, &mut follower).await;
    End { good: follower.is_following(), ..cause.into() }
}

/// What is at the bottom of an error: "connection refused" rather than "control cannot be reached".
fn deepest(mut error: &dyn Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

async fn read(mut body: Incoming, house: &House<'_>, follower: &mut Follower<'_>) -> WatchEnd {
    let mut lines = Lines::default();
    let mut last_line = Instant::now();
    loop {
        match lines.next() {
            Ok(Some(line)) => match apply(&line, house, follower) {
                Ok(()) => last_line = Instant::now(),
                Err(cause) => return cause,
            },
            Ok(None) => match timeout_at(last_line + SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.data_ref().into_iter().for_each(|data| lines.push(data)),
                Ok(Some(Err(_))) => return WatchEnd::HalfLine,
                Ok(None) if lines.in_a_line() => return WatchEnd::HalfLine,
                Ok(None) => return WatchEnd::Closed,
                Err(_) => return WatchEnd::Silent,
            },
            Err(cause) => return cause,
        }
    }
}

fn apply(line: &[u8], house: &House<'_>, follower: &mut Follower<'_>) -> Result<(), WatchEnd> {
    let line = event::read(line).map_err(|error| {
        // The error names the place, and at most a word of what stands there.
        tracing::debug!(%error, "control sent what is no event");
        WatchEnd::Garbage
    })?;
    let skipped =
        [("type", line.skipped.types), ("unit", line.skipped.units), ("field", line.skipped.fields)];
    for (what, count) in skipped {
        house.counters.watch_skipped.with_label_values(&[what]).inc_by(count);
    }
    if let Some(event) = line.event {
        let kind = event::kind(&event);
        follower.apply(event)?;
        house.counters.watch_events.with_label_values(&[kind]).inc();
    }
    house.tables.set_heard(Instant::now());
    if follower.is_following() && house.tables.set_stale(false) {
        tracing::info!("control is heard again; decisions are not stale any more");
    }
    Ok(())
}

/// Marks the table stale when control has not been heard for a while. Never returns.
pub(super) async fn mark_stale(house: &House<'_>) {
    loop {
        let since = house.tables.heard().unwrap_or(house.started);
        if since.elapsed() < SILENCE {
            sleep_until(since + SILENCE).await;
            continue;
        }
        if house.tables.set_stale(true) {
            tracing::warn!("control has not been heard for 15 s; keyed decisions are marked stale");
        }
        sleep(Duration::from_secs(1)).await;
    }
}
