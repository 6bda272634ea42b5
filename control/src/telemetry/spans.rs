//! Spans: what happened to one request, told to an OpenTelemetry receiver.
//!
//! A request that has ended hands its span over and goes on; one task posts what was gathered. Whatever the receiver does
//! (refuse, hang, be slow), no request waits for it and no more than [`WAITING`] spans are held: others are dropped and
//! counted.

mod data;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    resource::TelemetryResourceDetector,
    trace::{SpanData, SpanExporter as _},
};
use prometheus::{IntCounter, IntCounterVec};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, timeout, timeout_at},
};

use self::data::Maker;
use super::account::Account;
use crate::config::{Spans, SpansOf};

/// Spans that may wait: about a KiB each.
const WAITING: usize = 2_048;
/// Spans in one message to the receiver.
const BATCH: usize = 512;
/// How long spans are gathered before a message that is not full goes out.
const GATHER: Duration = Duration::from_secs(1);
/// Time for one message, its repetitions included.
const EXPORT: Duration = Duration::from_secs(10);

/// The values of the label of `bellhop_control_spans_total`.
pub(super) const OUTCOMES: [&str; 3] = ["exported", "failed", "dropped"];

/// Where requests hand over what there is to tell of them.
#[derive(Debug)]
pub(crate) struct Queue {
    of: SpansOf,
    to: Option<Sender<SpanData>>,
    maker: Maker,
    dropped: IntCounter,
}

/// The other end. Made before control serves, since what it is told may be unusable.
#[derive(Debug)]
pub(crate) struct Exporter {
    from: Receiver<SpanData>,
    exporter: SpanExporter,
    outcomes: IntCounterVec,
}

/// A queue, and its end where spans are wanted at all. It ends when the queue is dropped.
///
/// # Errors
/// OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_COMPRESSION`, for one) ask for what cannot be done.
pub(crate) fn queue(
    config: &Spans,
    outcomes: &IntCounterVec,
) -> Result<(Queue, Option<Exporter>), ExporterBuildError> {
    let dropped = outcomes.with_label_values(&["dropped"]);
    let endpoint = config.otlp_endpoint.clone().filter(|_| config.spans != SpansOf::None);
    let Some(endpoint) = endpoint else {
        return Ok((Queue { of: SpansOf::None, to: None, maker: Maker::default(), dropped }, None));
    };
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    let mut exporter = exporter.with_endpoint(endpoint).with_timeout(EXPORT).build()?;
    exporter.set_resource(&resource(config));
    let (to, from) = channel(WAITING);
    let queue = Queue { of: config.spans, to: Some(to), maker: Maker::default(), dropped };
    Ok((queue, Some(Exporter { from, exporter, outcomes: outcomes.clone() })))
}

/// What receivers are told of this control plane.
fn resource(config: &Spans) -> Resource {
    let pair = |(name, value): &(String, String)| KeyValue::new(name.clone(), value.clone());
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(config.resource_attributes.iter().map(pair))
        .with_service_name(config.service_name.clone())
        .build()
}

impl Queue {
    /// Whether a request makes a span.
    pub(super) fn wants(&self, sampled: bool, report: bool) -> bool {
        match self.of {
            SpansOf::None => false,
            SpansOf::Sampled => sampled,
            SpansOf::All => sampled || !report,
        }
    }

    /// Hands a span over, or drops it.
    pub(super) fn push(&self, account: &Account) {
        let span = || self.maker.span(account);
        if self.to.as_ref().is_none_or(|to| to.try_reserve().map(|place| place.send(span())).is_err()) {
            self.dropped.inc();
        }
    }
}

impl Exporter {
    /// Exports what comes, until nothing more can come.
    pub(crate) async fn run(mut self) {
        let mut heard = true;
        loop {
            let mut batch = Vec::new();
            if self.from.recv_many(&mut batch, 1).await == 0 {
                return;
            }
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let left = BATCH - batch.len();
                match timeout_at(until, self.from.recv_many(&mut batch, left)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            let count = batch.len() as u64;
            let outcome = match timeout(EXPORT, self.exporter.export(batch)).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            // told when it begins and when it is over, not for each message
            match &outcome {
                Err(error) if heard => tracing::warn!(%error, "spans cannot be exported"),
                Ok(()) if !heard => tracing::info!("spans are exported again"),
                Ok(()) | Err(_) => {}
            }
            heard = outcome.is_ok();
            let outcome = if heard { "exported" } else { "failed" };
            self.outcomes.with_label_values(&[outcome]).inc_by(count);
        }
    }
}
