//! Replicas that speak TLS, with callers and with one another.

use std::path::Path;

use bellhop_api::access::{Role, TokenCreated, TokenRequest};
use bellhop_client::{Credentials, Reach, Source, Timing};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::*;
use crate::{
    app::{Running, start},
    config::Config,
};

/// A replica that shows certificates of this directory, and asks callers who they are.
async fn secure(etcd: &Etcd, directory: &Path, certs: &str) -> Running {
    let at = directory.display();
    let args = [
        format!("--store=etcd://{}/test", etcd.endpoint().trim_start_matches("http://")),
        format!("--dev-certs={at}/{certs}"),
        format!("--data-dir={at}/data"),
        "--replica-lease=2s".to_owned(),
        "--audit-log=off".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
    ];
    start(Config::from_args(args).unwrap()).await.unwrap()
}

/// Somebody with this token, at a replica.
struct At {
    reach: Reach,
}

impl At {
    fn replica(running: &Running, directory: &Path, token: Option<&str>) -> Self {
        let credentials = Credentials {
            token: token.map(|token| Source::Text(bellhop_api::access::Secret::new(token))),
            ca: Some(Source::File(directory.join("certs/ca.pem"))),
            certificate: None,
        };
        let url = format!("https://{}", running.addr()).parse().unwrap();
        Self { reach: Reach::new(url, credentials, Timing { connect: DEADLINE, idle: DEADLINE }) }
    }

    /// With the first token.
    async fn first(running: &Running, directory: &Path) -> Self {
        let token = std::fs::read_to_string(directory.join("data/bootstrap-token")).unwrap();
        Self::known(running, directory, token.trim()).await
    }

    /// With this token, once it is known there.
    async fn known(running: &Running, directory: &Path, token: &str) -> Self {
        let at = Self::replica(running, directory, Some(token));
        until("the token is known", async || at.get("/v1/whoami").await.0 == StatusCode::OK).await;
        at
    }

    async fn open(&self, method: Method, path: &str, body: &Value) -> http::Response<Incoming> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(format!("{}{path}", self.reach.url()));
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)));
        tokio::time::timeout(DEADLINE, self.reach.send(request.unwrap())).await.unwrap().unwrap()
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let (parts, body) = self.open(method, path, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, &Value::Null).await
    }

    async fn put(&self, object: &Value) {
        let (status, said) = self.send(Method::PUT, &crate::api::tests::harness::path(object), object).await;
        assert!(status.is_success(), "{status} {said}");
    }

    async fn token(&self, role: Role) -> String {
        let namespaces = if role == Role::Developer { vec!["*".into()] } else { Vec::new() };
        let request = TokenRequest { role, namespaces, ttl: None, description: "test".into() };
        let (status, said) =
            self.send(Method::POST, "/v1/tokens", &serde_json::to_value(request).unwrap()).await;
        assert_eq!(status, StatusCode::CREATED, "{said}");
        serde_json::from_value::<TokenCreated>(said).unwrap().token.reveal().to_owned()
    }
}

#[tokio::test]
async fn replicas_with_tls_and_tokens_ask_each_other_and_a_change_at_one_comes_in_force_on_a_proxy_of_the_other()
 {
    let Some(etcd) = Etcd::start().await else { return };
    let files = tempfile::tempdir().unwrap();
    let (one, two) = (secure(&etcd, files.path(), "certs").await, secure(&etcd, files.path(), "certs").await);
    announced(&etcd, 2).await;
    let admin = At::first(&one, files.path()).await;
    let developer = At::known(&two, files.path(), &admin.token(Role::Developer).await).await;
    let proxy = At::known(&one, files.path(), &admin.token(Role::Proxy).await).await;
    let mut watch = proxy.open(Method::GET, "/v1/routes?watch=true&proxy=p1", &Value::Null).await.into_body();
    assert!(watch.frame().await.is_some());

    developer.put(&service("route", "10.1.0.1")).await;
    developer.put(&sandbox("a", &["route"], "10.0.0.7")).await;
    let (_, open) = developer.get("/v1/keys/a/in-force").await;
    assert_eq!((&open["inForce"], &open["waitingFor"]), (&json!(false), &json!(["p1"])), "{open}");
    let report = json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 1, "digests": { "a": open["digest"] } });
    let (wait, told) = tokio::join!(
        developer.get("/v1/keys/a/in-force?waitSeconds=15"),
        proxy.send(Method::POST, "/v1/proxies/p1", &report)
    );
    assert_eq!(told.0, StatusCode::NO_CONTENT);
    assert_eq!((&wait.1["inForce"], &wait.1["proxies"]), (&json!(true), &json!(1)), "{}", wait.1);
    let (_, status) = developer.get("/v1/status").await;
    let asked = status["replicas"].as_array().unwrap().iter().all(|replica| {
        replica["answers"] == true && replica["address"].as_str().unwrap().starts_with("https://")
    });
    assert!(asked, "{status}");
}

#[tokio::test]
async fn b18_with_tls_the_replicas_own_paths_stay_closed_and_their_secret_goes_only_to_who_is_vouched_for() {
    let Some(etcd) = Etcd::start().await else { return };
    let files = tempfile::tempdir().unwrap();
    let one = secure(&etcd, files.path(), "certs").await;
    let admin = At::first(&one, files.path()).await;
    for who in [&admin, &At::replica(&one, files.path(), None)] {
        for path in [
            "/internal/v1/proxies",
            "/internal/v1/status",
            "/internal/v1/in-force?key=a&digest=0000000000000000&revision=0",
        ] {
            assert_eq!(who.get(path).await.0, StatusCode::FORBIDDEN, "{path}: no role opens it");
        }
    }
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let in_the_clear = format!("http://{}", plain.local_addr().unwrap());
    etcd.etcdctl(&["put", "/test/replicas/plain", &in_the_clear]);
    let stranger = secure(&etcd, files.path(), "other-certs").await;
    announced(&etcd, 3).await;
    let mut silent = [in_the_clear, format!("https://{}", stranger.addr())];
    silent.sort();
    let (_, listed) = admin.get("/v1/proxies").await;
    assert_eq!(listed["unanswered"], json!(silent), "{listed}");
    let came = plain.accept();
    assert!(matches!(&came, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{came:?}");
}

#[tokio::test]
async fn b18_a_replica_does_not_start_with_a_secret_that_somebody_could_guess_or_that_is_no_text() {
    let Some(etcd) = Etcd::start().await else { return };
    let store = format!("--store=etcd://{}/test", etcd.endpoint().trim_start_matches("http://"));
    let config = Config::from_args([&store, "--replica-lease=2s", "--listen=127.0.0.1:0"]).unwrap();
    let long_with_a_space = [b"x ".as_slice(); 40].concat();
    etcd.etcdctl(&["put", "/test/secret", ""]);
    for next in [b"short".as_slice(), &[0xff; 64], &long_with_a_space, b"the last one"] {
        let refused = start(config.clone()).await.unwrap_err().to_string();
        assert!(refused.contains("/test/secret") && refused.contains("delete"), "before {next:?}: {refused}");
        etcd.etcdctl_told(&["put", "/test/secret"], next);
    }
    etcd.etcdctl(&["del", "/test/secret"]);
    let running = start(config).await.unwrap();
    let own = etcd.etcdctl(&["get", "/test/secret", "--print-value-only"]);
    assert_eq!(own.trim().len(), 64, "a new one is made");
    running.shutdown().await;
}
