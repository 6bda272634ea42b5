//! Tests of telemetry as a whole: what a request leaves behind.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use bellhop_route::{
    Carriers, Decided, Decision, HeadView, Marks, Place, Reason, RouteTable, TableBuilder, Verdict,
};

use super::{Account, Listener, Protocol, RequestRecord, Telemetry, Tunnel};
use crate::config::{AccessLog, Config};

/// A head without fields.
const NO_FIELDS: &[(&str, &str)] = &[];

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

fn config(requests: AccessLog) -> Config {
    let mut config = Config::default();
    config.telemetry.access_log = requests;
    config.process.workers = 2;
    config
}

fn telemetry(requests: AccessLog) -> (Telemetry, mpsc::Receiver<Vec<u8>>) {
    let (to, written) = mpsc::channel();
    (Telemetry::new(&config(requests), Written(to)), written)
}

fn text(telemetry: &Telemetry) -> String {
    String::from_utf8(telemetry.render(Vec::new())).unwrap()
}

fn baseline(reason: Reason) -> Decision {
    let (marks, decided) = (Marks::default(), Decided::default());
    Decision { verdict: Verdict::Baseline(reason), key: None, destination: None, marks, decided }
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
    let tunnel = worker.tunnel(Tunnel::Upgrade);
    let open = text(&telemetry);
    assert!(open.contains("bellhop_proxy_tunnels_open{kind=\"upgrade\"} 1"), "{open}");
    drop(tunnel);
    let closed = text(&telemetry);
    assert!(closed.contains("bellhop_proxy_tunnels_open{kind=\"upgrade\"} 0"), "{closed}");
    assert!(closed.contains("bellhop_proxy_tunnels_total{kind=\"upgrade\"} 1"), "{closed}");
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
        record.decided(&baseline(reason), NO_FIELDS);
        record.describe(|_| Account { path: b"/x".as_slice().into(), ..Account::default() });
        // However it ends.
        record.refused(Reason::ConnectRefused);
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
    record.decided(&baseline(Reason::Malformed), NO_FIELDS);
    let long = vec![b'k'; 10 * 1024];
    record.describe(|_| Account {
        method: b"GET".as_slice().into(),
        authority: b"a\r\n{\"decision\":\"sandbox\"}\x1b[2J\x7f\xff".as_slice().into(),
        path: long.as_slice().into(),
        ..Account::default()
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
    let telemetry = Telemetry::new(&config(AccessLog::All), Stuck(Arc::clone(&gate)));
    let worker = telemetry.worker(0);
    let before = Instant::now();
    for _ in 0..10_000 {
        let mut record = begin(&worker);
        record.decided(&baseline(Reason::NoKey), NO_FIELDS);
        record.describe(|_| Account::default());
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    let text = text(&telemetry);
    drop(held);
    let dropped = text.lines().find_map(|line| line.strip_prefix("bellhop_proxy_access_log_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 1000, "{dropped:?}");
}

/// A head with one baggage field.
struct Carrying(String);

impl HeadView for Carrying {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        std::iter::once((b"baggage".as_slice(), self.0.as_bytes()))
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }
}

fn table() -> RouteTable {
    let mut table = TableBuilder::new("default".parse().unwrap());
    for unit in [
        r#"{"service":{"namespace":"default","name":"route","ports":[{"port":80,"targetPort":80}],"addresses":["10.0.0.1"]}}"#,
        r#"{"key":{"key":"pr-15","digest":"","routes":[{"destination":"route:80","endpoints":["10.0.0.7:80"]}]}}"#,
    ] {
        table.put(&serde_json::from_str(unit).unwrap()).unwrap();
    }
    table.finish()
}

#[test]
fn b16_unknown_keys_leave_no_series_behind() {
    let (telemetry, _written) = telemetry(AccessLog::Off);
    let (worker, table) = (telemetry.worker(0), table());
    let carriers = Carriers::new(["baggage".parse().unwrap()]);
    let place = Place::Dialled("10.0.0.1:80".parse().unwrap());
    let request = |number: usize| {
        let keys = carriers.read(&Carrying(format!("routing-key=unknown-{number}")));
        let decision = bellhop_route::decide(&table, &keys, &place, None::<&[u8]>);
        assert_eq!(decision.verdict, Verdict::Baseline(Reason::UnknownKey));
        let mut record = begin(&worker);
        record.decided(&decision, NO_FIELDS);
        record.status(200);
    };
    request(0);
    let series = text(&telemetry).lines().count();
    (1..100_000).for_each(request);
    let after = text(&telemetry);
    assert_eq!(after.lines().count(), series);
    assert!(after.contains("reason=\"unknown-key\",status_class=\"2xx\"} 100000"), "{after}");
    assert_eq!(table.len(), 1);
}
