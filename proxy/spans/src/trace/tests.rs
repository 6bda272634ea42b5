use opentelemetry::trace::SpanContext;
use proptest::prelude::*;

use super::{is_sampled, oracle, parent};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(fields: &[(&str, &str)]) -> Option<SpanContext> {
    parent(fields)
}

#[test]
fn the_callers_span_is_read_as_the_standard_writes_it() {
    let span = read(&[("Traceparent", SAMPLED), ("tracestate", "a=1"), ("tracestate", "b=2")]).unwrap();
    assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.span_id().to_string(), "b7ad6b7169203331");
    assert!(span.is_sampled() && span.is_remote());
    assert_eq!(span.trace_state().header(), "a=1,b=2");
    let unsampled = SAMPLED.replace("-01", "-02");
    assert!(!read(&[("traceparent", &unsampled)]).unwrap().is_sampled());
    // A later version, with more behind what is known.
    assert!(read(&[("traceparent", &format!("{}-more", SAMPLED.replacen("00", "cc", 1)))]).is_some());
}

#[test]
fn what_has_not_the_shape_is_no_trace() {
    for value in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319\u{e9}-7ad6b7169203331-01",
    ] {
        assert!(read(&[("traceparent", value)]).is_none(), "{value}");
        assert!(!is_sampled(&[("traceparent", value)][..]), "{value}");
    }
    assert!(read(&[("traceparent", SAMPLED), ("traceparent", SAMPLED)]).is_none());
}

#[test]
fn a_state_that_is_too_long_or_no_text_is_left_out_and_the_trace_is_still_joined() {
    let long = format!("a={}", "x".repeat(600));
    for state in [long.as_bytes(), b"a=\xff", b"UPPER=1"] {
        let head = [("traceparent", SAMPLED.as_bytes()), ("tracestate", state)];
        let span = parent(&head[..]).unwrap();
        assert_eq!(span.trace_state().header(), "");
    }
}

/// The corpus of the fuzz target `trace_context`.
#[test]
fn the_fuzz_corpus_holds() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/trace_context");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().flatten().collect();
    assert!(files.len() > 5);
    files.iter().for_each(|file| oracle(&std::fs::read(file.path()).unwrap()));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        oracle(&bytes);
    }

    /// One byte of a valid head replaced, added or taken away: where crafted values live.
    #[test]
    fn nothing_near_the_grammar_does_harm(at in 0_usize..56, with in any::<u8>(), how in 0_u8..3, state in ".{0,40}") {
        let mut bytes = SAMPLED.as_bytes().to_vec();
        match how {
            0 if at < bytes.len() => bytes[at] = with,
            1 => bytes.insert(at.min(bytes.len()), with),
            _ => drop(bytes.drain(at.min(bytes.len())..)),
        }
        bytes.extend_from_slice(b"\n;");
        bytes.extend_from_slice(state.replace('\n', " ").as_bytes());
        oracle(&bytes);
    }
}
