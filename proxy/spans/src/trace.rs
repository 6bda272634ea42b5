//! The caller's trace, as a head carries it: `traceparent` and `tracestate` (W3C Trace Context).
//!
//! Both are read for the program's own span. What does not have the standard's shape to the letter is no trace, as it says;
//! no bytes can do more than that.

use bellhop_route::HeadView;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// `tracestate` is kept up to this length, as the standard asks for at least; a span keeps its caller's until it is
/// exported.
const STATE_BYTES: usize = 512;

/// Version, trace, span, flags: `h` is a lower-case hexadecimal digit. Later versions may have more behind a dash.
const SHAPE: &[u8; 55] = b"hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";

/// Whether the caller's trace is sampled. Where it is not this costs no allocation.
#[must_use]
pub fn is_sampled(head: &(impl HeadView + ?Sized)) -> bool {
    let flags = traceparent(head).and_then(|text| text.as_bytes().get(SHAPE.len() - 1).copied());
    let is_odd = |digit: u8| char::from(digit).to_digit(16).is_some_and(|digit| digit % 2 == 1);
    flags.is_some_and(is_odd) && parent(head).is_some()
}

/// The caller's span, if the head names one.
#[must_use]
pub fn parent(head: &(impl HeadView + ?Sized)) -> Option<SpanContext> {
    let carried = Carried { parent: traceparent(head)?, state: tracestate(head) };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carried);
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
}

/// The one `traceparent` of a head; several are none (§3.2).
fn traceparent(head: &(impl HeadView + ?Sized)) -> Option<&str> {
    let mut values = head.values("traceparent");
    let value = values.next().filter(|value| has_shape(value))?;
    if values.next().is_some() { None } else { std::str::from_utf8(value).ok() }
}

fn has_shape(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(SHAPE.len()) else { return false };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = known
        .iter()
        .zip(SHAPE)
        .all(|(byte, shape)| if *shape == b'h' { is_hex(*byte) } else { byte == shape });
    fits && (more.is_empty() || (more.starts_with(b"-") && !known.starts_with(b"00")))
}

/// Several `tracestate` fields are one list (§3.3.1).
fn tracestate(head: &(impl HeadView + ?Sized)) -> Option<String> {
    let mut list = String::new();
    for value in head.values("tracestate") {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(std::str::from_utf8(value).ok()?);
        if list.len() > STATE_BYTES {
            return None;
        }
    }
    (!list.is_empty()).then_some(list)
}

struct Carried<'a> {
    parent: &'a str,
    state: Option<String>,
}

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.parent),
            "tracestate" => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Whatever bytes a head carries: nothing panics, and what is taken for a trace is one. For the fuzz target, and for its
/// corpus as an ordinary test. Lines are values of `traceparent`, those behind a `;` of `tracestate`.
///
/// # Panics
/// Where that does not hold.
#[cfg(any(test, fuzzing))]
pub fn oracle(bytes: &[u8]) {
    let fields: Vec<_> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| match line.strip_prefix(b";") {
            Some(state) => ("tracestate", state),
            None => ("traceparent", line),
        })
        .collect();
    let head = &fields[..];
    let parents: Vec<_> = head.iter().filter(|(name, _)| *name == "traceparent").collect();
    let parent = parent(head);
    assert!(parent.is_none() || parents.len() == 1, "several are none");
    assert_eq!(is_sampled(head), parent.as_ref().is_some_and(SpanContext::is_sampled));
    if let Some((parent, (_, text))) = parent.zip(parents.first()) {
        assert!(parent.is_valid() && parent.is_remote());
        let ids = format!("-{}-{}-", parent.trace_id(), parent.span_id());
        assert!(
            text.windows(ids.len()).any(|part| part == ids.as_bytes()),
            "{ids} in {}",
            text.escape_ascii()
        );
    }
}

#[cfg(test)]
mod tests;
