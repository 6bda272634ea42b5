//! What is told of requests: spans, as a receiver decodes them, and lines of the log.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use http::{Method, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Duration, Instant, sleep},
};

use super::harness::{DEADLINE, Server, path, sandbox, service};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A receiver of spans, and what it was sent.
struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    async fn start() -> Self {
        let taken = Arc::<Mutex<Vec<Span>>>::default();
        let take = async |State(to): State<Arc<Mutex<Vec<Span>>>>, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            for resource in request.resource_spans {
                let name = &resource.resource.unwrap().attributes;
                assert_eq!(text(name, "service.name"), "routes");
                to.lock().unwrap().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, taken }
    }

    /// The spans of this name, once there are `count`.
    async fn spans(&self, name: &str, count: usize) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let all = self.taken.lock().unwrap().clone();
            let found: Vec<_> = all.into_iter().filter(|span| span.name == name).collect();
            if found.len() >= count {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "{} of {count} of {name}", found.len());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An attribute as text; empty where it is absent.
fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.clone());
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{name}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn telling(to: SocketAddr, more: &[&str]) -> Server {
    let endpoint = format!("--otlp-endpoint=http://{to}");
    let args = ["--store=memory", "--service-name=routes", &endpoint];
    Server::start_with(&[&args[..], more].concat()).await
}

#[tokio::test]
async fn a_request_makes_a_span_that_joins_its_caller_s_trace_and_tells_the_route_and_no_path() {
    let receiver = Receiver::start().await;
    let server = telling(receiver.address, &[]).await;
    let object = service("a-name-of-somebody", "10.1.0.1");
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let traced = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    let put = server.send(Method::PUT, &path(&object), &traced, object.to_string()).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let route = "/v1/namespaces/{namespace}/{kind}/{name}";
    let span = receiver.spans(&format!("PUT {route}"), 1).await.remove(0);
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), CALLER.to_owned()));
    for (name, value) in [
        ("http.request.method", "PUT"),
        ("http.route", route),
        ("http.response.status_code", "201"),
        ("client.address", "127.0.0.1"),
        ("bellhop.caller", "anonymous"),
        ("error.type", ""),
    ] {
        assert_eq!(text(&span.attributes, name), value, "{name}");
    }
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert!(!format!("{span:?}").contains("somebody"), "{span:?}");
    server.get("/no/such/path/of/somebody").await;
    let lost = receiver.spans("GET", 1).await.remove(0);
    assert!(!format!("{lost:?}").contains("somebody") && lost.parent_span_id.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_watch_makes_its_span_when_it_ends_and_a_report_makes_one_only_where_it_is_traced() {
    let receiver = Receiver::start().await;
    let server = telling(receiver.address, &[]).await;
    let report = json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 0 }).to_string();
    let kind = ("content-type", "application/json");
    for flags in ["01", "00", ""] {
        let traceparent = format!("00-{TRACE}-{CALLER}-{flags}");
        let headers = [kind, ("traceparent", traceparent.as_str())];
        let answer = server.send(Method::POST, "/v1/proxies/p1", &headers, report.clone()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    let mut watch = server.watch("&timeout_seconds=2").await;
    watch.until_synced().await;
    server.get("/v1/proxies").await;
    receiver.spans("GET /v1/proxies", 1).await;
    assert!(receiver.taken.lock().unwrap().iter().all(|span| span.name != "GET /v1/routes"), "it goes on");
    while watch.next().await.is_some() {}
    let span = receiver.spans("GET /v1/routes", 1).await.remove(0);
    assert!(span.end_time_unix_nano - span.start_time_unix_nano >= 1_900_000_000);
    assert_eq!(receiver.spans("POST /v1/proxies/{id}", 1).await.len(), 1);
}

#[tokio::test]
async fn only_sampled_traces_make_spans_where_that_is_asked_for() {
    let receiver = Receiver::start().await;
    let server = telling(receiver.address, &["--spans=sampled"]).await;
    for flags in ["00", "01"] {
        let traceparent = format!("00-{TRACE}-{CALLER}-{flags}");
        server.send(Method::GET, "/version", &[("traceparent", &traceparent)], "").await;
    }
    server.get("/version").await;
    server.running.shutdown().await;
    // what was left was told before it ended
    assert_eq!(receiver.taken.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_no_request_and_what_it_does_not_take_is_dropped_and_counted() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = telling(silent.local_addr().unwrap(), &[]).await;
    for _ in 0..3_500 {
        assert_eq!(server.get("/livez").await.status, StatusCode::OK);
    }
    let metrics = server.get("/metrics").await.body;
    let dropped = metrics
        .as_str()
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix(r#"bellhop_control_spans_total{outcome="dropped"} "#))
        .unwrap()
        .parse::<f64>();
    assert!(dropped.unwrap() > 0.0, "{metrics}");
}

/// Where a log goes that a test reads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Its lines so far.
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line of this route.
    async fn line(&self, route: &str) -> Value {
        let begun = Instant::now();
        loop {
            let found = self.lines().into_iter().find(|line| line["fields"]["route"] == route);
            if let Some(line) = found {
                return line["fields"].clone();
            }
            assert!(begun.elapsed() < DEADLINE, "no line of {route}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn each_request_makes_a_line_of_the_log_with_its_route_and_a_watch_makes_it_when_it_ends() {
    let log = Log::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter("off,bellhop_control::request=debug")
        .with_writer(move || to.clone())
        .finish();
    // of this thread, and this test runs on one
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let mut watch = server.watch("").await;
    watch.until_synced().await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let line = log.line("/v1/namespaces/{namespace}/{kind}/{name}").await;
    assert_eq!((&line["method"], &line["status"]), (&json!("PUT"), &json!(201)));
    assert_eq!(line["who"], "\"anonymous\"");
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    server.get("/somebody's/path%0Awith%20all%20kinds").await;
    assert_eq!(log.line("none").await["status"], 404);
    let report = json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 0 });
    server.write(Method::POST, "/v1/proxies/p1", &report).await;
    assert!(log.lines().iter().all(|line| line["fields"]["route"] != "/v1/routes"), "it goes on");
    drop(watch);
    assert_eq!(log.line("/v1/routes").await["status"], 200);
    let all = log.lines();
    assert!(all.iter().all(|line| line["fields"]["route"] != "/v1/proxies/{id}"), "reports are too many");
    assert!(!format!("{all:?}").contains("somebody"), "{all:?}");
}
