//! An account as a span: names and values of OpenTelemetry's semantic conventions for HTTP servers, and Bellhop's own.

use http::Version;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use crate::telemetry::account::Account;

/// Makes spans.
#[derive(Debug)]
pub(super) struct Maker {
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

impl Default for Maker {
    fn default() -> Self {
        let scope = InstrumentationScope::builder("bellhop-control").with_version(env!("CARGO_PKG_VERSION"));
        Self { ids: RandomIdGenerator::default(), scope: scope.build() }
    }
}

impl Maker {
    /// The span of one request: a child of the caller's, or the first of a trace of its own.
    pub(super) fn span(&self, account: &Account) -> SpanData {
        let (trace, parent, state) = match &account.parent {
            Some(parent) => (parent.trace_id(), parent.span_id(), parent.trace_state().clone()),
            None => (self.ids.new_trace_id(), SpanId::INVALID, TraceState::NONE),
        };
        let failure = failure(account);
        let status = failure.clone().map_or(Status::Unset, Status::error);
        SpanData {
            span_context: SpanContext::new(trace, self.ids.new_span_id(), TraceFlags::SAMPLED, false, state),
            parent_span_id: parent,
            parent_span_is_remote: account.parent.is_some(),
            span_kind: SpanKind::Server,
            name: name(account).into(),
            start_time: account.begun,
            end_time: account.ended,
            attributes: attributes(account, failure),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn name(account: &Account) -> String {
    let method = match account.method() {
        "other" => "HTTP",
        known => known,
    };
    match account.route() {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// The value of `error.type`. What the caller did wrong is no failure of the server's.
fn failure(account: &Account) -> Option<String> {
    match account.status {
        None => Some("cancelled".to_owned()),
        Some(status) => status.is_server_error().then(|| status.as_u16().to_string()),
    }
}

fn attributes(account: &Account, failure: Option<String>) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(12);
    match account.method() {
        "other" => all.push(KeyValue::new("http.request.method", "_OTHER")),
        known => all.push(KeyValue::new("http.request.method", known)),
    }
    if let Some(route) = account.route() {
        all.push(KeyValue::new("http.route", route.to_owned()));
    }
    if let Some(status) = account.status {
        all.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }
    let version = match account.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    all.push(KeyValue::new("network.protocol.name", "http"));
    all.push(KeyValue::new("network.protocol.version", version));
    if let Some(peer) = account.peer {
        let address = peer.ip().to_canonical().to_string();
        all.push(KeyValue::new("client.address", address.clone()));
        all.push(KeyValue::new("network.peer.address", address));
        all.push(KeyValue::new("network.peer.port", i64::from(peer.port())));
    }
    all.extend(failure.map(|failure| KeyValue::new("error.type", failure)));
    all.extend(account.who.clone().map(|who| KeyValue::new("bellhop.caller", who)));
    all
}
