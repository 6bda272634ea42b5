//! The caller's trace, as a request carries it: `traceparent` and `tracestate` (W3C Trace Context). What does not have the
//! standard's shape to the letter is no trace.

use http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// `tracestate` is kept up to this length, as the standard asks for at least.
const STATE_BYTES: usize = 512;
/// Version, trace, span, flags: `h` is a lower-case hexadecimal digit. Later versions may have more behind a dash.
const SHAPE: &[u8; 55] = b"hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";

/// The caller's span, if the request names one.
pub(crate) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all("traceparent").iter();
    let parent = values.next().filter(|value| has_shape(value.as_bytes()))?;
    // several are none (§3.2)
    if values.next().is_some() {
        return None;
    }
    let carried = Carried { parent: parent.to_str().ok()?, state: tracestate(headers) };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carried);
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
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
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let fields: Option<Vec<_>> =
        headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
    Some(fields?.join(",")).filter(|list| (1..=STATE_BYTES).contains(&list.len()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_traceparent_of_the_standard_s_shape_is_a_trace_and_nothing_else_is() {
        const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("traceparent", value.parse().unwrap());
            }
            parent(&headers)
        };
        let found = parsed(&[GOOD]).unwrap();
        assert_eq!(found.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(found.is_sampled() && found.is_remote());
        assert!(parsed(&[&GOOD.replace("00-", "cc-"), GOOD]).is_none(), "several are none");
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in ["", "00", zero, &GOOD.to_uppercase(), &format!("{GOOD}-more"), &GOOD.replace("-0", "_0")]
        {
            assert!(parsed(&[bad]).is_none(), "{bad}");
        }
        assert!(parsed(&[&format!("{}-more", GOOD.replacen("00-", "01-", 1))]).is_some());
    }
}
