//! What the audit log tells where callers hang up, and where nobody knows them.

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, Instant, sleep, timeout},
};

use super::{
    access::Guarded,
    harness::{DEADLINE, path, service},
};

impl Guarded {
    /// A series that control tells of itself.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.get(&self.admin, "/metrics").await.body;
        let mut lines = text.as_str().unwrap().lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    }
}

#[tokio::test]
async fn a_write_whose_caller_hangs_up_comes_to_its_end_and_is_audited() {
    let guarded = Guarded::start().await;
    // this client's connection
    assert_eq!(guarded.metric("bellhop_control_connections ").await, 1.0);
    let held = guarded.server.running.control().writing.lock().await;
    let object = service("route", "10.1.0.1");
    let (at, body) = (path(&object), object.to_string());
    let head = format!(
        "PUT {at} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        guarded.admin,
        body.len()
    );
    let mut caller = TcpStream::connect(guarded.server.running.addr()).await.unwrap();
    caller.write_all(head.as_bytes()).await.unwrap();
    // it is asked for the body: the write has begun
    let mut go_on = [0; 25];
    timeout(DEADLINE, caller.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    caller.write_all(body.as_bytes()).await.unwrap();
    drop(caller);
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
