//! What the audit log tells where callers hang up, and where nobody knows them.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{Router, body::Body, middleware, routing::put};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, Instant, sleep, timeout},
};
use tower::ServiceExt as _;

use super::{
    access::Guarded,
    harness::{DEADLINE, Server, path, service},
};
use crate::{
    access::{Access, Peer, audit::Audit, rates::Buckets},
    api::{Api, guard},
    author::Author,
    config::Config,
    names::Resolver,
    telemetry::spans,
};

impl Guarded {
    /// A series that control tells of itself.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.get(&self.admin, "/metrics").await.body;
        let mut lines = text.as_str().unwrap().lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    }
}

/// Begins to put an object, and hangs up.
async fn hang_up(control: SocketAddr, object: &Value, fields: &str) {
    let (at, body) = (path(object), object.to_string());
    let head = format!(
        "PUT {at} HTTP/1.1\r\nHost: localhost\r\n{fields}Expect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut caller = TcpStream::connect(control).await.unwrap();
    caller.write_all(head.as_bytes()).await.unwrap();
    // it is asked for the body: the write has begun
    let mut go_on = [0; 25];
    timeout(DEADLINE, caller.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    caller.write_all(body.as_bytes()).await.unwrap();
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn control_that_ends_waits_for_a_write_whose_caller_has_hung_up_and_for_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let audit = format!("--audit-log={}", file.display());
    let server = Server::start_with(&["--store=memory", &audit]).await;
    let connections = async || {
        let text = server.get("/metrics").await.body.as_str().unwrap().to_owned();
        text.lines().any(|line| line == "bellhop_control_connections 1")
    };
    assert!(connections().await, "this client's");
    let control = Arc::clone(server.running.control());
    let held = control.writing.lock().await;
    hang_up(server.running.addr(), &service("route", "10.1.0.1"), "").await;
    let begun = Instant::now();
    while !connections().await {
        assert!(begun.elapsed() < DEADLINE, "control notices that the caller has hung up");
        sleep(Duration::from_millis(5)).await;
    }
    let mut ending = Box::pin(server.running.shutdown());
    let ended = timeout(Duration::from_millis(500), &mut ending).await;
    assert!(ended.is_err(), "the write has not ended");
    drop(held);
    timeout(DEADLINE, ending).await.unwrap();
    let lines = lines(&file);
    assert_eq!((lines.len(), &lines[0]["status"]), (1, &Value::from(201)));
}

#[tokio::test]
async fn a_write_that_panics_is_audited_as_failed_with_who_asked_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let server = Server::start().await;
    let args = [format!("--audit-log={}", file.display()), "--listen=127.0.0.1:0".into()];
    let config = Config::from_args(args).unwrap();
    let control = Arc::clone(server.running.control());
    let (audit, mut written) = Audit::open(config.access.audit).unwrap();
    let (queue, _) = spans::queue(&config.spans, &control.telemetry.spans).unwrap();
    let (_phase, phase) = tokio::sync::watch::channel(crate::server::Phase::Serving);
    let api = Arc::new(Api {
        author: Author { control, resolver: Arc::new(Resolver::default()) },
        loopback: false,
        phase,
        access: Access::new(true, Vec::new(), None),
        audit,
        writes: Buckets::new(guard::WRITES),
        spans: queue.into(),
    });
    let broken = async || -> StatusCode { panic!("as a fault in the program would") };
    let router: Router = Router::new()
        .route("/v1/namespaces/{namespace}/{kind}/{name}", put(broken))
        .layer(middleware::from_fn_with_state(api, guard::guard));
    let object = path(&service("route", "10.1.0.1"));
    let peer = Peer { address: server.running.addr(), identity: None };
    let request = Request::put(&object).extension(peer).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    timeout(DEADLINE, written.all()).await.expect("nobody writes any more");
    let line = &lines(&file)[0];
    let told = (&line["what"], &line["status"], &line["outcome"], &line["who"]);
    assert_eq!(told, (&object.into(), &500.into(), &"failed".into(), &"anonymous".into()));
}

#[tokio::test]
async fn a_write_whose_caller_hangs_up_comes_to_its_end_and_is_audited() {
    let guarded = Guarded::start().await;
    // this client's connection
    assert_eq!(guarded.metric("bellhop_control_connections ").await, 1.0);
    let held = guarded.server.running.control().writing.lock().await;
    let object = service("route", "10.1.0.1");
    let at = path(&object);
    hang_up(guarded.server.running.addr(), &object, &format!("Authorization: Bearer {}\r\n", guarded.admin))
        .await;
    let begun = Instant::now();
    while guarded.metric("bellhop_control_connections ").await > 1.0 {
        assert!(begun.elapsed() < DEADLINE, "control notices that the caller has hung up");
        sleep(Duration::from_millis(5)).await;
    }
    drop(held);
    let lines = guarded.audit(1).await;
    assert_eq!((&lines[0]["what"], &lines[0]["status"]), (&Value::from(at.as_str()), &Value::from(201)));
    assert_eq!(guarded.get(&guarded.admin, &at).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_nobody_knows_who_asked_for_fills_no_audit_log_and_is_counted() {
    const MANY: usize = 400;
    let guarded = Guarded::start().await;
    let object = service("route", "10.1.0.1");
    let refused = |nth: usize| ["/nope".to_owned(), path(&object)][nth % 2].clone();
    for nth in 0..MANY {
        let answer = guarded.send("", Method::PUT, &refused(nth), &object).await;
        assert!(answer.status.is_client_error(), "{}", answer.status);
    }
    let omitted = guarded.metric("bellhop_control_audit_omitted_total").await;
    // one a second is told, beyond the first hundred
    assert!(omitted > 200.0, "{omitted}");
    let put = guarded.send(&guarded.admin, Method::PUT, &path(&object), &object).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let lines = guarded.audit(101).await;
    assert!(lines.len() < MANY / 2, "{}", lines.len());
    assert_eq!(lines.last().unwrap()["who"], "token:bootstrap", "who is known is told of");
    // the next line tells how many are missing
    let begun = Instant::now();
    let told = loop {
        guarded.send("", Method::PUT, &refused(0), &object).await;
        let lines = guarded.audit(1).await;
        if let Some(told) = lines.iter().find_map(|line| line["omitted"].as_u64()) {
            break told;
        }
        assert!(begun.elapsed() < DEADLINE, "one line a second");
        sleep(Duration::from_millis(50)).await;
    };
    assert!(told > 0);
}
