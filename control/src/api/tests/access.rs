//! Who may, over real sockets: B18's part of it.

use std::os::unix::fs::PermissionsExt as _;

use bellhop_api::access::{Role, TokenCreated, TokenRequest};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    faults::assert_problem,
    harness::{Server, path, sandbox, service},
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A control plane that asks everybody, and its first token.
pub(super) struct Guarded {
    pub(super) server: Server,
    pub(super) admin: String,
    data: tempfile::TempDir,
}

impl Guarded {
    pub(super) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let audit = format!("--audit-log={}/audit.jsonl", data.path().display());
        let directory = format!("--data-dir={}", data.path().display());
        let server = Server::start_with(&["--store=memory", "--auth=required", &audit, &directory]).await;
        let admin = std::fs::read_to_string(data.path().join("bootstrap-token")).unwrap();
        Self { server, admin: admin.trim().to_owned(), data }
    }

    pub(super) async fn send(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> super::harness::Answer {
        let authorization = format!("Bearer {token}");
        let headers = [JSON, ("authorization", authorization.as_str())];
        let headers = if token.is_empty() { &headers[..1] } else { &headers[..] };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.send(method, path, headers, body).await
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> super::harness::Answer {
        self.send(token, Method::GET, path, &Value::Null).await
    }

    async fn token(&self, role: Role, namespaces: &[&str], ttl: &str) -> TokenCreated {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let request = TokenRequest { role, namespaces, ttl: Some(ttl.into()), description: "test".into() };
        let request = serde_json::to_value(request).unwrap();
        let answer = self.send(&self.admin, Method::POST, "/v1/tokens", &request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store");
        serde_json::from_value(answer.body).unwrap()
    }

    /// What the audit log holds, once it holds `count` lines.
    pub(super) async fn audit(&self, count: usize) -> Vec<Value> {
        let begun = tokio::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(self.data.path().join("audit.jsonl")).unwrap();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(begun.elapsed() < super::harness::DEADLINE, "{lines:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn b18_who_shows_no_token_an_expired_or_a_foreign_one_gets_401_and_nothing_is_stored() {
    let guarded = Guarded::start().await;
    let expired = guarded.token(Role::Admin, &[], "1s").await;
    let object = service("route", "10.1.0.1");
    let expired = expired.token.reveal();
    let begun = tokio::time::Instant::now();
    while guarded.get(expired, "/v1/whoami").await.status == StatusCode::OK {
        assert!(begun.elapsed() < super::harness::DEADLINE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for token in ["", expired, "bh_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "eyJhbGciOiJIUzI1NiJ9.e30.x"]
    {
        for (method, at, body) in [
            (Method::PUT, path(&object).as_str(), object.clone()),
            (Method::DELETE, &path(&object), Value::Null),
            (Method::GET, "/v1/services", Value::Null),
            (Method::GET, "/v1/routes?watch=true", Value::Null),
            (Method::POST, "/v1/proxies/p1", json!({ "version": "1", "tableDigest": "0", "keys": 0 })),
            (Method::POST, "/v1/tokens", json!({ "role": "admin" })),
            (Method::GET, "/v1/whoami", Value::Null),
        ] {
            let answer = guarded.send(token, method, at, &body).await;
            assert_problem(&answer, StatusCode::UNAUTHORIZED, "");
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
        }
    }
    for (open, status) in
        [("/livez", StatusCode::OK), ("/version", StatusCode::OK), ("/nope", StatusCode::NOT_FOUND)]
    {
        assert_eq!(guarded.get("", open).await.status, status);
    }
    assert_eq!(guarded.get(&guarded.admin, "/v1/services").await.body["items"], json!([]));
    assert_eq!(guarded.get(&guarded.admin, "/v1/proxies").await.body["items"], json!([]));
}

#[tokio::test]
async fn b18_a_developer_edits_in_its_own_namespace_and_gets_403_with_the_field_in_a_foreign_one() {
    let guarded = Guarded::start().await;
    let developer = guarded.token(Role::Developer, &["shop"], "1h").await;
    let developer = developer.token.reveal();
    let own = service("shop/route", "10.1.0.1");
    let put = guarded.send(developer, Method::PUT, &path(&own), &own).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.body);
    let foreign = service("pay/route", "10.1.0.2");
    for (method, at, body) in [
        (Method::PUT, path(&foreign), foreign.clone()),
        (Method::POST, "/v1/namespaces/pay/services".into(), foreign.clone()),
        (Method::DELETE, path(&foreign), Value::Null),
    ] {
        let answer = guarded.send(developer, method, &at, &body).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "metadata.namespace");
    }
    // the path decides, and what the body says must agree with it
    let smuggled = guarded.send(developer, Method::PUT, &path(&own), &foreign).await;
    assert_problem(&smuggled, StatusCode::UNPROCESSABLE_ENTITY, "metadata.namespace");
    assert_eq!(guarded.get(&guarded.admin, "/v1/namespaces/pay/services").await.body["items"], json!([]));
    // a service of another namespace is overridden only where it says so, whoever asks
    let put = guarded.send(&guarded.admin, Method::PUT, &path(&foreign), &foreign).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let reaching = sandbox("shop/pr-15", &["route.pay"], "10.0.0.7");
    let answer = guarded.send(developer, Method::PUT, &path(&reaching), &reaching).await;
    assert_problem(&answer, StatusCode::FORBIDDEN, "spec.overrides[0].service");
    let mut permitting = foreign.clone();
    permitting["spec"]["overrideFrom"] = json!(["shop"]);
    let put = guarded.send(&guarded.admin, Method::PUT, &path(&foreign), &permitting).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    let answer = guarded.send(developer, Method::PUT, &path(&reaching), &reaching).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_problem(&guarded.get(developer, "/v1/tokens").await, StatusCode::FORBIDDEN, "");
    let report = json!({ "version": "1", "tableDigest": "0000000000000000", "keys": 0 });
    let report = guarded.send(developer, Method::POST, "/v1/proxies/p1", &report).await;
    assert_problem(&report, StatusCode::FORBIDDEN, "");
}

#[tokio::test]
async fn a_proxy_watches_and_reports_and_its_watch_ends_when_its_token_is_revoked_or_expires() {
    let guarded = Guarded::start().await;
    let (revoked, expiring) =
        (guarded.token(Role::Proxy, &[], "1h").await, guarded.token(Role::Proxy, &[], "2s").await);
    let mut watches = Vec::new();
    for token in [&revoked, &expiring] {
        let mut watch = guarded.server.watch_as(token.token.reveal(), "&proxy=p1").await;
        watch.until_synced().await;
        watches.push(watch);
    }
    let object = service("route", "10.1.0.1");
    let put = guarded.send(revoked.token.reveal(), Method::PUT, &path(&object), &object).await;
    assert_problem(&put, StatusCode::FORBIDDEN, "");
    let report = json!({ "version": "1", "tableDigest": "0000000000000000", "keys": 0, "fromALaterVersion": { "x": 1 } });
    let report = guarded.send(revoked.token.reveal(), Method::POST, "/v1/proxies/p1", &report).await;
    assert_eq!(
        report.status,
        StatusCode::NO_CONTENT,
        "what a later version adds is skipped: {}",
        report.body
    );
    let gone = format!("/v1/tokens/{}", revoked.info.id);
    let answer = guarded.send(&guarded.admin, Method::DELETE, &gone, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    for mut watch in watches {
        while watch.next().await.is_some() {}
    }
    for token in [revoked, expiring] {
        assert_problem(&guarded.get(token.token.reveal(), "/v1/routes").await, StatusCode::UNAUTHORIZED, "");
    }
    let answer = guarded.send(&guarded.admin, Method::DELETE, &gone, &Value::Null).await;
    assert_problem(&answer, StatusCode::NOT_FOUND, "");
}

#[tokio::test]
async fn the_first_token_is_an_admins_for_its_owner_alone_and_lists_tell_no_secret() {
    let guarded = Guarded::start().await;
    let file = guarded.data.path().join("bootstrap-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let me = guarded.get(&guarded.admin, "/v1/whoami").await.body;
    assert_eq!((me["name"].as_str(), me["role"].as_str()), (Some("token:bootstrap"), Some("admin")));
    let made = guarded.token(Role::Developer, &["*"], "1h").await;
    let list = guarded.get(&guarded.admin, "/v1/tokens").await.body;
    let ids: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&"bootstrap") && ids.contains(&made.info.id.as_str()), "{ids:?}");
    let text = list.to_string();
    assert!(!text.contains("bh_") && !text.contains("hash"), "{text}");
    for (request, field) in [
        (json!({ "role": "root" }), "role"),
        (json!({ "role": "developer" }), "namespaces"),
        (json!({ "role": "proxy", "ttl": "91d" }), "ttl"),
        (json!({ "role": "proxy", "colour": "red" }), "colour"),
    ] {
        let answer = guarded.send(&guarded.admin, Method::POST, "/v1/tokens", &request).await;
        assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, field);
    }
}

#[tokio::test]
async fn every_attempt_to_write_is_audited_with_who_what_and_outcome_and_without_secrets() {
    let guarded = Guarded::start().await;
    let developer = guarded.token(Role::Developer, &["shop"], "1h").await;
    let (own, foreign) = (service("shop/route", "10.1.0.1"), service("pay/route", "10.1.0.2"));
    let token = developer.token.reveal();
    let put = guarded.send(token, Method::PUT, &path(&own), &own).await;
    guarded.send(token, Method::PUT, &format!("{}?dryRun=true", path(&own)), &own).await;
    guarded.send(token, Method::PUT, &path(&foreign), &foreign).await;
    guarded.send("", Method::DELETE, &path(&own), &Value::Null).await;
    guarded.send(token, Method::PUT, &path(&own), &json!({ "kind": "Pod" })).await;
    guarded.get(token, "/v1/services").await;
    let lines = guarded.audit(6).await;
    let short: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
            let dry = if line["dryRun"] == true { " dry" } else { "" };
            let (who, role, what) = (text("who"), text("role"), text("what"));
            let who = who.replace(&developer.info.id, "ID");
            let what = what.replace(&developer.info.id, "ID");
            format!("{who} {role} {} {what}{dry} {} {}", text("method"), text("outcome"), line["status"])
        })
        .collect();
    let own_path = path(&own);
    assert_eq!(
        short,
        [
            "token:bootstrap admin POST /v1/tokens/ID done 201".to_owned(),
            format!("token:ID developer PUT {own_path} done 201"),
            format!("token:ID developer PUT {own_path} dry done 200"),
            format!("token:ID developer PUT {} denied 403", path(&foreign)),
            format!("- - DELETE {own_path} denied 401"),
            format!("token:ID developer PUT {own_path} refused 422"),
        ]
    );
    assert_eq!(lines[1]["resourceVersion"], put.body["metadata"]["resourceVersion"]);
    assert!(lines.iter().all(|line| line["from"].as_str().unwrap().starts_with("127.0.0.1:")));
    let file = guarded.data.path().join("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("bh_"), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn of_two_replicas_that_start_on_one_store_one_makes_the_first_token() {
    use std::sync::Arc;

    use crate::{
        access::{Tokens, bootstrap::bootstrap},
        store::{Embedded, Store as _},
    };
    let store = Arc::new(Embedded::in_memory().unwrap());
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = jiff::Timestamp::now();
    let start = async |directory: &std::path::Path| {
        // both have seen a store without tokens
        bootstrap(&*store, &Tokens::default(), directory, now).await.unwrap();
        directory.join("bootstrap-token").exists()
    };
    let (first, second) = tokio::join!(start(a.path()), start(b.path()));
    assert!(first != second, "{first} {second}");
    let listing = store.list().await.unwrap();
    let tokens = Tokens::default();
    tokens.take_listing(&listing);
    assert_eq!(tokens.all().len(), 1);
    let later = now + jiff::SignedDuration::from_hours(25);
    bootstrap(&*store, &tokens, a.path(), now).await.unwrap();
    assert_eq!(a.path().join("bootstrap-token").exists(), first, "there is one");
    bootstrap(&*store, &tokens, b.path(), later).await.unwrap();
    assert!(b.path().join("bootstrap-token").exists(), "it has expired, and nobody could make another");
}
