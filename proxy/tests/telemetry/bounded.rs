//! Nothing that callers make up leaves anything behind.

use std::{collections::HashSet, time::Instant};

use crate::{
    harness::{Conn, DEADLINE, control, echo, keyed, refusing, route},
    program::Program,
};

/// Keys in one request: as many as fit into the baggage that is examined.
const KEYS: usize = 50;
const REQUESTS: usize = 20_000;

fn series(metrics: &str) -> HashSet<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

/// The metrics once so many requests had unknown keys. One is counted when it has ended, after its last byte was seen.
fn counted(proxy: &Program, count: usize) -> String {
    let (total, end) = (format!(" {count}"), Instant::now() + DEADLINE);
    loop {
        let text = proxy.metrics();
        if text.lines().any(|line| line.contains("reason=\"unknown-key\"") && line.ends_with(&total)) {
            return text;
        }
        assert!(Instant::now() < end, "{count}: {text}");
    }
}

/// B16: one million different unknown keys: each request goes to the baseline, and neither memory nor series grow. Spans
/// are on and nobody takes them; the access log is written.
#[test]
fn b16_a_million_unknown_keys_leave_neither_memory_nor_series_behind() {
    let upstream = echo("baseline");
    let spans = format!("--otlp-endpoint=http://{}", refusing());
    let control = format!("http://{}", control(vec![route("known", &[refusing()], false)]));
    let proxy = Program::before(upstream.address, &["--control", &control, &spans]);
    let mut client = Conn::connect(proxy.address);
    let end = Instant::now() + DEADLINE;
    loop {
        client.send(&keyed("nobody"));
        let answer = client.message().unwrap();
        if answer.field("proxy-status").is_some_and(|said| said.contains("unknown-key")) {
            break;
        }
        assert!(Instant::now() < end, "{}", answer.head);
    }
    let mut send = |from: usize, count: usize| {
        for request in from..from + count {
            let keys: Vec<_> = (0..KEYS).map(|key| format!("u{}", request * KEYS + key)).collect();
            let keys = keys.join(":");
            client
                .send(&format!("GET /{request} HTTP/1.1\r\nHost: a\r\nBaggage: routing-key={keys}\r\n\r\n"));
            let answer = client.message().unwrap();
            assert!(answer.text().starts_with("baseline"), "{}", answer.text());
        }
    };
    // Enough to fill what is bounded: queues, buffers, and the allocator's own.
    let warm = 4000;
    send(REQUESTS, warm);
    let (metrics, memory) = (counted(&proxy, 1 + warm), proxy.resident_bytes());
    send(0, REQUESTS);
    let after = counted(&proxy, 1 + warm + REQUESTS);
    let grown = proxy.resident_bytes().saturating_sub(memory);
    assert_eq!(series(&after), series(&metrics));
    // A million keys of 8 bytes take 32 MiB in any map that one would keep them in.
    assert!(grown < 8 << 20, "{grown} bytes");
}
