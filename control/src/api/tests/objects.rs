use bellhop_api::{Kind, Manifest, Phase};
use http::{Method, StatusCode};
use serde_json::json;

use super::harness::{Server, group, path, sandbox, service};

#[tokio::test]
async fn put_creates_then_replaces_and_only_a_new_spec_counts_as_a_generation() {
    let server = Server::start().await;
    let mut wanted = sandbox("pr-15", &["route"], "10.0.0.7:80");
    wanted["spec"]["overrides"][0]["port"] = json!(8080);
    let first = server.put(&wanted).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(
        first.headers["etag"],
        format!("{:?}", first.body["metadata"]["resourceVersion"].as_str().unwrap()).as_str()
    );
    let same = server.put(&wanted).await;
    assert_eq!((same.status, &same.body["metadata"]["generation"]), (StatusCode::OK, &json!(1)));
    assert_eq!(same.body["metadata"]["uid"], first.body["metadata"]["uid"]);
    assert!(
        same.body["status"]["expiresAt"].as_str() > first.body["status"]["expiresAt"].as_str(),
        "every apply renews"
    );
    wanted["spec"]["overrides"][0]["endpoints"] = json!(["10.0.0.8:80"]);
    assert_eq!(server.put(&wanted).await.body["metadata"]["generation"], 2);
    let read = server.get(&path(&wanted)).await;
    assert_eq!(server.put(&read.body).await.status, StatusCode::OK, "what was read can be applied");
    assert_eq!(
        server.put(&read.body).await.status,
        StatusCode::CONFLICT,
        "once: its resourceVersion is old by then"
    );
}

#[tokio::test]
async fn a_service_that_is_applied_again_unchanged_is_not_written_again() {
    let server = Server::start().await;
    let first = server.put(&service("route", "10.1.0.1")).await;
    let again = server.put(&service("route", "10.1.0.1")).await;
    assert_eq!(first.headers["etag"], again.headers["etag"]);
}

#[tokio::test]
async fn preconditions_keep_a_write_from_overtaking_another() {
    let server = Server::start().await;
    let wanted = service("route", "10.1.0.1");
    let put = async |headers: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], headers].concat();
        server.send(Method::PUT, &path(&wanted), &headers, wanted.to_string()).await
    };
    assert_eq!(put(&[("if-match", "*")]).await.status, StatusCode::PRECONDITION_FAILED);
    let made = put(&[("if-none-match", "*")]).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let tag = made.headers["etag"].to_str().unwrap();
    assert_eq!(put(&[("if-none-match", "*")]).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put(&[("if-match", "\"no\"")]).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put(&[("if-match", tag)]).await.status, StatusCode::OK);
    let created = server.write(Method::POST, "/v1/namespaces/default/services", &wanted).await;
    assert_eq!(created.status, StatusCode::CONFLICT);
    let gone = server.send(Method::DELETE, &path(&wanted), &[("if-match", "\"no\"")], "").await;
    assert_eq!(gone.status, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test]
async fn a_dry_run_shows_the_outcome_and_stores_nothing() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    let wanted = sandbox("pr-15", &["route"], "10.0.0.7");
    let dry = server.write(Method::PUT, &format!("{}?dryRun=true", path(&wanted)), &wanted).await;
    assert_eq!(dry.status, StatusCode::CREATED);
    assert_eq!(dry.body["status"]["destinations"], json!(["route.default:8080"]));
    assert_eq!(server.get(&path(&wanted)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.explain("pr-15", "route:8080").await, "baseline(unknown-key)");
    let typo = server.write(Method::PUT, &format!("{}?dryrun=true", path(&wanted)), &wanted).await;
    assert_eq!(typo.status, StatusCode::BAD_REQUEST, "a parameter that is not known is refused");
}

#[tokio::test]
async fn lists_are_paged_and_selected_and_keep_namespaces_apart() {
    let server = Server::start().await;
    for n in 0..5 {
        let mut each = service(&format!("shop/s{n}"), "10.1.0.1");
        each["metadata"]["labels"] = json!({ "parity": if n % 2 == 0 { "even" } else { "odd" } });
        server.apply(&each).await;
    }
    server.apply(&service("route", "10.1.0.2")).await;
    let names = |body: &serde_json::Value| -> Vec<String> {
        body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&server.get("/v1/services").await.body).len(), 6);
    let (mut all, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = server.get(&format!("/v1/namespaces/shop/services?{query}")).await.body;
        all.extend(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(token) => query = format!("limit=2&continue={token}"),
            None => break,
        }
    }
    assert_eq!(all, ["s0", "s1", "s2", "s3", "s4"]);
    assert_eq!(names(&server.get("/v1/services?labelSelector=parity%3Dodd").await.body), ["s1", "s3"]);
    assert_eq!(names(&server.get("/v1/services?limit=5000").await.body).len(), 6);
}

