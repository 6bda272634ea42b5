//! From a request that has ended to an OpenTelemetry receiver.
//!
//! Whoever served a request hands over what there is to tell and goes on; one task makes spans of what was gathered and
//! posts them. Whatever the receiver does (refuse, hang, be slow), no request waits for it and no more than [`WAITING`] of
//! them are held: others are dropped and counted.

use std::{pin::pin, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    resource::TelemetryResourceDetector,
    trace::{SpanData, SpanExporter as _},
};
use prometheus::{IntCounter, IntCounterVec};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TryRecvError},
    time::{Instant, sleep, timeout},
};

/// Requests that may wait to be told: at most 3 KiB each, mostly a few hundred bytes.
const WAITING: usize = 2048;
/// Spans in one message to the receiver.
const BATCH: usize = 512;
/// How long spans are gathered before a message that is not full goes out.
const GATHER: Duration = Duration::from_secs(1);
/// How often the exporter looks for more meanwhile. Who hands something over has nobody to wake then.
const LOOK: Duration = Duration::from_millis(20);
/// Time for one message, its repetitions included.
const EXPORT: Duration = Duration::from_secs(10);
/// Time for what is left when the program ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The values of the label of each program's counter of spans.
pub const OUTCOMES: [&str; 3] = ["exported", "failed", "dropped"];

/// Where requests hand over what there is to tell of them.
#[derive(Debug)]
pub struct Queue<T> {
    to: Option<Sender<T>>,
    dropped: IntCounter,
}

// Not derived: what is handed over need not be `Clone`.
impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { to: self.to.clone(), dropped: self.dropped.clone() }
    }
}

/// The other end: what waits to become spans.
#[derive(Debug)]
pub struct Waiting<T> {
    from: Receiver<T>,
    outcomes: IntCounterVec,
}

/// A queue, and its end where spans are `wanted` at all. It ends when the last handle is dropped. `outcomes` has one label,
/// of [`OUTCOMES`].
#[must_use]
pub fn queue<T>(wanted: bool, outcomes: &IntCounterVec) -> (Queue<T>, Option<Waiting<T>>) {
    let dropped = outcomes.with_label_values(&["dropped"]);
    if !wanted {
        return (Queue { to: None, dropped }, None);
    }
    let (to, from) = channel(WAITING);
    (Queue { to: Some(to), dropped }, Some(Waiting { from, outcomes: outcomes.clone() }))
}

impl<T> Queue<T> {
    /// Hands over what `make` makes, or drops it unmade.
    pub fn push(&self, make: impl FnOnce() -> T) {
        if self.to.as_ref().is_none_or(|to| to.try_reserve().map(|place| place.send(make())).is_err()) {
            self.dropped.inc();
        }
    }
}

/// The exporter. Made before a program serves, since what it is told may be unusable.
#[derive(Debug)]
pub struct Exporter(SpanExporter);

impl Exporter {
    /// One that posts to `endpoint`, the whole URL, and says there who it is.
    ///
    /// # Errors
    /// OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_COMPRESSION`, for one) ask for what it cannot do.
    pub fn new(endpoint: String, resource: &Resource) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let mut exporter = exporter.with_endpoint(endpoint).with_timeout(EXPORT).build()?;
        exporter.set_resource(resource);
        Ok(Self(exporter))
    }
}

/// What receivers are told of a program.
#[must_use]
pub fn resource(service_name: &str, own: Option<KeyValue>, attributes: &[(String, String)]) -> Resource {
    let pair = |(name, value): &(String, String)| KeyValue::new(name.clone(), value.clone());
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(own)
        .with_attributes(attributes.iter().map(pair))
        .with_service_name(service_name.to_owned())
        .build()
}

impl<T> Waiting<T> {
    /// Exports what comes, as `span` makes it, until nothing more can come; once `ended`, for as long as a farewell takes.
    pub async fn export(
        self,
        exporter: Exporter,
        span: impl FnMut(T) -> SpanData,
        ended: impl Future<Output = ()>,
    ) {
        let mut work = pin!(self.work(exporter, span));
        tokio::select! {
            () = &mut work => return,
            () = ended => {}
        }
        if timeout(FAREWELL, work).await.is_err() {
            tracing::warn!("the last spans are lost: their receiver takes too long");
        }
    }

    async fn work(mut self, exporter: Exporter, mut span: impl FnMut(T) -> SpanData) {
        let mut heard = true;
        while let Some(batch) = self.gather().await {
            let count = batch.len() as u64;
            let batch = batch.into_iter().map(&mut span).collect();
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

    /// The next ones; none when nothing more can come.
    async fn gather(&mut self) -> Option<Vec<T>> {
        let mut batch = vec![self.from.recv().await?];
        let until = Instant::now() + GATHER;
        loop {
            while batch.len() < BATCH {
                match self.from.try_recv() {
                    Ok(one) => batch.push(one),
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
