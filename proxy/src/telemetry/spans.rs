//! Spans: which requests make one, and what it tells. How they reach a receiver is `bellhop-spans`'.
//!
//! A worker hands an account over and goes on; the housekeeping thread makes spans of what was gathered.

mod data;

use bellhop_route::HeadView;
use bellhop_spans::{ExporterBuildError, trace};
use opentelemetry::KeyValue;
use prometheus::IntCounterVec;

pub(crate) use self::data::Spans;
use super::account::Account;
use crate::config::{self, SpansOf};

/// Accounts that wait to become spans.
pub(crate) type Waiting = bellhop_spans::Waiting<Box<Account>>;

/// A handle for one worker.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    of: SpansOf,
    to: bellhop_spans::Queue<Box<Account>>,
}

/// A queue, and its end where spans are wanted at all.
pub(super) fn queue(of: SpansOf, outcomes: &IntCounterVec) -> (Queue, Option<Waiting>) {
    let (to, waiting) = bellhop_spans::queue(of != SpansOf::None, outcomes);
    (Queue { of, to }, waiting)
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
        self.to.push(|| account);
    }
}

/// The exporter to the endpoint of `spans`; none where there is none.
///
/// # Errors
/// OpenTelemetry's own variables ask for what it cannot do.
pub(crate) fn exporter(
    config: &config::Config,
) -> Result<Option<bellhop_spans::Exporter>, ExporterBuildError> {
    let spans = &config.spans;
    let Some(endpoint) = spans.otlp_endpoint.clone() else { return Ok(None) };
    let workload = config.routing.workload.clone().map(|name| KeyValue::new("bellhop.workload", name));
    let resource = bellhop_spans::resource(&spans.service_name, workload, &spans.resource_attributes);
    bellhop_spans::Exporter::new(endpoint, &resource).map(Some)
}
