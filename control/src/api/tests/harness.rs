//! A control plane in memory, and a client of it.

use std::time::Duration;

use bellhop_api::{Manifest, watch::Event};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    app::{Running, start},
    config::Config,
};

/// Whatever is waited for comes within this time, or the test fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Server {
    pub(super) running: Running,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// The fields that a problem document names.
    pub(super) fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.map(|error| error["field"].as_str().unwrap()).collect()
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(&["--store=memory"]).await
    }

    pub(super) async fn start_with(args: &[&str]) -> Self {
        let args = ["--listen=127.0.0.1:0"].iter().chain(args).copied();
        let running = start(Config::from_args(args).unwrap()).await.unwrap();
        Self { running, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.running.addr()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        tokio::time::timeout(DEADLINE, self.client.request(request)).await.unwrap().unwrap()
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (parts, body) = self.open(method, path, headers, body.into()).await.into_parts();
        let bytes = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap().unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(super) async fn write(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Puts an object where its metadata says.
    pub(super) async fn put(&self, object: &Value) -> Answer {
        self.write(Method::PUT, &path(object), object).await
    }

    /// Puts an object, which must be accepted.
    pub(super) async fn apply(&self, object: &Value) -> Manifest {
        let answer = self.put(object).await;
        assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
        Manifest::from_value(answer.body).unwrap()
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// The decision of `explain` and its reason.
    pub(super) async fn explain(&self, keys: &str, to: &str) -> String {
        let answer = self.get(&format!("/v1/explain?key={keys}&to={to}")).await.body;
        match answer["reason"].as_str() {
            Some(reason) => format!("{}({reason})", answer["decision"].as_str().unwrap()),
            None => answer["route"]["endpoints"][0].as_str().unwrap().to_owned(),
        }
    }

    pub(super) async fn watch(&self, query: &str) -> Lines {
        self.watch_with(&[], query).await
    }

    pub(super) async fn watch_as(&self, token: &str, query: &str) -> Lines {
        self.watch_with(&[("authorization", &format!("Bearer {token}"))], query).await
    }

    async fn watch_with(&self, headers: &[(&str, &str)], query: &str) -> Lines {
        let target = format!("/v1/routes?watch=true{query}");
        let begun = Instant::now();
        loop {
            let response = self.open(Method::GET, &target, headers, Bytes::new()).await;
            // a replica that a busy machine has kept from its lease has it again in a moment
            if response.status() == StatusCode::SERVICE_UNAVAILABLE && begun.elapsed() < DEADLINE {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            assert_eq!(response.status(), StatusCode::OK);
            return Lines { body: response.into_body(), buffer: BytesMut::new() };
        }
    }
}

/// The lines of a watch.
pub(super) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                return Some(serde_json::from_slice(&self.buffer.split_to(end + 1)).unwrap());
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("a line in time")?;
            self.buffer.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }

    /// Events up to `synced`, in words, and its token.
    pub(super) async fn until_synced(&mut self) -> (Vec<String>, String) {
        let mut seen = Vec::new();
        loop {
            match self.next().await.expect("synced") {
                Event::Synced(position) => return (seen, position.token),
                other => seen.push(words(&other)),
            }
        }
    }
}

/// An event in words.
pub(super) fn words(event: &Event) -> String {
    use bellhop_api::watch::{Unit, UnitName};
    match event {
        Event::Reset(_) => "reset".into(),
        Event::Put { unit: Unit::Service(unit), .. } => format!("put service {}", unit.name),
        Event::Put { unit: Unit::Key(unit), .. } if unit.gone => format!("put key {} gone", unit.key),
        Event::Put { unit: Unit::Key(unit), .. } => format!("put key {}", unit.key),
        Event::Delete { unit: UnitName::Service { name, .. }, .. } => format!("delete service {name}"),
        Event::Delete { unit: UnitName::Key(key), .. } => format!("delete key {key}"),
        Event::Synced(_) => "synced".into(),
        Event::Bookmark(_) => "bookmark".into(),
        Event::Ask { keys } => format!("ask {keys:?}"),
        Event::Unknown => "unknown".into(),
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    json!({ "apiVersion": bellhop_api::API_VERSION, "kind": kind,
            "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}

pub(super) fn path(object: &Value) -> String {
    let kind = bellhop_api::Kind::from_kind(object["kind"].as_str().unwrap()).unwrap();
    let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    format!("/v1/namespaces/{}/{}/{}", text("namespace"), kind.plural(), text("name"))
}

/// A service with one port, 8080.
pub(super) fn service(name: &str, address: &str) -> Value {
    object("Service", name, json!({ "ports": [{ "port": 8080 }], "addresses": [address] }))
}

/// A sandbox that overrides all ports of some services by one endpoint.
pub(super) fn sandbox(name: &str, services: &[&str], endpoint: &str) -> Value {
    let overrides: Vec<_> =
        services.iter().map(|s| json!({ "service": s, "endpoints": [endpoint] })).collect();
    object("Sandbox", name, json!({ "overrides": overrides }))
}

/// A group of named members.
pub(super) fn group(name: &str, members: &[&str]) -> Value {
    object("SandboxGroup", name, json!({ "sandboxes": members }))
}
