//! What is told about requests and connections: metrics and the access log.
//!
//! Workers count in cells of their own and never wait; whoever scrapes sums over them. Everything that is rare (the
//! watch, reports, the snapshot, the admin listener) counts in [`Housekeeping`]. Every label is a closed set: whatever
//! peers send, the number of series is bounded.

mod access_log;
mod account;
mod counters;
mod housekeeping;
mod labels;
mod record;
mod scrape;
mod spans;
mod tally;

use std::{
    io::Write,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Encoder as _, TextEncoder, proto::MetricFamily};

use self::{
    access_log::{AccessLog, Lines},
    counters::{Counters, Rare, Sinks},
    scrape::Scrape,
};
pub(crate) use self::{
    account::Account,
    counters::{Open, Traffic, WorkerTelemetry},
    housekeeping::Housekeeping,
    labels::{Dial, Listener, Protocol, Side, Tunnel, UpstreamEnd},
    record::RequestRecord,
    scrape::{counter, family, float, gauge, pair},
    spans::{Spans, Waiting, exporter},
};
use crate::config::Config;

/// How long the end of a proxy waits for whoever reads the access log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What all threads of one proxy count.
#[derive(Debug)]
pub(crate) struct Telemetry {
    workers: Box<[Arc<Counters>]>,
    /// What no worker has taken yet.
    sinks: Mutex<Vec<Option<Sinks>>>,
    waiting: Mutex<Option<Waiting>>,
    rare: Rare,
    log: AccessLog,
    /// What the housekeeping thread counts.
    pub(crate) housekeeping: Housekeeping,
}

impl Telemetry {
    /// Telemetry for the workers of `config`, whose access log goes to `log`.
    pub(crate) fn new(config: &Config, log: impl Write + Send + 'static) -> Self {
        let housekeeping = Housekeeping::new();
        let (log, lines) = AccessLog::start(config.telemetry.access_log, log);
        let (spans, waiting) = spans::queue(config.spans.spans, &housekeeping.spans);
        let (workers, sinks) = (config.process.workers, Sinks { log: lines, spans });
        Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            sinks: Mutex::new(vec![Some(sinks); workers]),
            waiting: Mutex::new(waiting),
            rare: Rare::default(),
            log,
            housekeeping,
        }
    }

    /// Telemetry that nobody hears of, for no workers.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn quiet() -> Self {
        let mut config = Config::default();
        config.telemetry.access_log = crate::config::AccessLog::Off;
        config.process.workers = 0;
        Self::new(&config, std::io::sink())
    }

    /// The part of worker number `number`, from 0. Made on that worker's thread, once: a second one tells nothing but
    /// numbers.
    pub(crate) fn worker(&self, number: usize) -> Rc<WorkerTelemetry> {
        let counters = self.workers.get(number).map_or_else(Arc::default, Arc::clone);
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = sinks.get_mut(number).and_then(Option::take).unwrap_or_else(|| self.no_sinks());
        WorkerTelemetry::new(counters, sinks)
    }

    fn no_sinks(&self) -> Sinks {
        let (spans, _) = spans::queue(crate::config::SpansOf::None, &self.housekeeping.spans);
        Sinks { log: Lines::none(), spans }
    }

    /// The accounts that are to become spans; once, and only where spans are wanted.
    pub(crate) fn waiting_spans(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until the access log is written. All workers have ended before.
    pub(crate) fn finish(&self) {
        self.log.finish(LAST_LINES);
    }

    /// Counts a dial to an upstream.
    pub(crate) fn dialled(&self, side: Side, how: Dial) {
        self.rare.dials.count_shared((side, how));
    }

    /// Counts a request that is sent a second time, or would have been.
    pub(crate) fn retried(&self, side: Side, granted: bool) {
        let counted = if granted { &self.rare.retries } else { &self.rare.retries_refused };
        counted.count_shared(side);
    }

    /// Counts an HTTP/2 connection to an upstream that ended.
    pub(crate) fn upstream_ended(&self, side: Side, how: UpstreamEnd) {
        self.rare.upstream_ends.count_shared((side, how));
    }

    /// Counts an endpoint that is passed over for a while.
    pub(crate) fn set_aside(&self) {
        self.rare.set_aside.count_shared(());
    }

    /// All metrics in Prometheus' text form, with `more` families that the caller knows of.
    pub(crate) fn render(&self, more: Vec<MetricFamily>) -> Vec<u8> {
        let mut families = Scrape { workers: &self.workers, rare: &self.rare }.families();
        families.extend(self.housekeeping.families(self.log.dropped()));
        families.extend(more);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;
