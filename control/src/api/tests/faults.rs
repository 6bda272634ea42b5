use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Answer, Server, group, path, sandbox, service};

pub(super) fn assert_problem(answer: &Answer, status: StatusCode, field: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["status"], status.as_u16());
    if !field.is_empty() {
        assert!(answer.fields().contains(&field), "{field}: {}", answer.body);
    }
}

#[tokio::test]
async fn b18_a_bad_manifest_is_refused_with_the_field_that_is_wrong_and_nothing_is_stored() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&service("shop/route", "10.1.0.2")).await;
    let change = |pointer: &str, value: Value| {
        let mut object = sandbox("bad", &["route"], "10.0.0.7");
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(field.into(), value);
        object
    };
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let twice = json!([{ "service": "route", "endpoints": ["10.0.0.7"] }, { "service": "route.default", "endpoints": ["10.0.0.8"] }]);
    for (object, status, field) in [
        (change("/spec/tll", json!("4h")), unprocessable, "spec.tll"),
        (change("/spec/ttl", json!("forever")), unprocessable, "spec.ttl"),
        (change("/spec/overrides", twice), unprocessable, "spec.overrides[1].service"),
        (change("/kind", json!("Pod")), unprocessable, "kind"),
        (change("/apiVersion", json!("v1")), unprocessable, "apiVersion"),
        (change("/metadata/resourceVersion", json!("7")), StatusCode::CONFLICT, "metadata.resourceVersion"),
        (sandbox("bad", &["route"], "169.254.169.254:80"), unprocessable, "spec.overrides[0].endpoints[0]"),
        (
            sandbox("bad", &["route"], "[::ffff:169.254.169.254]:80"),
            unprocessable,
            "spec.overrides[0].endpoints[0]",
        ),
        (sandbox("bad", &["route"], "0.0.0.0"), unprocessable, "spec.overrides[0].endpoints[0]"),
        (sandbox("bad", &["route"], "8.8.8.8"), unprocessable, "spec.overrides[0].endpoints[0]"),
        (sandbox("bad", &["route.shop"], "10.0.0.7"), StatusCode::FORBIDDEN, "spec.overrides[0].service"),
    ] {
        let answer = server.write(Method::PUT, "/v1/namespaces/default/sandboxes/bad", &object).await;
        assert_problem(&answer, status, field);
    }
    let elsewhere = server
        .write(Method::PUT, "/v1/namespaces/default/sandboxes/x", &sandbox("bad", &["route"], "10.0.0.7"))
        .await;
    assert_problem(&elsewhere, unprocessable, "metadata.name");
    assert_problem(&server.put(&group("bad", &[])).await, unprocessable, "spec.sandboxes");
    for list in ["/v1/sandboxes", "/v1/groups"] {
        assert_eq!(server.get(list).await.body["items"], json!([]));
    }
}

#[tokio::test]
async fn b18_bodies_that_are_too_large_too_deep_or_no_json_are_refused() {
    let server = Server::start().await;
    let at = path(&service("route", "10.1.0.1"));
    let put = async |kind: &'static str, body: Vec<u8>| {
        server.send(Method::PUT, &at, &[("content-type", kind)], body).await
    };
    assert_problem(&put("application/json", vec![b' '; 10 << 20]).await, StatusCode::PAYLOAD_TOO_LARGE, "");
    assert_problem(&put("application/json", b"[".repeat(100_000)).await, StatusCode::BAD_REQUEST, "");
    assert_problem(&put("application/json", b"{\"kind\":".to_vec()).await, StatusCode::BAD_REQUEST, "");
    assert_problem(&put("application/json", b"[]".to_vec()).await, StatusCode::UNPROCESSABLE_ENTITY, "kind");
    assert_problem(
        &put("text/plain", b"{}".to_vec()).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Content-Type",
    );
    assert_eq!(server.get("/v1/services").await.body["items"], json!([]));
}

#[tokio::test]
async fn b18_two_named_members_that_override_one_destination_differently_are_refused_and_nothing_is_stored() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    server.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    assert_problem(&server.put(&group("both", &["a", "b"])).await, StatusCode::CONFLICT, "spec.sandboxes");
    assert_eq!(server.get("/v1/groups").await.body["items"], json!([]));
    let at = path(&service("route", "10.1.0.1"));
    let twice = br#"{"spec":{"ports":[{"port":80}],"ports":[{"port":81}]}}"#.to_vec();
    let answer = server.send(Method::PUT, &at, &[("content-type", "application/json")], twice).await;
    assert_problem(&answer, StatusCode::BAD_REQUEST, "");
    assert!(answer.body["detail"].as_str().unwrap().contains("\"ports\" stands twice"), "{}", answer.body);
}

#[tokio::test]
async fn errors_of_the_router_are_problem_documents_too() {
    let server = Server::start().await;
    assert_problem(&server.get("/nope").await, StatusCode::NOT_FOUND, "");
    assert_problem(&server.get("/v1/pods").await, StatusCode::NOT_FOUND, "");
    assert_problem(&server.get("/v1/keys/a%2Fb/in-force").await, StatusCode::UNPROCESSABLE_ENTITY, "key");
    assert_problem(&server.get("/v1/explain?key=a").await, StatusCode::BAD_REQUEST, "to");
    assert_problem(&server.get("/v1/explain?to=route:8080&as=x").await, StatusCode::BAD_REQUEST, "as");
    let wrong = server.send(Method::POST, "/v1/routes", &[], "").await;
    assert_problem(&wrong, StatusCode::METHOD_NOT_ALLOWED, "");
    assert_eq!(wrong.headers["allow"], "GET,HEAD");
    let report = json!({ "version": "1", "tableDigest": "0", "keys": 0, "extra": 1 });
    let report = server.write(Method::POST, "/v1/proxies/p%201", &report).await;
    assert_problem(&report, StatusCode::UNPROCESSABLE_ENTITY, "id");
}