#[tokio::test]
async fn patches_change_what_they_name() {
    let server = Server::start().await;
    let made = server.apply(&sandbox("pr-15", &["route"], "10.0.0.7")).await;
    let at = path(&serde_json::to_value(&made).unwrap());
    let patch = async |kind: &str, body: serde_json::Value| {
        server.send(Method::PATCH, &at, &[("content-type", kind)], body.to_string()).await
    };
    let merged =
        patch("application/merge-patch+json", json!({ "metadata": { "labels": { "team": "a" } } })).await;
    assert_eq!(merged.body["metadata"]["labels"], json!({ "team": "a" }));
    assert_eq!(merged.body["metadata"]["generation"], 1);
    assert_eq!(
        merged.body["status"]["expiresAt"],
        serde_json::to_value(made.status().unwrap().expires_at).unwrap()
    );
    let json_patch =
        json!([{ "op": "replace", "path": "/spec/overrides/0/endpoints/0", "value": "10.0.0.9" }]);
    let patched = patch("application/json-patch+json", json_patch).await;
    assert_eq!(patched.body["metadata"]["generation"], 2);
    let missing = json!([{ "op": "replace", "path": "/spec/nothing", "value": 1 }]);
    assert_eq!(patch("application/json-patch+json", missing).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(patch("application/json", json!({})).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let unknown = patch("application/merge-patch+json", json!({ "spec": { "tll": "4h" } })).await;
    assert_eq!((unknown.status, unknown.fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["spec.tll"]));
}

#[tokio::test]
async fn a_deleted_key_stays_known_as_gone_even_when_its_name_is_taken_again() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    let wanted = sandbox("pr-15", &["route"], "10.0.0.7");
    server.apply(&wanted).await;
    assert_eq!(server.explain("pr-15", "route:8080").await, "10.0.0.7:8080");
    assert_eq!(server.delete(&path(&wanted)).await.status, StatusCode::OK);
    assert_eq!(server.delete(&path(&wanted)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.explain("pr-15", "route:8080").await, "baseline(gone)");
    let mut other = wanted.clone();
    other["spec"]["routingKey"] = json!("another");
    server.apply(&other).await;
    assert_eq!(server.explain("pr-15", "route:8080").await, "baseline(gone)");
    assert_eq!(server.explain("another", "route:8080").await, "10.0.0.7:8080");
    assert_eq!(server.get("/v1/sandboxes").await.body["items"].as_array().unwrap().len(), 1);
    let changed = server.put(&wanted).await;
    assert_eq!(
        (changed.status, changed.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["spec.routingKey"])
    );
}

#[tokio::test]
async fn a_group_keeps_a_missing_member_s_route_as_gone_and_says_so() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&service("driver", "10.1.0.2")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    server.apply(&sandbox("b", &["driver"], "10.0.0.8")).await;
    server.apply(&group("both", &["a", "b"])).await;
    assert_eq!(server.explain("both", "driver:8080").await, "10.0.0.8:8080");
    server.delete("/v1/namespaces/default/sandboxes/b").await;
    assert_eq!(server.explain("both", "driver:8080").await, "baseline(gone)");
    assert_eq!(server.explain("both", "route:8080").await, "10.0.0.7:8080");
    let group = Manifest::from_value(server.get("/v1/namespaces/default/groups/both").await.body).unwrap();
    let status = group.status().unwrap();
    assert_eq!((group.kind(), status.phase), (Kind::SandboxGroup, Phase::Degraded));
    assert!(status.conditions.iter().any(|c| c.kind == "MemberMissing" && c.message.contains("default/b")));
}

#[tokio::test]
async fn a_route_that_a_group_loses_because_a_member_s_label_changes_is_gone() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    let mut member = sandbox("a", &["route"], "10.0.0.7");
    member["metadata"]["labels"] = json!({ "team": "x" });
    server.apply(&member).await;
    let mut all = group("all", &[]);
    all["spec"] = json!({ "selector": { "matchLabels": { "team": "x" } } });
    server.apply(&all).await;
    assert_eq!(server.explain("all", "route:8080").await, "10.0.0.7:8080");
    member["metadata"]["labels"] = json!({ "team": "y" });
    server.apply(&member).await;
    assert_eq!(server.explain("all", "route:8080").await, "baseline(gone)");
    member["spec"]["overrides"] = json!([{ "service": "other", "port": 1, "endpoints": ["10.0.0.7"] }]);
    server.apply(&member).await;
    assert_eq!(server.explain("a", "route:8080").await, "baseline(gone)", "its own key has lost it too");
}

