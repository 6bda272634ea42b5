//! Spans, as a receiver decodes them.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::Instant,
};

use http::HeaderValue;

use crate::{
    harness::{Conn, DEADLINE, Proxy, echo, keyed, refusing, route, serve},
    peer,
    receiver::{Receiver, text},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn traced(path: &str, key: &str, flags: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: shop.test:8080\r\nBaggage: routing-key={key}\r\n\
         traceparent: 00-{TRACE}-{CALLER}-{flags}\r\ntracestate: vendor=1\r\n\r\n"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(conn: &mut Conn, request: &str) -> u16 {
    conn.send(request);
    conn.message().unwrap().status()
}

/// The value of one series, from the proxy's own metrics.
fn metric(proxy: &Proxy, series: &str) -> u64 {
    let mut admin = Conn::connect(proxy.running.admin().unwrap());
    admin.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = admin.message().unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{text}"));
    line.trim().parse().unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_keyed_request_makes_a_span_that_joins_its_callers_trace() {
    let (baseline, sandbox, receiver) = (echo("baseline"), echo("sandbox"), Receiver::start());
    let (flag, routes) = (receiver.flag(), vec![route("k", &[sandbox.address], false)]);
    let named = ["--service-name=shop-proxy", "--resource-attributes=team=a%20b", "--workload=shop"];
    let proxy = Proxy::with_routes(baseline.address, routes, &[&[flag.as_str()][..], &named[..]].concat());
    let mut client = proxy.client();
    let caller = client.socket.local_addr().unwrap();
    assert_eq!(answer(&mut client, &traced("/kept?secret=1", "k", "01")), 200);
    let span = receiver.spans("/kept", 1).remove(0);
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    assert!(span.span_id.len() == 8 && span.span_id != span.parent_span_id);
    assert_eq!((span.name.as_str(), span.kind, span.trace_state.as_str()), ("GET", 2, "vendor=1"));
    assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
    let endpoint = sandbox.address.to_string();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.peer.port", &caller.port().to_string()),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("bellhop.listener", "fixed"),
        ("bellhop.decision", "sandbox"),
        ("bellhop.routing_key", "k"),
        ("bellhop.destination", "app.default:80"),
        ("bellhop.endpoint", &endpoint),
        ("bellhop.reason", ""),
        ("error.type", ""),
    ] {
        assert_eq!(text(&span, name), value, "{name}");
    }
    assert!(!format!("{span:?}").contains("secret"));
    for (name, value) in [
        ("service.name", "shop-proxy"),
        ("team", "a b"),
        ("bellhop.workload", "shop"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(receiver.resource(name), value, "{name}");
    }
}

#[test]
fn the_trace_goes_on_as_it_came() {
    let upstream = serve(|mut conn, _| {
        while let Some(request) = conn.message() {
            let body = request.head;
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let receiver = Receiver::start();
    let proxy = Proxy::start(upstream.address, &[&receiver.flag()]);
    let mut client = proxy.client();
    let request = traced("/", "k", "01");
    client.send(&request);
    assert_eq!(client.message().unwrap().text(), request);
}

#[tokio::test]
async fn http2_and_grpc_requests_make_spans_as_well() {
    let baseline = peer::backend(|(request, respond)| async move {
        peer::read(&mut request.into_body()).await.unwrap();
        peer::answer(respond, "baseline");
    })
    .await;
    let receiver = Receiver::start();
    let proxy = peer::proxy_with(baseline, &[&receiver.flag(), "--access-log=off"]);
    let send = peer::connect(peer::address(&proxy)).await;
    let mut request = peer::get("/h2");
    let fields = request.headers_mut();
    fields.insert("baggage", HeaderValue::from_static("routing-key=k"));
    fields.insert("traceparent", format!("00-{TRACE}-{CALLER}-00").parse().unwrap());
    let (head, ..) = peer::call(&send, request, &[]).await.unwrap();
    assert_eq!(head.status, 200);
    let span = tokio::task::spawn_blocking(move || receiver.spans("/h2", 1).remove(0)).await.unwrap();
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    for (name, value) in [
        ("network.protocol.version", "2"),
        ("bellhop.decision", "baseline"),
        ("bellhop.reason", "no-table"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(text(&span, name), value, "{name}");
    }
}

#[test]
fn which_requests_make_a_span_is_configured() {
    for (spans, with_span) in [
        ("none", &[][..]),
        ("keyed", &["/keyed", "/keyed-sampled"][..]),
        ("sampled", &["/sampled", "/keyed-sampled"][..]),
        ("all", &["/plain", "/sampled", "/keyed", "/keyed-sampled"][..]),
    ] {
        let (baseline, receiver) = (echo("baseline"), Receiver::start());
        let proxy = Proxy::start(baseline.address, &[&receiver.flag(), &format!("--spans={spans}")]);
        let mut client = proxy.client();
        let sampled = format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n");
        let unsampled = format!("traceparent: 00-{TRACE}-{CALLER}-00\r\n");
        for (path, fields) in [
            ("/plain", String::new()),
            ("/sampled", sampled.clone()),
            ("/keyed", format!("Baggage: routing-key=k\r\n{unsampled}")),
            ("/keyed-sampled", format!("Baggage: routing-key=k\r\n{sampled}")),
        ] {
            assert_eq!(answer(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), 200);
        }
        // Its end exports what is left.
        drop((client, proxy));
        for path in with_span {
            receiver.spans(path, 1);
        }
        assert_eq!(receiver.len(), with_span.len(), "{spans}");
    }
}

#[test]
fn failures_say_why_and_a_request_without_a_trace_begins_one() {
    let (baseline, receiver) = (echo("baseline"), Receiver::start());
    let routes = vec![route("k", &[refusing()], false)];
    let proxy = Proxy::with_routes(baseline.address, routes, &[&receiver.flag()]);
    let mut client = proxy.client();
    assert_eq!(answer(&mut client, &keyed("k")), 503);
    let span = receiver.spans("/k", 1).remove(0);
    assert!(span.parent_span_id.is_empty() && hex(&span.trace_id) != "0".repeat(32));
    assert_eq!(text(&span, "error.type"), "connect-refused");
    assert_eq!(
        (text(&span, "bellhop.decision"), text(&span, "bellhop.reason")),
        ("refused".into(), "connect-refused".into())
    );
    assert_eq!(span.status.unwrap().code, 2);
}

#[test]
fn a_request_that_its_client_gives_up_makes_a_span_too() {
    let upstream = serve(|mut conn, _| {
        conn.message();
        conn.rest();
    });
    let receiver = Receiver::start();
    let proxy = Proxy::start(upstream.address, &[&receiver.flag()]);
    let mut client = proxy.client();
    client.send(&keyed("k"));
    until("it reached the upstream", || upstream.accepted() == 1);
    client.reset();
    let span = receiver.spans("/k", 1).remove(0);
    assert_eq!(text(&span, "http.response.status_code"), "");
    assert_eq!(span.status.unwrap().code, 2);
}

/// A receiver that takes connections and says nothing.
fn hanging() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_receiver_that_hangs_delays_no_request_and_what_waits_for_it_is_bounded() {
    let (baseline, (_listener, address)) = (echo("baseline"), hanging());
    let proxy = Proxy::start(baseline.address, &[&format!("--otlp-endpoint=http://{address}")]);
    let mut client = proxy.client();
    // More than may wait, with what is on its way.
    for _ in 0..4000 {
        assert_eq!(answer(&mut client, &keyed("k")), 200);
    }
    let outcome = |what: &str| metric(&proxy, &format!("bellhop_proxy_spans_total{{outcome=\"{what}\"}}"));
    // What may wait, what is on its way, and the last one, which may not be over yet. A message that got no answer in its
    // time has failed.
    until("what is more is dropped", || {
        let held = 4000 - outcome("dropped") - outcome("failed");
        held <= 2048 + 512 + 1
    });
    assert!(outcome("dropped") > 0);
    assert_eq!(metric(&proxy, "bellhop_proxy_spans_total{outcome=\"exported\"}"), 0);
    // It ends all the same.
    let began = Instant::now();
    drop((client, proxy));
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn a_receiver_that_refuses_or_fails_is_counted_and_changes_nothing() {
    let failing = serve(|mut conn, _| {
        while conn.message().is_some() {
            conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for address in [refusing(), failing.address] {
        let baseline = echo("baseline");
        let proxy = Proxy::start(baseline.address, &[&format!("--otlp-endpoint=http://{address}")]);
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(answer(&mut client, &keyed("k")), 200);
        }
        until("failures are counted", || {
            metric(&proxy, "bellhop_proxy_spans_total{outcome=\"failed\"}") == 3
        });
    }
}