#[tokio::test]
async fn b18_a_faulty_query_is_refused_with_every_parameter_that_is_wrong_its_value_and_what_is_allowed() {
    let server = Server::start().await;
    for (path, faults) in [
        ("services?labelSelector=a%3D%3D%3Db", &[("labelSelector", "a===b", "")][..]),
        ("services?continue=x", &[("continue", "x", "")]),
        ("services?limit=many", &[("limit", "many", "from 1 to 5000")]),
        ("services?limit=0", &[("limit", "0", "from 1 to 5000")]),
        ("services?limit=5001", &[("limit", "5001", "from 1 to 5000")]),
        ("services?limit=1&limit=2", &[("limit", "2", "once")]),
        ("services?watch=true", &[("watch", "true", "labelSelector, limit, continue")]),
        ("services?limit=-1&x=y", &[("limit", "-1", "from 1"), ("x", "y", "allowed are")]),
        ("routes?watch=maybe", &[("watch", "maybe", "true or false")]),
        ("routes?timeoutSeconds=1&timeout_seconds=2", &[("timeout_seconds", "2", "once")]),
        ("keys/a/in-force?waitSeconds=1.5", &[("waitSeconds", "1.5", "whole number from 0")]),
        ("status?verbose=1", &[("verbose", "1", "no parameter")]),
    ] {
        let answer = server.get(&format!("/v1/{path}")).await;
        let named: Vec<_> = faults.iter().map(|(field, ..)| *field).collect();
        assert_problem(&answer, StatusCode::BAD_REQUEST, named[0]);
        assert_eq!(answer.fields(), named, "{path}");
        for (error, (_, value, rule)) in answer.body["errors"].as_array().unwrap().iter().zip(faults) {
            assert_eq!(error["value"], *value, "{path}");
            assert!(error["detail"].as_str().unwrap().contains(rule), "{path}: {error}");
        }
    }
    let internal = server.get("/internal/v1/in-force?revision=x&key=").await;
    assert_problem(&internal, StatusCode::BAD_REQUEST, "digest");
    assert_eq!(internal.fields(), ["key", "revision", "digest"]);
}

#[tokio::test]
async fn b21_a_loopback_listener_answers_no_foreign_host_and_no_web_page() {
    let server = Server::start().await;
    for headers in
        [[("host", "bellhop.example.com")], [("host", "10.0.0.1:7070")], [("origin", "http://localhost")]]
    {
        assert_problem(&server.send(Method::GET, "/livez", &headers, "").await, StatusCode::FORBIDDEN, "");
        let object = service("route", "10.1.0.1").to_string();
        let headers = [headers[0], ("content-type", "application/json")];
        let put = server.send(Method::PUT, "/v1/namespaces/default/services/route", &headers, object).await;
        assert_problem(&put, StatusCode::FORBIDDEN, "");
    }
    assert_eq!(server.get("/v1/services").await.body["items"], json!([]));
    assert_eq!(
        server.send(Method::GET, "/livez", &[("host", "localhost:1")], "").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn b18_a_patch_that_would_grow_without_bounds_is_refused() {
    let server = Server::start().await;
    let object = service("route", "10.1.0.1");
    server.apply(&object).await;
    let patch = async |operations: Vec<Value>| {
        let kind = [("content-type", "application/json-patch+json")];
        server.send(Method::PATCH, &path(&object), &kind, Value::from(operations).to_string()).await
    };
    let double = |n: usize| json!({ "op": "copy", "from": "/metadata", "path": format!("/metadata/c{n}") });
    assert_problem(&patch((0..60).map(double).collect()).await, StatusCode::PAYLOAD_TOO_LARGE, "");
    let test = json!({ "op": "test", "path": "/kind", "value": "Service" });
    assert_problem(&patch(vec![test.clone(); 257]).await, StatusCode::PAYLOAD_TOO_LARGE, "");
    assert_eq!(patch(vec![test; 256]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b18_what_a_proxy_says_of_itself_is_short() {
    let server = Server::start().await;
    for (field, value) in
        [("tableDigest", json!("0".repeat(17))), ("digests", json!({ "pr-15": "0".repeat(17) }))]
    {
        let mut report = json!({ "version": "1", "tableDigest": "0000000000000000", "keys": 0 });
        report[field] = value;
        let answer = server.write(Method::POST, "/v1/proxies/p1", &report).await;
        assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, field);
    }
    assert_eq!(server.get("/v1/proxies").await.body["items"], json!([]));
    let long = json!({ "workload": "w".repeat(10_000), "version": "1", "tableDigest": "0000000000000000", "keys": 0 });
    let answer = server.write(Method::POST, "/v1/proxies/p1", &long).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "a long name is no reason not to be heard");
    let kept = server.get("/v1/proxies").await.body;
    assert_eq!(kept["items"][0]["workload"].as_str().unwrap().len(), 253);
}

#[tokio::test]
async fn a_sandbox_that_can_route_nothing_is_degraded_and_says_what_is_missing() {
    let server = Server::start().await;
    let object = server.apply(&sandbox("bad", &["route"], "10.0.0.7")).await;
    let status = object.status().unwrap();
    assert_eq!(status.phase, bellhop_api::Phase::Degraded);
    let missing = status.conditions.iter().find(|c| c.kind == "ServiceMissing").unwrap();
    assert!(
        missing.message.contains("route.default") && missing.message.contains("apply a Service"),
        "{missing:?}"
    );
}