#[tokio::test]
async fn an_apply_that_makes_a_conflict_is_refused_and_one_that_meets_somebody_else_s_is_not() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let mut thief = sandbox("b", &["route"], "10.0.0.8");
    thief["spec"]["routingKey"] = json!("a");
    let refused = server.put(&thief).await;
    assert_eq!((refused.status, refused.fields()), (StatusCode::CONFLICT, vec!["spec.routingKey"]));

    server.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    let refused = server.put(&group("both", &["a", "b"])).await;
    assert_eq!((refused.status, refused.fields()), (StatusCode::CONFLICT, vec!["spec.sandboxes"]));
    assert_eq!(server.get("/v1/groups").await.body["items"], json!([]));

    server.apply(&service("driver", "10.1.0.2")).await;
    server.apply(&sandbox("b", &["driver"], "10.0.0.8")).await;
    server.apply(&group("both", &["a", "b"])).await;
    server.apply(&sandbox("b", &["driver", "route"], "10.0.0.8")).await;
    assert_eq!(server.explain("both", "route:8080").await, "refused(conflict)");
    assert_eq!(server.explain("b", "route:8080").await, "10.0.0.8:8080");
    let status = &server.get("/v1/namespaces/default/groups/both").await.body["status"];
    assert!(
        status["conditions"][0]["message"].as_str().unwrap().contains("default/a and default/b"),
        "{status}"
    );
}

#[tokio::test]
async fn a_service_of_another_namespace_can_be_overridden_only_while_it_permits_it() {
    let server = Server::start().await;
    let mut shared = service("shop/route", "10.1.0.1");
    shared["spec"]["overrideFrom"] = json!(["team"]);
    server.apply(&shared).await;
    server.apply(&sandbox("team/pr-15", &["route.shop"], "10.0.0.7")).await;
    assert_eq!(server.explain("pr-15.team", "route.shop:8080").await, "10.0.0.7:8080");
    server.apply(&service("shop/route", "10.1.0.1")).await;
    assert_eq!(server.explain("pr-15.team", "route.shop:8080").await, "baseline(gone)");
    let status = &server.get("/v1/namespaces/team/sandboxes/pr-15").await.body["status"];
    assert_eq!(status["conditions"][0]["reason"], "NotPermitted", "{status}");
}

#[tokio::test]
async fn an_address_of_another_namespace_s_service_can_be_named_only_where_that_one_permits_it() {
    let server = Server::start().await;
    let mut theirs = service("shop/route", "10.1.0.1");
    theirs["spec"]["ports"] = json!([{ "port": 8080, "targetPort": 9090 }]);
    theirs["spec"]["workloads"] = json!(["10.2.0.1"]);
    server.apply(&theirs).await;
    let mut back = service("team/mine", "10.1.0.9");
    back["spec"]["workloads"] = json!(["10.2.0.1"]);
    back["spec"]["ports"] = json!([{ "port": 80, "targetPort": 9090 }]);
    let inline = |addresses: serde_json::Value| {
        let mut inline = sandbox("team/pr-1", &["mine"], "10.0.0.7");
        inline["spec"]["overrides"][0]["port"] = json!(8080);
        inline["spec"]["overrides"][0]["addresses"] = addresses;
        inline
    };
    for (object, field) in [
        (service("team/mine", "10.1.0.1"), "spec.addresses[0]"),
        (service("team/mine", "::ffff:10.1.0.1"), "spec.addresses[0]"),
        (back, "spec.workloads[0]"),
        (inline(json!(["10.1.0.8", "10.1.0.1"])), "spec.overrides[0].addresses[1]"),
    ] {
        let refused = server.put(&object).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (StatusCode::CONFLICT, vec![field]),
            "{}",
            refused.body
        );
        assert!(refused.body.to_string().contains("Service shop/route"), "it says whose: {}", refused.body);
    }
    let mut elsewhere = service("team/mine", "10.1.0.1");
    elsewhere["spec"]["ports"] = json!([{ "port": 8081 }]);
    server.apply(&elsewhere).await;
    server.apply(&service("shop/alias", "10.1.0.1")).await;
    server.delete("/v1/namespaces/shop/services/alias").await;

    theirs["spec"]["overrideFrom"] = json!(["team"]);
    server.apply(&theirs).await;
    server.apply(&service("team/mine", "10.1.0.1")).await;
    // what stands is left when the permission goes; what is new is not let in
    theirs["spec"]["overrideFrom"] = json!([]);
    assert!(server.put(&theirs).await.status.is_success());
    let mut labelled = service("team/mine", "10.1.0.1");
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    server.apply(&labelled).await;
    assert_eq!(server.put(&inline(json!(["10.1.0.1"]))).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn names_are_resolved_before_an_apply_is_answered() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("pr-15", &["route"], "localhost:9000")).await;
    let endpoint = server.explain("pr-15", "route:8080").await;
    assert!(["127.0.0.1:9000", "[::1]:9000"].contains(&&*endpoint), "{endpoint}");
    let status = server.apply(&sandbox("pr-16", &["route"], "does-not-exist.invalid:9000")).await;
    assert!(status.status().unwrap().conditions.iter().any(|condition| condition.kind == "Unresolved"));
}
