//! What control counts of itself, in Prometheus' text form. Labels take values from closed sets: paths are those of the
//! router, never what a caller sent.

use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use bellhop_api::{Kind, answers::ProxyState};
use jiff::Timestamp;

use crate::control::Control;

mod account;
pub(crate) mod spans;

pub(crate) use account::Account;

/// Prometheus' text form.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds. Reads take well below a millisecond; a write waits for the disk; in force waits for proxies.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Where something went wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreFault {
    /// A write was refused: somebody else was faster.
    Changed,
    /// A write failed.
    Commit,
    /// The watch of the store ended, and was begun anew.
    Watch,
    /// The store could not be listed.
    List,
}

impl StoreFault {
    const ALL: [Self; 4] = [Self::Changed, Self::Commit, Self::Watch, Self::List];

    fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Commit => "commit",
            Self::Watch => "watch",
            Self::List => "list",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    watchers: IntGauge,
    commits: IntCounterVec,
    faults: IntCounterVec,
    not_audited: IntCounter,
    pub(crate) spans: IntCounterVec,
    pub(crate) connections: Connections,
    now: Now,
}

/// What the server counts.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: IntGauge,
    pub(crate) refused: IntCounter,
}

/// What is read when somebody asks.
#[derive(Debug)]
struct Now {
    objects: IntGaugeVec,
    proxies: IntGaugeVec,
    keys: IntGauge,
    revision: IntGauge,
}

impl Default for Telemetry {
    fn default() -> Self {
        let registry = Registry::new();
        let telemetry = Self {
            requests: kept(&registry, IntCounterVec::new(
                Opts::new("bellhop_control_requests_total", "Requests that were answered; watches when they begin."),
                &["method", "path", "status_class"],
            )),
            durations: kept(&registry, HistogramVec::new(
                HistogramOpts::new(
                    "bellhop_control_request_duration_seconds",
                    "From a request's head to the head of its answer. Requests that wait for proxies take as long as those.",
                )
                .buckets(BUCKETS.to_vec()),
                &["method", "path"],
            )),
            watchers: kept(&registry, IntGauge::new("bellhop_control_watchers", "Watches of routes that are open.")),
            commits: kept(&registry, IntCounterVec::new(
                Opts::new("bellhop_control_store_commits_total", "Commits of the store that came back by its watch."),
                &[],
            )),
            faults: kept(&registry, IntCounterVec::new(
                Opts::new("bellhop_control_store_faults_total", "What went wrong with the store."),
                &["what"],
            )),
            not_audited: kept(&registry, IntCounter::new(
                "bellhop_control_audit_omitted_total",
                "Attempts to write of unknown callers that the audit log does not tell one by one.",
            )),
            spans: kept(&registry, IntCounterVec::new(
                Opts::new("bellhop_control_spans_total", "Spans by what became of them."),
                &["outcome"],
            )),
            connections: Connections::new(&registry),
            now: Now::new(&registry),
            registry,
        };
        telemetry.commits.with_label_values::<&str>(&[]).reset();
        bellhop_spans::OUTCOMES
            .iter()
            .for_each(|outcome| telemetry.spans.with_label_values(&[outcome]).reset());
        StoreFault::ALL
            .iter()
            .for_each(|fault| telemetry.faults.with_label_values(&[fault.as_str()]).reset());
        telemetry
    }
}

impl Connections {
    fn new(registry: &Registry) -> Self {
        Self {
            open: kept(registry, IntGauge::new("bellhop_control_connections", "Connections that are open.")),
            refused: kept(
                registry,
                IntCounter::new(
                    "bellhop_control_connections_refused_total",
                    "Connections that were closed at once: their address had too many.",
                ),
            ),
        }
    }

    /// A connection has begun; it ends with what is returned.
    pub(crate) fn open(&self) -> Held {
        Held::of(&self.open)
    }
}

