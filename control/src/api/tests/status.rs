//! `/v1/status`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Server, sandbox, service};

fn report(digest: &Value) -> Value {
    json!({ "version": "1.2.3", "workload": "route", "tableDigest": digest, "keys": 0 })
}

/// The digest that a proxy reports which holds the routes of one key, or none.
async fn newest(server: &Server) -> Value {
    let routes = server.get("/v1/routes").await.body;
    let mut keys = routes["units"].as_array().unwrap().iter().filter_map(|unit| unit.get("key"));
    keys.next().map_or_else(|| json!("0000000000000000"), |key| key["digest"].clone())
}

#[tokio::test]
async fn status_counts_objects_and_proxies_and_says_how_old_each_ones_table_is() {
    let server = Server::start().await;
    let fresh = server.get("/v1/status").await.body;
    assert_eq!((&fresh["healthy"], &fresh["problems"]), (&json!(true), &json!([])), "{fresh}");
    assert_eq!(fresh["replicas"][0]["holdsLease"], true, "the only one there is");
    let current = report(&newest(&server).await);
    for id in ["p1", "p2"] {
        let told = server.write(Method::POST, &format!("/v1/proxies/{id}"), &current).await;
        assert_eq!(told.status, StatusCode::NO_CONTENT);
    }
    let never = report(&json!("00000000000000ff"));
    server.write(Method::POST, "/v1/proxies/p3", &never).await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    server.write(Method::POST, "/v1/proxies/p1", &report(&newest(&server).await)).await;
    server.delete("/v1/namespaces/default/services/route").await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.write(Method::POST, "/v1/proxies/p1", &report(&newest(&server).await)).await;
    let status = server.get("/v1/status").await.body;
    assert_eq!(status["objects"], json!({ "services": 1, "sandboxes": 1, "groups": 0 }));
    assert_eq!(status["proxies"], json!({ "connected": 3, "lost": 0, "current": 1, "behind": 2 }));
    let ages: Vec<_> =
        status["items"].as_array().unwrap().iter().map(|proxy| &proxy["tableAgeSeconds"]).collect();
    assert!(ages[1].is_u64(), "it was current once: {status}");
    assert_eq!((ages[0], ages[2]), (&json!(0), &Value::Null), "{status}");
    assert_eq!(status["healthy"], false, "one is heard that never had the routes: {status}");
    assert!(status["problems"][0].as_str().unwrap().contains("p3"), "{status}");
    let store = &status["store"];
    assert_eq!((&store["kind"], &store["healthy"]), (&json!("memory"), &json!(true)));
    assert_eq!(store["revision"], store["newest"]);
}
