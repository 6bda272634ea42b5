//! Routes as the proxy holds them: the table that requests read, and how far it can be trusted.
//!
//! One task on the housekeeping thread follows control's watch ([`watch`]), one tells control what is held ([`report`]),
//! one keeps the last table on disk ([`snapshot`]). Requests only ever read [`Tables`], and never wait.
//!
//! The last table stays in force whatever happens to control: nothing that control sends, or fails to send, empties it.

mod backoff;
mod control;
mod event;
mod follow;
mod held;
mod lines;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
mod report;
mod snapshot;
mod tables;
mod watch;

use std::{future::Future, path::PathBuf};

use bellhop_client::{BaseUrl, Credentials};
use tokio::time::Instant;

pub(crate) use self::tables::{Tables, WatchState};
use self::{control::Control, held::Held};
use crate::{config::Routing, telemetry::Housekeeping};

/// Where routes come from, and who this proxy is.
#[derive(Debug, Clone)]
struct Settings {
    control: Option<BaseUrl>,
    credentials: Credentials,
    id: String,
    workload: String,
    snapshot: Option<PathBuf>,
}

/// Routes that have not yet been followed: what [`prepare`] made, and [`Routes::run`] takes on.
#[derive(Debug)]
pub(crate) struct Routes {
    settings: Settings,
    held: Held,
}

/// Loads the snapshot, if there is one. Before the first connection is accepted, so that a restart without control
/// loses no route. `process` is the id of a proxy that takes another's place.
pub(crate) fn prepare(
    config: &Routing,
    process: Option<u32>,
    tables: &Tables,
    counters: &Housekeeping,
) -> Routes {
    let settings = Settings {
        control: config.control.clone(),
        credentials: config.credentials(),
        id: id(config.proxy_id.as_deref(), process),
        workload: config.workload.clone().unwrap_or_default(),
        snapshot: config.snapshot.clone(),
    };
    let held = Held::new(settings.snapshot.is_some());
    if let Some(file) = &settings.snapshot {
        snapshot::load(file, tables, counters, &held);
        // Whatever the file says was true when it was written; only control knows whether it still is.
        tables.set_stale(settings.control.is_some() && tables.loaded());
    }
    Routes { settings, held }
}

impl Routes {
    /// Follows control until `leaving`, then says goodbye, writes what is not yet kept, and returns within about a
    /// second. Meanwhile and afterwards the last table is in force.
    pub(crate) async fn run(
        self,
        tables: &Tables,
        counters: &Housekeeping,
        leaving: impl Future<Output = ()>,
        ended: impl Future<Output = ()>,
    ) {
        let house = House { tables, counters, held: &self.held, started: Instant::now() };
        let Settings { control, credentials, id, .. } = &self.settings;
        let control = control.clone().map(|url| Control::new(url, credentials.clone(), id));
        let watching = async {
            match &control {
                Some(control) => tokio::select! {
                    () = watch::watch(control, &house) => {}
                    () = watch::mark_stale(&house) => {}
                    () = ended => {}
                },
                None => ended.await,
            }
            self.held.end();
        };
        let reporting = async {
            if let Some(control) = &control {
                report::report(control, &house, &self.settings.workload, leaving).await;
            }
        };
        let keeping = async {
            if let Some(file) = &self.settings.snapshot {
                snapshot::keep(file, &house).await;
            }
        };
        tokio::join!(watching, reporting, keeping);
    }
}

/// What the tasks of this room share; they run on one thread.
#[derive(Debug, Clone, Copy)]
struct House<'a> {
    tables: &'a Tables,
    counters: &'a Housekeeping,
    held: &'a Held,
    started: Instant,
}

/// A proxy that takes another's place has its name for a while beside it; one name for both would have each cut the
/// other's watch, and be heard for both.
fn id(told: Option<&str>, process: Option<u32>) -> String {
    const ROOM: usize = 253 - ".4294967295".len();
    match (told, process) {
        (Some(told), None) => told.to_owned(),
        (Some(told), Some(process)) => {
            format!("{}.{process}", told.chars().take(ROOM).collect::<String>())
        }
        (None, _) => default_id(),
    }
}

/// Host name and process id: unique enough without anybody's doing, and readable in `bellhop proxies`.
fn default_id() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    format!("{}-{}", name.chars().take(200).map(allowed).collect::<String>(), std::process::id())
}

/// Why a stream of the watch ended, or could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// Control could not be reached.
    Unreachable,
    /// Files with the token or with certificates cannot be used.
    Credentials,
    /// Control answered with another status than 200.
    Status,
    /// Control closed the stream, between two lines.
    Closed,
    /// The stream broke, or ended in the middle of a line.
    HalfLine,
    /// Nothing came for 15 s.
    Silent,
    /// A line was no event.
    Garbage,
    /// A line was longer than allowed.
    TooLong,
    /// An event stood where none of its kind may stand.
    OutOfOrder,
    /// The position is older than what is held, within the same epoch.
    Older,
    /// A unit does not compile.
    BadUnit,
}

impl WatchEnd {
    /// All texts, in the order of declaration.
    pub(crate) const TEXTS: &[&str] = &[
        "unreachable",
        "credentials",
        "status",
        "closed",
        "half-line",
        "silent",
        "garbage",
        "too-long",
        "out-of-order",
        "older",
        "bad-unit",
    ];

    /// The end as it stands in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        Self::TEXTS.get(self as usize).copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests;
