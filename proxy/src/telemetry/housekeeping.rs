//! What the housekeeping thread counts: the watch, reports, the snapshot, and who was turned away from the proxy's own
//! listeners.

use prometheus::{
    IntCounterVec, Opts, Registry,
    proto::{MetricFamily, MetricType},
};

use super::scrape::{counter, family, gauge, pair};

/// Counters of what is rare. Their labels take values from the closed sets that are named beside each.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    registry: Registry,
    /// Streams of the watch that ended, by [`WatchEnd`](crate::routes::WatchEnd).
    pub(crate) watch_ends: IntCounterVec,
    /// Lines of the watch that were understood, by type.
    pub(crate) watch_events: IntCounterVec,
    /// Parts of lines that were skipped: `type`, `unit`, `field`.
    pub(crate) watch_skipped: IntCounterVec,
    /// Reports to control: `accepted`, `refused`, `failed`.
    pub(crate) reports: IntCounterVec,
    /// Attempts to read the snapshot: `loaded`, `absent`, `corrupt`, `unreadable`.
    pub(crate) snapshot_reads: IntCounterVec,
    /// Attempts to write the snapshot: `written`, `failed`.
    pub(crate) snapshot_writes: IntCounterVec,
    /// Successors that asked for the sockets: `completed`, `abandoned`, `refused`.
    pub(crate) handovers: IntCounterVec,
    /// Requests to the proxy's own listeners that were refused: `host`, `origin`.
    pub(crate) admin_refused: IntCounterVec,
    /// What became of spans.
    pub(super) spans: IntCounterVec,
}

impl Housekeeping {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let made = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = counters(name, help, label);
            values.iter().for_each(|value| counters.with_label_values(&[value]).reset());
            let _ = registry.register(Box::new(counters.clone()));
            counters
        };
        Self {
            watch_ends: made(
                "bellhop_proxy_watch_ends_total",
                "Streams of routes that ended, or could not be had, and why. The last table stays in force.",
                "cause",
                crate::routes::WatchEnd::TEXTS,
            ),
            watch_events: made(
                "bellhop_proxy_watch_events_total",
                "Lines of the watch that were understood.",
                "type",
                &["reset", "put", "delete", "synced", "bookmark", "ask"],
            ),
            watch_skipped: made(
                "bellhop_proxy_watch_skipped_total",
                "Parts of the watch that this version does not know and skipped: whole lines (type), units, fields.",
                "what",
                &["type", "unit", "field"],
            ),
            reports: made(
                "bellhop_proxy_reports_total",
                "Reports to control of what this proxy holds.",
                "outcome",
                &["accepted", "refused", "failed"],
            ),
            snapshot_reads: made(
                "bellhop_proxy_snapshot_reads_total",
                "Attempts to read the routes that an earlier run kept.",
                "outcome",
                &["loaded", "absent", "corrupt", "unreadable"],
            ),
            snapshot_writes: made(
                "bellhop_proxy_snapshot_writes_total",
                "Attempts to keep the routes for a restart.",
                "outcome",
                &["written", "failed"],
            ),
            handovers: made(
                "bellhop_proxy_handovers_total",
                "Successors that asked for the listening sockets, and what came of it.",
                "outcome",
                &["completed", "abandoned", "refused"],
            ),
            admin_refused: made(
                "bellhop_proxy_admin_refused_total",
                "Requests to the proxy's own listeners that were refused: a Host that is not loopback, or an Origin.",
                "cause",
                &["host", "origin"],
            ),
            spans: made(
                "bellhop_proxy_spans_total",
                "Spans: exported, failed (the receiver did not take them), dropped (more than may wait for it).",
                "outcome",
                &bellhop_spans::OUTCOMES,
            ),
            registry,
        }
    }

    pub(super) fn families(&self, log_lines_dropped: u64) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        families.push(build_info());
        let help = "Lines of the access log that were dropped, because nobody read as fast as requests came.";
        let name = "bellhop_proxy_access_log_dropped_total";
        families.push(family(name, help, MetricType::COUNTER, vec![counter(Vec::new(), log_lines_dropped)]));
        families
    }
}

#[expect(clippy::expect_used, reason = "names and labels are constants of this file")]
fn counters(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &[label])
        .expect("the name and the label follow Prometheus' rules")
}

fn build_info() -> MetricFamily {
    let one = gauge(vec![pair("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let help = "Always 1; the labels say what runs.";
    family("bellhop_proxy_build_info", help, MetricType::GAUGE, vec![one])
}
