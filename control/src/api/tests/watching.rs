use bellhop_api::watch::{Event, Unit};
use http::{Method, StatusCode};
use serde_json::json;

use super::harness::{Lines, Server, group, path, sandbox, service, words};

async fn next(lines: &mut Lines, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let event = lines.next().await.unwrap();
        if !matches!(event, Event::Bookmark(_)) {
            seen.push(words(&event));
        }
    }
    seen
}

#[tokio::test]
async fn a_watch_lists_then_follows_and_a_service_comes_before_the_key_that_needs_it() {
    let server = Server::start().await;
    let mut early = server.watch("").await;
    assert_eq!(early.until_synced().await.0, ["reset"]);
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&service("unused", "10.1.0.2")).await;
    server.apply(&sandbox("pr-15", &["route"], "10.0.0.7")).await;
    assert_eq!(next(&mut early, 2).await, ["put service route", "put key pr-15"]);
    let mut late = server.watch("").await;
    assert_eq!(late.until_synced().await.0, ["reset", "put service route", "put key pr-15"]);
    server.delete("/v1/namespaces/default/sandboxes/pr-15").await;
    assert_eq!(next(&mut late, 2).await, ["put key pr-15 gone", "delete service route"]);
    let listed = server.get("/v1/routes").await.body;
    assert_eq!(
        listed["units"],
        json!([{ "key": { "key": "pr-15", "gone": true, "digest": listed["units"][0]["key"]["digest"] } }])
    );
}

#[tokio::test]
async fn a_watch_goes_on_where_it_left_off_and_is_reset_where_it_cannot() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let (_, token) = server.watch("").await.until_synced().await;
    let mut nothing_new = server.watch(&format!("&since={token}")).await;
    assert_eq!(nothing_new.until_synced().await, (vec![], token.clone()));
    server.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    let mut resumed = server.watch(&format!("&since={token}")).await;
    assert_eq!(resumed.until_synced().await.0, ["put key b"]);
    for foreign in ["nonsense", "a.b.1", &token.replace('.', ".x"), &format!("{token}000")] {
        let mut reset = server.watch(&format!("&since={foreign}")).await;
        assert_eq!(
            reset.until_synced().await.0,
            ["reset", "put service route", "put key a", "put key b"],
            "{foreign}"
        );
    }
}

#[tokio::test]
async fn a_restart_keeps_the_epoch_and_a_watcher_s_revisions_never_go_back() {
    let directory = tempfile::tempdir().unwrap();
    let args = [format!("--data-dir={}", directory.path().display())];
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = Server::start_with(&args).await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let before = server.get("/v1/routes").await.body;
    let object = server.get("/v1/namespaces/default/sandboxes/a").await.body;
    let token = before["position"]["token"].as_str().unwrap();
    let since = format!("&since={token}");
    server.running.shutdown().await;

    let server = Server::start_with(&args).await;
    let after = server.get("/v1/routes").await.body;
    assert_eq!(after["units"], before["units"]);
    assert_eq!(after["position"]["epoch"], before["position"]["epoch"]);
    assert!(after["position"]["revision"].as_u64() >= before["position"]["revision"].as_u64());
    let again = server.get("/v1/namespaces/default/sandboxes/a").await.body;
    assert_eq!((&again["spec"], &again["metadata"]), (&object["spec"], &object["metadata"]));
    assert_eq!(again["status"]["expiresAt"], object["status"]["expiresAt"]);
    assert_eq!(server.watch(&since).await.until_synced().await.0, [] as [&str; 0], "nothing has changed");
}

#[tokio::test]
async fn who_claims_revisions_that_never_were_gets_a_list_and_forces_no_second_epoch() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    let position = async || server.get("/v1/routes").await.body["position"].clone();
    let claim = async || {
        let mut claimed = position().await;
        claimed["revision"] = 1_000_000_000.into();
        let report = json!({"version": "1", "tableDigest": "0", "keys": 0, "position": claimed});
        assert_eq!(
            server.write(Method::POST, "/v1/proxies/p1", &report).await.status,
            StatusCode::NO_CONTENT
        );
        position().await
    };
    let first = position().await;
    let second = claim().await;
    assert_ne!(first["epoch"], second["epoch"], "the store may have been put back");
    assert_eq!(claim().await, second);
    let (revision, token) = (second["revision"].as_u64().unwrap(), second["token"].as_str().unwrap());
    let later = token.replace(&format!(".{revision}."), ".1000000000.");
    assert_ne!(token, later);
    assert_eq!(server.watch(&format!("&since={token}")).await.until_synced().await.0, [] as [&str; 0]);
    let listed = server.watch(&format!("&since={later}")).await.until_synced().await.0;
    assert_eq!(listed, ["reset"], "no key leans on the service");
    assert_eq!(position().await, second);
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_and_when_control_ends() {
    let server = Server::start().await;
    let mut short = server.watch("&timeout_seconds=0").await;
    assert!(short.until_synced().await.0 == ["reset"] && short.next().await.is_none());
    let mut long = server.watch("").await;
    long.until_synced().await;
    let ended = tokio::spawn(server.running.shutdown());
    assert_eq!(words(&long.next().await.unwrap()), "bookmark", "where it stands, to go on from");
    assert!(long.next().await.is_none());
    ended.await.unwrap();
}

