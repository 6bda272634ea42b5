//! What all spans have in common.

use std::{borrow::Cow, time::SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

/// Makes the spans of one program.
#[derive(Debug)]
pub struct Maker {
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

/// One request, as the program that served it saw it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The caller's span.
    pub parent: Option<&'a SpanContext>,
    /// By a closed set of names.
    pub name: Cow<'static, str>,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// The value of `error.type`, where it failed.
    pub failure: Option<String>,
    /// What else there is to tell.
    pub attributes: Vec<KeyValue>,
}

impl Maker {
    /// One for `program` in this version of Bellhop.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let scope = InstrumentationScope::builder(program).with_version(env!("CARGO_PKG_VERSION"));
        Self { ids: RandomIdGenerator::default(), scope: scope.build() }
    }

    /// The span of one request: a child of the caller's, or the first of a trace of its own.
    #[must_use]
    pub fn make(&self, seen: Seen<'_>) -> SpanData {
        let (trace, parent, state) = match seen.parent {
            Some(parent) => (parent.trace_id(), parent.span_id(), parent.trace_state().clone()),
            None => (self.ids.new_trace_id(), SpanId::INVALID, TraceState::NONE),
        };
        let (mut attributes, status) = (seen.attributes, Status::Unset);
        let status = seen.failure.as_ref().map_or(status, |failure| Status::error(failure.clone()));
        attributes.extend(seen.failure.map(|failure| KeyValue::new("error.type", failure)));
        SpanData {
            span_context: SpanContext::new(trace, self.ids.new_span_id(), TraceFlags::SAMPLED, false, state),
            parent_span_id: parent,
            parent_span_is_remote: seen.parent.is_some(),
            span_kind: SpanKind::Server,
            name: seen.name,
            start_time: seen.begun,
            end_time: seen.ended,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}
