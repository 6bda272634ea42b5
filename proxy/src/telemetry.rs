//! What is told about requests and connections: metrics and the access log.
//!
//! Workers count in cells of their own and never wait; whoever scrapes sums over them. Everything that is rare (the
//! watch, reports, the snapshot, the admin listener) counts in [`Housekeeping`]. Every label is a closed set: whatever
//! peers send, the number of series is bounded.

mod access_log;
mod counters;
mod housekeeping;
mod labels;
mod record;
mod scrape;
mod tally;

use std::{io::Write, rc::Rc, sync::Arc};

use prometheus::{Encoder as _, TextEncoder, proto::MetricFamily};

use self::{
    access_log::AccessLog,
    counters::{Counters, Rare},
    scrape::Scrape,
};
pub(crate) use self::{
    access_log::Line,
    counters::{Open, WorkerTelemetry},
    housekeeping::Housekeeping,
    labels::{Dial, Listener, Protocol, Side, Tunnel},
    record::RequestRecord,
    scrape::{counter, family, float, gauge, pair},
};

/// What all threads of one proxy count.
#[derive(Debug)]
pub(crate) struct Telemetry {
    workers: Box<[Arc<Counters>]>,
    rare: Rare,
    log: AccessLog,
    /// What the housekeeping thread counts.
    pub(crate) housekeeping: Housekeeping,
}

impl Telemetry {
    /// Telemetry for `workers` workers, whose access log goes to `log`.
    pub(crate) fn new(
        workers: usize,
        requests: crate::config::AccessLog,
        log: impl Write + Send + 'static,
    ) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            rare: Rare::default(),
            log: AccessLog::start(requests, log),
            housekeeping: Housekeeping::new(),
        }
    }

    /// The part of worker number `number`, from 0. Made on that worker's thread, once.
    pub(crate) fn worker(&self, number: usize) -> Rc<WorkerTelemetry> {
        let counters = self.workers.get(number).map_or_else(Arc::default, Arc::clone);
        WorkerTelemetry::new(counters, self.log.clone())
    }

    /// Counts a dial to an upstream.
    pub(crate) fn dialled(&self, side: Side, how: Dial) {
        self.rare.dials.count_shared((side, how));
    }

    /// Counts a request that is sent a second time.
    pub(crate) fn retried(&self, side: Side) {
        self.rare.retries.count_shared(side);
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
