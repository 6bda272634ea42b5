//! What the workers counted, as metric families: summed when somebody scrapes, and at no other time.

use std::sync::Arc;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::{
    counters::{Counters, Rare},
    tally::{Dimensions, Durations, Tally},
};

/// A family with more combinations than this shows only those that happened.
const SHOWN_WHEN_ZERO: usize = 32;

/// What there is to sum.
pub(super) struct Scrape<'a> {
    /// One for each worker.
    pub(super) workers: &'a [Arc<Counters>],
    /// What they count together.
    pub(super) rare: &'a Rare,
}

impl Scrape<'_> {
    /// Every family that has something to show.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        self.requests(&mut families);
        self.connections(&mut families);
        families.retain(|family| !family.get_metric().is_empty());
        families
    }

    fn requests(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.counter(
            "bellhop_proxy_requests_total",
            "Requests that ended, by what was done with them and why; cancelled ones included. status_class is none \
             where no status was sent.",
            &["listener", "protocol", "decision", "reason", "status_class"],
            |counters| &counters.requests,
        ));
        families.push(self.durations());
        families.push(self.gauge(
            "bellhop_proxy_requests_in_flight",
            "Requests under way.",
            &["protocol"],
            |counters| &counters.in_flight,
        ));
        families.push(self.counter(
            "bellhop_proxy_request_marks_total",
            "Remarks beside decisions: malformed (part of the baggage could not be read), stale (control had not \
             been heard for 15 s).",
            &["mark"],
            |counters| &counters.marks,
        ));
        families.push(rare(
            "bellhop_proxy_retries_total",
            "Requests that were sent a second time: a kept connection turned out to be closed, or the upstream said \
             that it did nothing with them.",
            &["side"],
            &self.rare.retries,
        ));
        families.push(rare(
            "bellhop_proxy_retries_refused_total",
            "Requests that were not sent a second time, because the budget for that was spent.",
            &["side"],
            &self.rare.retries_refused,
        ));
    }

    fn connections(&self, families: &mut Vec<MetricFamily>) {
        families.push(self.bytes());
        families.push(self.counter(
            "bellhop_proxy_tunnels_total",
            "Tunnels begun: connections, or what follows an upgrade, passed byte for byte.",
            &["kind"],
            |counters| &counters.tunnels,
        ));
        families.push(self.gauge("bellhop_proxy_tunnels_open", "Tunnels open.", &["kind"], |counters| {
            &counters.tunnels_open
        }));
        families.push(rare(
            "bellhop_proxy_upstream_dials_total",
            "Connections that were tried to upstreams, and how that ended.",
            &["side", "outcome"],
            &self.rare.dials,
        ));
        families.push(self.gauge(
            "bellhop_proxy_upstream_connections_open",
            "Connections open to upstreams.",
            &["side"],
            |counters| &counters.upstreams_open,
        ));
        families.push(rare(
            "bellhop_proxy_http2_upstream_ends_total",
            "HTTP/2 connections to upstreams that ended, and how: quiet (nothing was in flight), go-away, broken, \
             silent (a ping was not answered), flooded.",
            &["side", "cause"],
            &self.rare.upstream_ends,
        ));
        families.push(rare(
            "bellhop_proxy_endpoints_set_aside_total",
            "Endpoints of sandboxes that failed and were passed over for a while.",
            &[],
            &self.rare.set_aside,
        ));
    }

    fn counter<D: Dimensions>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        of: fn(&Counters) -> &Tally<D>,
    ) -> MetricFamily {
        let metrics = self.sums(labels, of).map(|(labels, sum)| counter(labels, sum));
        family(name, help, MetricType::COUNTER, metrics.collect())
    }

    fn gauge<D: Dimensions>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        of: fn(&Counters) -> &Tally<D>,
    ) -> MetricFamily {
        let metrics = self.sums(labels, of).map(|(labels, sum)| gauge(labels, float(sum)));
        family(name, help, MetricType::GAUGE, metrics.collect())
    }

    /// The sums over all workers, one for each combination of labels that is shown.
    fn sums<D: Dimensions>(
        &self,
        labels: &[&str],
        of: fn(&Counters) -> &Tally<D>,
    ) -> impl Iterator<Item = (Vec<LabelPair>, u64)> {
        (0..D::SIZE).filter_map(move |at| {
            // Wrapping: a gauge that one worker was read too late for may stand a little under zero.
            let sum = self.workers.iter().fold(0_u64, |sum, worker| sum.wrapping_add(of(worker).get(at)));
            (sum > 0 || D::SIZE <= SHOWN_WHEN_ZERO).then(|| (pairs::<D>(labels, at), sum))
        })
    }

    fn bytes(&self) -> MetricFamily {
        let sum = |of: fn(&Counters) -> u64| self.workers.iter().map(|worker| of(worker)).sum();
        let series = [
            ("http1", "sent", sum(|counters| counters.http1.sent.get())),
            ("http1", "received", sum(|counters| counters.http1.received.get())),
            ("http2", "sent", sum(|counters| counters.http2.sent.get())),
            ("http2", "received", sum(|counters| counters.http2.received.get())),
        ];
        let metrics = series
            .map(|(protocol, way, bytes)| counter(vec![pair("protocol", protocol), pair("way", way)], bytes));
        let help = "Bytes of clients' HTTP connections, heads and frames included: sent by clients, received by \
                    them. What follows an upgrade or a CONNECT of HTTP/1 is a tunnel's, but for what was sent ahead of \
                    its answer.";
        family("bellhop_proxy_http_bytes_total", help, MetricType::COUNTER, metrics.into())
    }

    fn durations(&self) -> MetricFamily {
        type By = (super::labels::Protocol, super::labels::DecisionKind);
        let metrics = (0..By::SIZE).filter_map(|at| {
            let mut counts = [0; 15];
            let mut seconds = 0.0;
            for worker in self.workers {
                let (some, sum) = worker.durations.get(at);
                counts.iter_mut().zip(some).for_each(|(count, more)| *count += more);
                seconds += sum;
            }
            let total: u64 = counts.iter().sum();
            (total > 0).then(|| {
                let mut metric = Metric::from_label(pairs::<By>(&["protocol", "decision"], at));
                metric.set_histogram(histogram(&counts, total, seconds));
                metric
            })
        });
        let help = "Time from a request's head to the last byte of its answer, in seconds.";
        let metrics = metrics.collect();
        family("bellhop_proxy_request_duration_seconds", help, MetricType::HISTOGRAM, metrics)
    }
}

/// A family that all threads count together.
fn rare<D: Dimensions>(name: &str, help: &str, labels: &[&str], of: &Tally<D>) -> MetricFamily {
    let metrics = (0..D::SIZE).map(|at| counter(pairs::<D>(labels, at), of.get(at)));
    family(name, help, MetricType::COUNTER, metrics.collect())
}

fn histogram(counts: &[u64], total: u64, seconds: f64) -> Histogram {
    let mut below = 0;
    let buckets = Durations::<()>::BOUNDS.iter().zip(counts).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(total);
    histogram.set_sample_sum(seconds);
    histogram
}

fn pairs<D: Dimensions>(labels: &[&str], at: usize) -> Vec<LabelPair> {
    let pairs = labels.iter().zip(D::texts(at)).map(|(name, value)| pair(name, value));
    pairs.collect()
}

/// One counter.
pub(crate) fn counter(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value));
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// One gauge.
pub(crate) fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// One label.
pub(crate) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// One family.
pub(crate) fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// A count as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "a metric is a float; beyond 2^53 the last digits go")]
#[expect(clippy::cast_possible_wrap, reason = "a gauge read between two workers may stand at -1")]
pub(crate) fn float(count: u64) -> f64 {
    count as i64 as f64
}
