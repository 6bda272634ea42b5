//! Tests of telemetry as a whole: what a request leaves behind.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use bellhop_route::Reason;

use super::{Listener, Protocol, RequestRecord, Side, Telemetry, Tunnel};
use crate::config::AccessLog;

/// A log that a test can read: each write is sent on.
struct Written(mpsc::Sender<Vec<u8>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn telemetry(requests: AccessLog) -> (Telemetry, mpsc::Receiver<Vec<u8>>) {
    let (to, written) = mpsc::channel();
    (Telemetry::new(2, requests, Written(to)), written)
}

fn text(telemetry: &Telemetry) -> String {
    String::from_utf8(telemetry.render(Vec::new())).unwrap()
}

fn begin(telemetry: &std::rc::Rc<super::WorkerTelemetry>) -> RequestRecord {
    RequestRecord::begin(telemetry, Listener::Outbound, Protocol::Http1, Instant::now())
}

#[test]
fn a_request_that_is_dropped_is_counted_with_what_was_known_of_it() {
    let (telemetry, _written) = telemetry(AccessLog::Keyed);
    let (first, second) = (telemetry.worker(0), telemetry.worker(1));
    for worker in [&first, &second] {
        let mut record = begin(worker);
        record.refused(Reason::ConnectRefused);
        record.status(503);
    }
    drop(begin(&first));
    let open = begin(&first);
    let text = text(&telemetry);
    assert!(text.contains("bellhop_proxy_requests_total{decision=\"refused\",listener=\"outbound\",protocol=\"http1\",reason=\"connect-refused\",status_class=\"5xx\"} 2") || text.contains("bellhop_proxy_requests_total{listener=\"outbound\",protocol=\"http1\",decision=\"refused\",reason=\"connect-refused\",status_class=\"5xx\"} 2"), "{text}");
    assert!(text.contains("decision=\"undecided\",reason=\"none\",status_class=\"none\"} 1"), "{text}");
    assert!(text.contains("bellhop_proxy_requests_in_flight{protocol=\"http1\"} 1"), "{text}");
    assert!(
        text.contains(
            "bellhop_proxy_request_duration_seconds_count{protocol=\"http1\",decision=\"refused\"} 2"
        )
    );
    drop(open);
    assert!(
        super::tests::text(&telemetry).contains("bellhop_proxy_requests_in_flight{protocol=\"http1\"} 0")
    );
}

#[test]
fn gauges_follow_their_guards() {
    let (telemetry, _written) = telemetry(AccessLog::Off);
    let worker = telemetry.worker(0);
    let (tunnel, upstream) = (worker.tunnel(Tunnel::Upgrade), worker.upstream(Side::Sandbox));
    let open = text(&telemetry);
    assert!(open.contains("bellhop_proxy_tunnels_open{kind=\"upgrade\"} 1"), "{open}");
    assert!(open.contains("bellhop_proxy_upstream_connections_open{side=\"sandbox\"} 1"), "{open}");
    drop((tunnel, upstream));
    let closed = text(&telemetry);
    assert!(closed.contains("bellhop_proxy_tunnels_open{kind=\"upgrade\"} 0"), "{closed}");
    assert!(closed.contains("bellhop_proxy_tunnels_total{kind=\"upgrade\"} 1"), "{closed}");
    assert!(closed.contains("bellhop_proxy_upstream_connections_open{side=\"sandbox\"} 0"), "{closed}");
}

#[test]
fn a_request_without_a_key_writes_no_line_by_default() {
    for (requests, reason, lines) in [
        (AccessLog::Keyed, Reason::NoKey, 0),
        (AccessLog::Keyed, Reason::UnknownKey, 1),
        (AccessLog::Keyed, Reason::Malformed, 1),
        (AccessLog::Off, Reason::UnknownKey, 0),
        (AccessLog::All, Reason::NoKey, 1),
    ] {
        let (telemetry, written) = telemetry(requests);
        let worker = telemetry.worker(0);
        let mut record = begin(&worker);
        record.fell_back(reason);
        record.describe(|line| line.path = b"/x".as_slice().into());
        drop((record, worker, telemetry));
        let written: Vec<u8> = written.iter().flatten().collect();
        assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), lines, "{requests:?} {reason}");
    }
}

#[test]
fn b17_nothing_that_a_peer_sent_leaves_its_line_or_reaches_a_terminal() {
    let (telemetry, written) = telemetry(AccessLog::All);
    let worker = telemetry.worker(0);
    let mut record = begin(&worker);
    record.fell_back(Reason::Malformed);
    let long = vec![b'k'; 10 * 1024];
    record.describe(|line| {
        line.method = b"GET".as_slice().into();
        line.authority = b"a\r\n{\"decision\":\"sandbox\"}\x1b[2J\x7f\xff".as_slice().into();
        line.path = long.as_slice().into();
    });
    drop((record, worker, telemetry));
    let written: Vec<u8> = written.iter().flatten().collect();
    let (last, inside) = written.split_last().unwrap();
    assert_eq!(*last, b'\n');
    assert!(inside.iter().all(|byte| (b' '..=b'~').contains(byte)), "{}", written.escape_ascii());
    assert!(written.len() < 2048, "{}", written.len());
    let line: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(line["authority"], "a\r\n{\"decision\":\"sandbox\"}\u{1b}[2J\u{7f}\u{fffd}");
    assert_eq!(line["decision"], "baseline");
    assert_eq!(line["reason"], "malformed");
    assert!(line["path"].as_str().unwrap().ends_with("k…"));
}

#[test]
fn a_log_that_nobody_reads_drops_lines_counts_them_and_delays_nobody() {
    /// Blocks until the test lets go.
    struct Stuck(Arc<Mutex<()>>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.0.lock());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            drop(self.0.lock());
            Ok(())
        }
    }
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let telemetry = Telemetry::new(1, AccessLog::All, Stuck(Arc::clone(&gate)));
    let worker = telemetry.worker(0);
    let before = Instant::now();
    for _ in 0..10_000 {
        let mut record = begin(&worker);
        record.fell_back(Reason::NoKey);
        record.describe(|_| {});
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    let text = text(&telemetry);
    drop(held);
    let dropped = text.lines().find_map(|line| line.strip_prefix("bellhop_proxy_access_log_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 1000, "{dropped:?}");
}
