//! Spans: what happened to one request, told to an OpenTelemetry receiver.
//!
//! A worker hands an account over and goes on; the housekeeping thread makes spans of what was gathered and posts them.
//! Whatever the receiver does (refuse, hang, be slow), no request waits for it and no more than [`WAITING`] accounts are
//! held: others are dropped and counted.

mod data;

use std::{pin::pin, time::Duration};

use bellhop_route::HeadView;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector, trace::SpanExporter as _};
use prometheus::{IntCounter, IntCounterVec};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TryRecvError},
    time::{Instant, sleep, timeout},
};

use self::data::Spans;
use super::{account::Account, trace};
use crate::config::{self, SpansOf};

/// Accounts that may wait: at most 3 KiB each, mostly a few hundred bytes.
const WAITING: usize = 2048;
/// Spans in one message to the receiver.
const BATCH: usize = 512;
/// How long spans are gathered before a message that is not full goes out.
const GATHER: Duration = Duration::from_secs(1);
/// How often the exporter looks for accounts meanwhile. A worker that hands one over has nobody to wake then.
const LOOK: Duration = Duration::from_millis(20);
/// Time for one message, its repetitions included.
const EXPORT: Duration = Duration::from_secs(10);
/// Time for what is left when the proxy ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The values of the label of `bellhop_proxy_spans_total`.
pub(super) const OUTCOMES: [&str; 3] = ["exported", "failed", "dropped"];

/// A handle for one worker.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    of: SpansOf,
    to: Option<Sender<Box<Account>>>,
    dropped: IntCounter,
}

/// The other end: accounts that wait to become spans.
#[derive(Debug)]
pub(crate) struct Waiting {
    from: Receiver<Box<Account>>,
    outcomes: IntCounterVec,
}

/// A queue, and its end where spans are wanted at all. It ends when the last handle is dropped.
pub(super) fn queue(of: SpansOf, outcomes: &IntCounterVec) -> (Queue, Option<Waiting>) {
    let dropped = outcomes.with_label_values(&["dropped"]);
    if of == SpansOf::None {
        return (Queue { of, to: None, dropped }, None);
    }
    let (to, from) = channel(WAITING);
    (Queue { of, to: Some(to), dropped }, Some(Waiting { from, outcomes: outcomes.clone() }))
}

impl Queue {
    /// Whether a request makes a span. Where none does this is one comparison.
    #[inline]
    pub(super) fn wants(&self, keyed: bool, head: &(impl HeadView + ?Sized)) -> bool {
        match self.of {
            SpansOf::None => false,
            SpansOf::Keyed => keyed,
            SpansOf::Sampled => trace::is_sampled(head),
            SpansOf::All => true,
        }
    }

    /// Hands an account over, or drops it.
    pub(super) fn push(&self, account: Box<Account>) {
        if self.to.as_ref().is_none_or(|to| to.try_send(account).is_err()) {
            self.dropped.inc();
        }
    }
}

/// The exporter. Made before the proxy starts, since what it is told may be unusable.
#[derive(Debug)]
pub(crate) struct Exporter(SpanExporter);

impl Exporter {
    /// One that posts to the endpoint of `spans`; none where there is none.
    ///
    /// # Errors
    /// OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_COMPRESSION`, for one) ask for what it cannot do.
    pub(crate) fn new(config: &config::Config) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = config.spans.otlp_endpoint.clone() else { return Ok(None) };
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let mut exporter = exporter.with_endpoint(endpoint).with_timeout(EXPORT).build()?;
        exporter.set_resource(&resource(config));
        Ok(Some(Self(exporter)))
    }
}

/// What receivers are told of this proxy.
fn resource(config: &config::Config) -> Resource {
    let spans = &config.spans;
    let pair = |(name, value): &(String, String)| KeyValue::new(name.clone(), value.clone());
    let workload = config.routing.workload.as_ref();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(workload.map(|name| KeyValue::new("bellhop.workload", name.clone())))
        .with_attributes(spans.resource_attributes.iter().map(pair))
        .with_service_name(spans.service_name.clone())
        .build()
}

impl Waiting {
    /// Exports what comes, until nothing more can come; once `ended`, for as long as a farewell takes.
    pub(crate) async fn export(self, exporter: Exporter, ended: impl Future<Output = ()>) {
        let mut work = pin!(self.work(exporter));
        tokio::select! {
            () = &mut work => return,
            () = ended => {}
        }
        if timeout(FAREWELL, work).await.is_err() {
            tracing::warn!("the last spans are lost: their receiver takes too long");
        }
    }

    async fn work(mut self, exporter: Exporter) {
        let spans = Spans::default();
        let mut heard = true;
        while let Some(batch) = self.gather().await {
            let count = batch.len() as u64;
            let batch = batch.iter().map(|account| spans.of(account)).collect();
            let outcome = match timeout(EXPORT, exporter.0.export(batch)).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            // Told when it begins and when it is over, not for each message.
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

    /// The next accounts; none when nothing more can come.
    async fn gather(&mut self) -> Option<Vec<Box<Account>>> {
        let mut batch = vec![self.from.recv().await?];
        let until = Instant::now() + GATHER;
        loop {
            while batch.len() < BATCH {
                match self.from.try_recv() {
                    Ok(account) => batch.push(account),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Some(batch),
                }
            }
            if batch.len() == BATCH || Instant::now() >= until {
                return Some(batch);
            }
            sleep(LOOK).await;
        }
    }
}
