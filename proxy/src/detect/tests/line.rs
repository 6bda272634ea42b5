use proptest::prelude::*;

use crate::detect::{
    Protocol::{self, Http1, Http2, Opaque},
    line::{LONGEST_LINE, PREFACE, classify, classify_late},
};

/// Feeds `bytes` cut at each of `cuts`, as reads of a socket would; the protocol, and after how many bytes it was known.
fn fed(bytes: &[u8], step: usize) -> Option<(Protocol, usize)> {
    (1..=bytes.len())
        .filter(|end| end % step == 0 || *end == bytes.len())
        .find_map(|end| classify(&bytes[..end]).map(|p| (p, end)))
}

#[test]
fn a_first_line_that_ends_in_an_http_1_version_is_http_1() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT route:443 HTTP/1.1\r\n",
        "GET http://route/ HTTP/1.1\r\n",
        "BREW /pot HTTP/1.1\r\n",
        "\r\nGET / HTTP/1.1\r\n",
        // Faults from there on are the engine's to tell.
        "GET /a b HTTP/1.1\r\n",
        "GET /\0 HTTP/1.1\r\n",
        " GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(classify(line.as_bytes()), Some(Http1), "{line:?}");
        assert_eq!(fed(line.as_bytes(), 1), Some((Http1, line.len())), "{line:?} byte by byte");
    }
}

#[test]
fn the_preface_and_nothing_less_is_http_2() {
    assert_eq!(classify(PREFACE), Some(Http2));
    for end in 0..PREFACE.len() {
        assert_eq!(classify(&PREFACE[..end]), None, "{end}");
    }
    assert_eq!(classify(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"), Some(Http2));
    assert_eq!(classify(b"PRI * HTTP/2.0\r\n\r\nXX"), Some(Opaque));
}

#[test]
fn other_protocols_are_known_as_soon_as_their_bytes_can_be_no_request() {
    for (bytes, known_after) in [
        (&b"\x16\x03\x01\x02\x00\x01"[..], 1), // TLS
        (b"\0\0\0\x08\x04\xd2\x16\x2f", 1),    // PostgreSQL
        (b"AMQP\0\0\x09\x01", 5),              // AMQP waits for its answer after these eight bytes
        (b"*1\r\n$4\r\nPING\r\n", 4),          // Redis
        (b"EHLO there\r\n", 12),               // SMTP
        (b"SSH-2.0-OpenSSH_9.6\r\n", 21),      // SSH
        (b"get key\r\n", 9),                   // memcached
        (b"\r\n\r\n\0\r\nQUIT\n", 4),          // PROXY protocol, version 2
        (b"GET / HTTP/2.0\r\n", 16),           // no HTTP/1
        (b"GET /\r\n", 7),                     // HTTP/0.9 is served by nobody
        (b"GET / HTTP/1.1 \r\n", 17),          // does not end in its version
        (b"GETX\x01", 5),
    ] {
        assert_eq!(fed(bytes, 1), Some((Opaque, known_after)), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_line_that_is_too_long_or_too_late_is_told_by_its_method() {
    let long = |start: &str| [start.as_bytes(), &vec![b'a'; LONGEST_LINE]].concat();
    assert_eq!(classify(&long("GET /")), Some(Http1));
    assert_eq!(classify(&long("GET ")), Some(Opaque));
    assert_eq!(classify(&long("BREW /")), Some(Opaque));
    for (bytes, protocol) in [
        ("GET /", Http1),
        ("\r\nPOST /a", Http1),
        ("PRI * HTTP/2.0\r\n", Http2),
        ("PRI * HTTP", Opaque),
        ("GET", Opaque),
        ("GET x", Opaque),
        ("hello", Opaque),
        ("", Opaque),
        ("\r\n", Opaque),
    ] {
        assert_eq!(classify_late(bytes.as_bytes()), protocol, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn what_was_decided_is_never_decided_otherwise_by_more_bytes_or_other_reads(
        start in prop::sample::select(vec!["", "GET /", "PRI * HTTP/2.0\r\n", "\r\n", "POST / HTTP/1.1"]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
        step in 1_usize..50,
    ) {
        let bytes = [start.as_bytes(), &rest].concat();
        let whole = classify(&bytes);
        let byte_by_byte = fed(&bytes, 1).map(|(protocol, _)| protocol);
        prop_assert_eq!(whole, byte_by_byte);
        prop_assert_eq!(whole, fed(&bytes, step).map(|(protocol, _)| protocol));
        if let Some(protocol) = whole {
            prop_assert_eq!(classify_late(&bytes), protocol);
        }
    }
}