#[tokio::test]
async fn a_key_is_in_force_once_every_proxy_has_said_so_and_an_asked_proxy_gets_the_question() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let alone = server.get("/v1/keys/a/in-force").await.body;
    assert_eq!(
        (&alone["inForce"], &alone["proxies"]),
        (&json!(false), &json!(0)),
        "no proxy known is not in force"
    );
    let mut watch = server.watch("&proxy=p1").await;
    watch.until_synced().await;
    let waiting = server.get("/v1/keys/a/in-force?waitSeconds=1").await.body;
    assert_eq!(waiting["waitingFor"], json!(["p1"]));
    assert_eq!(next(&mut watch, 1).await, ["ask [RoutingKey(a)]"]);
    let report = json!({ "version": "1", "workload": "w", "tableDigest": "00000000000000ff", "keys": 1,
                         "digests": { "a": waiting["digest"] } });
    let (asked, reported) = tokio::join!(
        server.get("/v1/keys/a/in-force?waitSeconds=10"),
        server.write(Method::POST, "/v1/proxies/p1", &report)
    );
    assert_eq!(reported.status, StatusCode::NO_CONTENT);
    assert_eq!((&asked.body["inForce"], &asked.body["proxies"]), (&json!(true), &json!(1)), "{}", asked.body);
    let listed = &server.get("/v1/proxies").await.body["items"][0];
    assert_eq!(
        (&listed["id"], &listed["watching"], &listed["current"]),
        (&json!("p1"), &json!(true), &json!(false))
    );

    server.apply(&sandbox("a", &["route"], "10.0.0.8")).await;
    assert_eq!(server.get("/v1/keys/a/in-force").await.body["inForce"], false, "a newer form is not");
    let bye = json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 1, "goodbye": true });
    server.write(Method::POST, "/v1/proxies/p1", &bye).await;
    assert_eq!(server.get("/v1/keys/a/in-force").await.body["proxies"], 0);
    assert_eq!(server.get("/v1/keys/nobody/in-force").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn explain_says_which_key_decided_and_where_its_route_comes_from() {
    let server = Server::start().await;
    server.apply(&service("route", "10.1.0.1")).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    server.apply(&group("g", &["a"])).await;
    let explained = server.get("/v1/explain?key=nobody:g&key=a&to=route:8080").await.body;
    assert_eq!((&explained["decision"], &explained["key"]), (&json!("sandbox"), &json!("g")));
    assert_eq!(explained["route"]["sandbox"], "default/a");
    assert_eq!(explained["route"]["group"], "default/g");
    let outcomes: Vec<_> = explained["keys"].as_array().unwrap().iter().map(|key| &key["outcome"]).collect();
    assert_eq!(outcomes, ["unknown-key", "sandbox", "sandbox"]);
    assert_eq!(server.get("/v1/explain?to=route:8080").await.body["reason"], "no-key");
    assert_eq!(server.explain("a", "other:1").await, "baseline(no-route-here)");
}

#[tokio::test]
async fn a_service_s_units_reach_the_watch_only_while_some_key_overrides_it() {
    let server = Server::start().await;
    let described = service("route", "10.1.0.1");
    server.apply(&described).await;
    server.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let mut watch = server.watch("").await;
    watch.until_synced().await;
    server.apply(&service("route", "10.1.0.9")).await;
    match watch.next().await.unwrap() {
        Event::Put { unit: Unit::Service(unit), .. } => {
            assert_eq!(unit.addresses, ["10.1.0.9".parse::<std::net::IpAddr>().unwrap()])
        }
        other => panic!("{other:?}"),
    }
    server.delete(&path(&described)).await;
    let gone = next(&mut watch, 2).await;
    assert_eq!(
        gone,
        ["put key a", "delete service route"],
        "an override of all ports has no destination without it"
    );
}