impl Now {
    fn new(registry: &Registry) -> Self {
        let build = IntGaugeVec::new(Opts::new("bellhop_control_build_info", "Always 1."), &["version"]);
        kept(registry, build).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let started = kept(
            registry,
            Gauge::new(
                "bellhop_control_start_time_seconds",
                "When this process began, in seconds since 1970.",
            ),
        );
        started.set(Timestamp::now().as_millisecond() as f64 / 1000.0);
        Self {
            objects: kept(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "bellhop_control_objects",
                        "Objects, those included that have expired and are still shown.",
                    ),
                    &["kind"],
                ),
            ),
            proxies: kept(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "bellhop_control_proxies",
                        "Proxies that this replica has heard of. current: holds every route as it stands; behind: heard, \
                     not current; lost: not heard for 30 s.",
                    ),
                    &["state"],
                ),
            ),
            keys: kept(
                registry,
                IntGauge::new("bellhop_control_route_keys", "Keys that proxies are told of."),
            ),
            revision: kept(
                registry,
                IntGauge::new(
                    "bellhop_control_store_revision",
                    "The store's revision that the routes stand at.",
                ),
            ),
        }
    }
}

/// A collector, registered. Names are constants of this file and each is there once: a test makes them all.
fn kept<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    #[expect(
        clippy::expect_used,
        reason = "names are constants; the first test that starts control would fail"
    )]
    let made = made.expect("a metric's name is valid");
    if let Err(error) = registry.register(Box::new(made.clone())) {
        tracing::error!(%error, "a metric is not shown");
    }
    made
}

/// A request, by the path that the router has matched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a http::Method,
    /// `None`: there is no such path.
    pub(crate) path: Option<&'a str>,
}

impl Telemetry {
    /// A request was answered.
    pub(crate) fn answered(&self, asked: Asked<'_>, status: http::StatusCode, took: Duration) {
        let method = method(asked.method);
        let path = asked.path.unwrap_or("none");
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[method, path, class]).inc();
        self.durations.with_label_values(&[method, path]).observe(took.as_secs_f64());
    }

    /// A watch has begun; it ends with what is returned.
    pub(crate) fn watcher(&self) -> Held {
        Held::of(&self.watchers)
    }

    /// An attempt to write was left out of the audit log.
    pub(crate) fn not_audited(&self) {
        self.not_audited.inc();
    }

    /// A commit came back.
    pub(crate) fn committed(&self) {
        self.commits.with_label_values::<&str>(&[]).inc();
    }

    /// Something went wrong with the store.
    pub(crate) fn fault(&self, what: StoreFault) {
        self.faults.with_label_values(&[what.as_str()]).inc();
    }

    /// All of it as text.
    pub(crate) fn render(&self, control: &Control) -> Vec<u8> {
        self.look(control);
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    fn look(&self, control: &Control) {
        let mut objects = [0_i64; 3];
        for (name, held) in control.world().all() {
            if held.stored.deleted_until.is_none() {
                let [services, sandboxes, groups] = &mut objects;
                *match name.kind {
                    Kind::Service => services,
                    Kind::Sandbox => sandboxes,
                    Kind::SandboxGroup => groups,
                } += 1;
            }
        }
        for (kind, count) in [Kind::Service, Kind::Sandbox, Kind::SandboxGroup].into_iter().zip(objects) {
            self.now.objects.with_label_values(&[&*kind.to_string()]).set(count);
        }
        let (mut current, mut behind, mut lost) = (0, 0, 0);
        for proxy in control.registry.list(&control.feed.table_digest()) {
            *match proxy.state {
                ProxyState::Live if proxy.current => &mut current,
                ProxyState::Live => &mut behind,
                ProxyState::Lost | ProxyState::Unknown => &mut lost,
            } += 1;
        }
        for (state, count) in [("current", current), ("behind", behind), ("lost", lost)] {
            self.now.proxies.with_label_values(&[state]).set(count);
        }
        self.now.keys.set(whole(control.table.len()));
        self.now.revision.set(i64::try_from(control.revision()).unwrap_or(i64::MAX));
    }
}

/// A method, by a closed set of names.
fn method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Something that is open, and counted for as long.
#[derive(Debug)]
pub(crate) struct Held(IntGauge);

impl Held {
    fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
