use std::collections::BTreeSet;

use http::Method;

use super::harness::{Server, sandbox};

async fn scrape(server: &Server, path: &str) -> String {
    server.get(path).await.body.as_str().unwrap().to_owned()
}

/// Names of series with their labels, and values.
fn series(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

fn value(text: &str, name: &str) -> f64 {
    series(text).iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("{name} in {text}")).1
}

#[tokio::test]
async fn metrics_tell_what_happened_and_no_series_holds_what_a_caller_sent() {
    let server = Server::start().await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let watch = server.watch("").await;
    for n in 0..50 {
        server.get(&format!("/v1/namespaces/default/sandboxes/nobody-{n}")).await;
        server.get(&format!("/nowhere/{n}")).await;
        server.send(Method::from_bytes(format!("M{n}").as_bytes()).unwrap(), "/v1/routes", &[], "").await;
    }
    let text = scrape(&server, "/metrics").await;
    assert_eq!(value(&text, r#"bellhop_control_objects{kind="Sandbox"}"#), 1.0);
    assert_eq!(value(&text, "bellhop_control_route_keys"), 1.0);
    assert_eq!(value(&text, "bellhop_control_watchers"), 1.0);
    assert!(value(&text, "bellhop_control_store_commits_total") >= 1.0);
    assert_eq!(value(&text, r#"bellhop_control_store_faults_total{what="commit"}"#), 0.0);
    let missing = r#"bellhop_control_requests_total{method="GET",path="/v1/namespaces/{namespace}/{kind}/{name}",status_class="4xx"}"#;
    assert_eq!(value(&text, missing), 50.0);
    assert!(!text.contains("nobody") && !text.contains("nowhere") && !text.contains("M49"), "{text}");
    drop(watch);
    let gone = async { while value(&scrape(&server, "/metrics").await, "bellhop_control_watchers") > 0.0 {} };
    tokio::time::timeout(super::harness::DEADLINE, gone).await.unwrap();
}

#[tokio::test]
async fn every_metric_is_documented_and_no_other_is() {
    let server = Server::start().await;
    // the first request is counted when it was answered
    scrape(&server, "/metrics").await;
    let text = scrape(&server, "/metrics").await;
    let shown: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let document = include_str!("../../../OPERATING.md");
    let told: BTreeSet<_> = document
        .lines()
        .filter(|line| line.starts_with("| `bellhop_control_"))
        .flat_map(|line| {
            line.split('|').nth(1).unwrap().split('`').filter(|name| name.starts_with("bellhop_"))
        })
        .collect();
    assert_eq!(shown, told);
}
