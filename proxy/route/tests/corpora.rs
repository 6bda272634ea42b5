//! The fuzz targets' bodies, run over the committed corpora and over random bytes near the grammar.
#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs, reason = "test code")]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::{fs, path::Path};

use proptest::prelude::*;

fn over_corpus(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        body(&fs::read(entry.expect("an entry").path()).expect("a readable seed"));
        seeds += 1;
    }
    assert!(seeds > 0, "{target} has no corpus");
}

#[test]
fn the_baggage_corpus_reads_by_the_book() {
    over_corpus("baggage", bodies::baggage);
}

#[test]
fn the_carriers_corpus_reads_without_panic() {
    over_corpus("carriers", bodies::carriers);
}

#[test]
fn the_watch_corpus_compiles_or_is_refused_whole() {
    over_corpus("watch", bodies::watch);
}

/// Bytes that look like baggage, mostly.
fn near_baggage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => Just(b"routing-key".to_vec()),
        8 => Just(b"=".to_vec()),
        8 => Just(b",".to_vec()),
        2 => Just(b";".to_vec()),
        2 => Just(b" ".to_vec()),
        1 => Just(b"\t".to_vec()),
        2 => Just(b"\n".to_vec()),
        2 => Just(b":".to_vec()),
        2 => Just(b"%2C".to_vec()),
        1 => Just(b"%".to_vec()),
        4 => "[a-zA-Z0-9._-]{0,9}".prop_map(String::into_bytes),
        1 => Just(vec![b'x'; 63]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn baggage_of_any_shape_reads_by_the_book(data in near_baggage()) {
        bodies::baggage(&data);
    }

    #[test]
    fn baggage_around_the_limits_reads_by_the_book(
        members in 50_usize..80, filler in 0_usize..180, data in near_baggage(), split in any::<u64>(),
    ) {
        let mut all = Vec::new();
        for at in 0..members {
            all.extend_from_slice(b"k=");
            all.extend(std::iter::repeat_n(b'v', filler));
            all.push(if split >> (at % 64) & 1 == 1 { b'\n' } else { b',' });
        }
        all.extend_from_slice(&data);
        bodies::baggage(&all);
    }

    #[test]
    fn any_bytes_are_read_without_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        bodies::baggage(&data);
        bodies::carriers(&data);
        bodies::watch(&data);
    }

    #[test]
    fn keys_read_back_as_they_are_written(keys in proptest::collection::vec("[A-Za-z0-9._-]{1,63}", 1..8)) {
        let keys: bellhop_route::Keys = keys.iter().collect();
        for written in [format!("routing-key={keys}"), format!("x=y,routing-key={}", keys.to_string().replace(':', "%2C"))] {
            prop_assert_eq!(&bodies::by_the_book(&[written.as_bytes()]), &keys);
            bodies::baggage(written.as_bytes());
        }
    }
}
