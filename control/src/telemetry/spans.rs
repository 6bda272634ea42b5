//! Spans: which requests make one, and what it tells. How they reach a receiver is `bellhop-spans`'.

mod data;

use bellhop_spans::{Exporter, ExporterBuildError, Maker};
use opentelemetry_sdk::trace::SpanData;
use prometheus::IntCounterVec;

use super::account::Account;
use crate::config::{Spans, SpansOf};

/// Where requests hand over what there is to tell of them.
#[derive(Debug)]
pub(crate) struct Queue {
    of: SpansOf,
    to: bellhop_spans::Queue<SpanData>,
    maker: Maker,
}

/// The way from the queue to the receiver. Made before control serves, since what it is told may be unusable.
#[derive(Debug)]
pub(crate) struct Export {
    waiting: bellhop_spans::Waiting<SpanData>,
    exporter: Exporter,
}

/// A queue, and its end where spans are wanted at all. It ends when the queue is dropped.
///
/// # Errors
/// OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_COMPRESSION`, for one) ask for what cannot be done.
pub(crate) fn queue(
    config: &Spans,
    outcomes: &IntCounterVec,
) -> Result<(Queue, Option<Export>), ExporterBuildError> {
    let endpoint = config.otlp_endpoint.clone().filter(|_| config.spans != SpansOf::None);
    let of = if endpoint.is_some() { config.spans } else { SpansOf::None };
    let (to, waiting) = bellhop_spans::queue(endpoint.is_some(), outcomes);
    let resource = bellhop_spans::resource(&config.service_name, None, &config.resource_attributes);
    let exporter = endpoint.map(|endpoint| Exporter::new(endpoint, &resource)).transpose()?;
    let export = waiting.zip(exporter).map(|(waiting, exporter)| Export { waiting, exporter });
    Ok((Queue { of, to, maker: Maker::new("bellhop-control") }, export))
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
        self.to.push(|| data::span(&self.maker, account));
    }
}

impl Export {
    /// Exports what comes, until nothing more can come.
    pub(crate) async fn run(self) {
        self.waiting.export(self.exporter, |span| span, std::future::pending()).await;
    }
}
