use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Server, group, sandbox, service};

const METHODS: [(&str, Method); 5] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
];

#[tokio::test]
async fn the_openapi_document_names_every_path_and_method_that_there_is_and_no_other() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        let url = path
            .replace("{namespace}", "default")
            .replace("{name}", "x")
            .replace("{key}", "x")
            .replace("{id}", "x");
        for (name, method) in METHODS {
            let answer = server.send(method, &url, &[], "").await;
            let there = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(there, item.get(name).is_some(), "{name} {path}: {}", answer.status);
            assert!(
                !answer.body["detail"].as_str().is_some_and(|text| text.contains("no such path")),
                "{path}"
            );
            if let Some(responses) = item[name]["responses"].as_object().filter(|_| there) {
                assert!(
                    responses.contains_key(answer.status.as_str()),
                    "{name} {path} answers {}",
                    answer.status
                );
            }
        }
    }
}

/// Every field of `value` is a property of the schema, at every depth.
fn assert_described(document: &Value, schema: &Value, value: &Value, at: &str) {
    // where null is allowed beside a schema, this is about the schema
    let schema = schema.pointer("/anyOf/0").unwrap_or(schema);
    let schema = match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
        }
        None => schema,
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let property = schema["properties"]
                    .get(name)
                    .or(schema.get("additionalProperties").filter(|p| p.is_object()));
                let property = property.unwrap_or_else(|| panic!("{at}.{name} is not in the document"));
                assert_described(document, property, value, &format!("{at}.{name}"));
            }
            let required =
                schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
            let missing: BTreeSet<_> = required.filter(|name| !fields.contains_key(*name)).collect();
            assert!(missing.is_empty(), "{at} lacks {missing:?}");
        }
        Value::Array(items) => {
            items.iter().for_each(|item| assert_described(document, &schema["items"], item, at))
        }
        Value::String(text) => {
            if let Some(allowed) = schema["enum"].as_array() {
                assert!(allowed.contains(&json!(text)), "{at}: {text}");
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_openapi_document_describes_what_is_really_answered() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.body;
    let mut described = service("route", "10.1.0.1");
    described["spec"] = json!({ "ports": [{ "name": "http", "port": 8080, "targetPort": 9090 }], "addresses": ["10.1.0.1"],
                                "workloads": ["10.1.0.2"], "overrideFrom": ["*"] });
    described["metadata"]["annotations"] = json!({ "a": "b" });
    server.apply(&described).await;
    let mut full = sandbox("a", &["route"], "10.0.0.7");
    full["metadata"]["labels"] = json!({ "team": "x" });
    full["spec"]["routingKey"] = json!("a");
    full["spec"]["ttl"] = json!("4h");
    full["spec"]["overrides"] = json!([{ "service": "other", "port": 8080, "endpoints": ["10.0.0.7"], "fallback": "baseline",
        "protocol": "http2", "addresses": ["10.2.0.1"], "workloads": ["10.2.0.2"], "targetPort": 9 },
        { "service": "route", "endpoints": ["10.0.0.7"] }]);
    server.apply(&full).await;
    let mut selecting = group("g", &["a", "nobody"]);
    selecting["spec"]["selector"] = json!({ "matchLabels": { "team": "x" },
        "matchExpressions": [{ "key": "team", "operator": "In", "values": ["x"] }] });
    selecting["spec"]["namespaces"] = json!(["*"]);
    selecting["spec"]["ttl"] = json!("1h");
    server.apply(&selecting).await;
    let report = json!({ "version": "1", "tableDigest": "0000000000000000", "keys": 0 });
    server.write(Method::POST, "/v1/proxies/p", &report).await;
    for (path, schema) in [
        ("/v1/services?limit=1", "ServiceList"),
        ("/v1/sandboxes", "SandboxList"),
        ("/v1/groups", "SandboxGroupList"),
        ("/v1/namespaces/default/groups/g", "SandboxGroup"),
        ("/v1/explain?key=g&to=route:8080", "Explanation"),
        ("/v1/explain?key=nobody&to=route:8080", "Explanation"),
        ("/v1/keys/a/in-force", "InForce"),
        ("/v1/proxies", "ProxyList"),
        ("/v1/status", "SystemStatus"),
        ("/version", "Version"),
        ("/v1/nothing", "Problem"),
        ("/v1/explain", "Problem"),
    ] {
        let answer = server.get(path).await.body;
        assert_described(
            &document,
            &json!({ "$ref": format!("#/components/schemas/{schema}") }),
            &answer,
            schema,
        );
    }
    let routes = server.get("/v1/routes").await.body;
    for unit in routes["units"].as_array().unwrap() {
        let (kind, unit) = unit.as_object().unwrap().iter().next().unwrap();
        let schema = if kind == "key" { "KeyUnit" } else { "ServiceUnit" };
        assert_described(&document, &document["components"]["schemas"][schema], unit, schema);
    }
}
