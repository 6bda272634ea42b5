//! Several control planes on one etcd.

use std::{net::TcpListener, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::harness::{DEADLINE, Server, sandbox, service, words};
use crate::store::etcd::server::Server as Etcd;

mod cut_off;
mod ending;
mod restored;
mod secure;

async fn replica(etcd: &Etcd) -> Server {
    replica_at(etcd.endpoint().trim_start_matches("http://")).await
}

/// A replica that reaches its etcd there.
async fn replica_at(etcd: &str) -> Server {
    let store = format!("--store=etcd://{etcd}/test");
    Server::start_with(&[&store, "--replica-lease=2s", "--resolve-interval=1s"]).await
}

/// Looks until it is so.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !look().await {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A replica is there for the others a moment after it has begun to serve.
async fn announced(etcd: &Etcd, count: usize) {
    until("the replicas are announced", async || {
        etcd.etcdctl(&["get", "/test/replicas/", "--prefix", "--print-value-only"]).lines().count() == count
    })
    .await;
}

#[tokio::test]
async fn what_is_written_at_one_replica_is_read_and_checked_at_every_other_at_once() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    for n in 0..20 {
        let (here, there) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let object = sandbox(&format!("s{n}"), &["route"], "10.0.0.7");
        here.apply(&service("route", "10.1.0.1")).await;
        here.apply(&object).await;
        let path = format!("/v1/namespaces/default/sandboxes/s{n}");
        let read = there.get(&path).await;
        assert_eq!(read.status, StatusCode::OK, "{n}");
        let again = there.write(Method::POST, "/v1/namespaces/default/sandboxes", &object).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{n}");
        assert_eq!(there.explain(&format!("s{n}"), "route:8080").await, "10.0.0.7:8080");
        let version = read.body["metadata"]["resourceVersion"].as_str().unwrap();
        let mut stale = read.body.clone();
        stale["spec"]["overrides"][0]["endpoints"] = json!(["10.0.0.8"]);
        here.apply(&stale).await;
        stale["metadata"]["resourceVersion"] = json!(version);
        assert_eq!(there.put(&stale).await.status, StatusCode::CONFLICT, "{n}: that version is gone");
        assert!(there.delete(&path).await.status.is_success());
        assert_eq!(here.get(&path).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_another_replica_where_it_was_and_digests_are_the_same_on_both() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let (_, token) = one.watch("").await.until_synced().await;
    let mut moved = two.watch(&format!("&since={token}")).await;
    assert_eq!(
        moved.until_synced().await.0,
        [] as [&str; 0],
        "two replicas that show the same go on for each other"
    );
    two.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    // the other has not been asked anything since: it catches up with what the token names
    let (_, token) = two.watch(&format!("&since={token}")).await.until_synced().await;
    let mut back = one.watch(&format!("&since={token}")).await;
    assert_eq!(back.until_synced().await.0, [] as [&str; 0]);
    one.delete("/v1/namespaces/default/sandboxes/a").await;
    assert_eq!(words(&back.next().await.unwrap()), "put key a gone");
    let (listed, other) = (one.get("/v1/routes").await.body, two.get("/v1/routes").await.body);
    assert_eq!(
        (&listed["units"], &listed["position"]["epoch"]),
        (&other["units"], &other["position"]["epoch"])
    );

    // a third begins with a list of its own, in which all is as in the others'
    let three = replica(&etcd).await;
    let (_, token) = two.watch("").await.until_synced().await;
    assert_eq!(three.watch(&format!("&since={token}")).await.until_synced().await.0, [] as [&str; 0]);
}

#[tokio::test]
async fn a_store_that_was_put_back_begins_a_new_epoch_and_every_watch_gets_a_list() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let backup = etcd.path("backup");
    etcd.etcdctl(&["snapshot", "save", &backup.display().to_string()]);
    for n in 0..10 {
        two.apply(&sandbox(&format!("later-{n}"), &["route"], "10.0.0.7")).await;
    }
    let before = two.get("/v1/routes").await.body["position"].clone();
    etcd.restore(&backup).await;
    until("both have gone back together", async || {
        let (one, two) = (one.get("/v1/routes").await.body, two.get("/v1/routes").await.body);
        one["position"]["epoch"] != before["epoch"]
            && one["position"]["epoch"] == two["position"]["epoch"]
            && [&one, &two].iter().all(|list| list["units"].as_array().unwrap().len() == 2)
    })
    .await;
    let since = format!("&since={}", before["token"].as_str().unwrap());
    assert_eq!(one.watch(&since).await.until_synced().await.0, ["reset", "put service route", "put key a"]);
    one.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    assert_eq!(two.get("/v1/namespaces/default/sandboxes/b").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_is_in_force_when_the_proxies_of_all_replicas_hold_it_whomever_they_tell() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    announced(&etcd, 2).await;
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let (mut first, mut second) = (one.watch("&proxy=p1").await, two.watch("&proxy=p2").await);
    first.until_synced().await;
    second.until_synced().await;
    let waiting = one.get("/v1/keys/a/in-force?waitSeconds=1").await.body;
    assert_eq!(
        (&waiting["inForce"], &waiting["waitingFor"]),
        (&json!(false), &json!(["p1", "p2"])),
        "{waiting}"
    );
    // each is asked by the replica that it watches
    for watch in [&mut first, &mut second] {
        // one that was a moment behind when its list was made has changes before
        while words(&watch.next().await.unwrap()) != "ask [RoutingKey(a)]" {}
    }
    let report = |held: &Value| json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 1, "digests": { "a": held } });
    assert_eq!(
        one.write(Method::POST, "/v1/proxies/p1", &report(&waiting["digest"])).await.status,
        StatusCode::NO_CONTENT
    );
    let half = two.get("/v1/keys/a/in-force").await.body;
    assert_eq!((&half["inForce"], &half["waitingFor"]), (&json!(false), &json!(["p2"])), "{half}");
    // the second watches one replica and tells the other
    let second = report(&waiting["digest"]);
    let (asked, _) = tokio::join!(
        two.get("/v1/keys/a/in-force?waitSeconds=15"),
        one.write(Method::POST, "/v1/proxies/p2", &second),
    );
    assert_eq!((&asked.body["inForce"], &asked.body["proxies"]), (&json!(true), &json!(2)), "{}", asked.body);
    assert_eq!(
        one.get("/v1/keys/a/in-force").await.body["inForce"],
        true,
        "once in force, for whomever one asks"
    );
    for server in [&one, &two] {
        let listed = server.get("/v1/proxies").await.body;
        let ids: Vec<_> =
            listed["items"].as_array().unwrap().iter().map(|p| (&p["id"], &p["watching"])).collect();
        assert_eq!(ids, [(&json!("p1"), &json!(true)), (&json!("p2"), &json!(true))], "{listed}");
    }
    two.apply(&sandbox("a", &["route"], "10.0.0.9")).await;
    assert_eq!(one.get("/v1/keys/a/in-force").await.body["inForce"], false, "a newer form is not");
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_named_and_keeps_a_key_from_coming_in_force_until_its_lease_is_over()
 {
    let Some(etcd) = Etcd::start().await else { return };
    let one = replica(&etcd).await;
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    etcd.etcdctl(&["put", "/test/replicas/ghost", &url]);
    let digest = one.get("/v1/keys/a/in-force").await.body["digest"].clone();
    let report =
        json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 1, "digests": { "a": digest } });
    one.write(Method::POST, "/v1/proxies/p1", &report).await;
    let now = one.get("/v1/keys/a/in-force").await.body;
    assert_eq!(
        (&now["inForce"], &now["unanswered"], &now["waitingFor"]),
        (&json!(false), &json!([url]), &json!([])),
        "{now}"
    );
    let listed = one.get("/v1/proxies").await.body;
    assert_eq!((&listed["unanswered"], &listed["items"][0]["id"]), (&json!([url]), &json!("p1")));
    let status = one.get("/v1/status").await.body;
    let ghost = &status["replicas"][1];
    assert_eq!(
        (&status["healthy"], &ghost["id"], &ghost["answers"]),
        (&json!(false), &json!("ghost"), &json!(false))
    );
    assert_eq!(
        (&ghost["address"], &status["replicas"][0]["answers"]),
        (&json!(url), &json!(true)),
        "{status}"
    );
    assert_eq!(status["store"]["kind"], "etcd");
    etcd.etcdctl(&["del", "/test/replicas/ghost"]);
    let gone = one.get("/v1/keys/a/in-force").await.body;
    assert_eq!(
        (&gone["inForce"], &gone["unanswered"]),
        (&json!(false), &Value::Null),
        "its proxies have a moment to come here"
    );
    let then = one.get("/v1/keys/a/in-force?waitSeconds=15").await.body;
    assert_eq!((&then["inForce"], &then["proxies"]), (&json!(true), &json!(1)), "{then}");
}

#[tokio::test]
async fn status_names_every_replica_and_the_one_that_holds_the_lease() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    announced(&etcd, 2).await;
    for server in [&one, &two] {
        until("one holds the lease, and both say which", async || {
            let status = server.get("/v1/status").await.body;
            let replicas = status["replicas"].as_array().unwrap();
            let holders = replicas.iter().filter(|replica| replica["holdsLease"] == true).count();
            let known =
                replicas.iter().all(|replica| replica["answers"] == true && replica["address"].is_string());
            replicas.len() == 2 && holders == 1 && known && status["healthy"] == true
        })
        .await;
        let first = server.get("/v1/status").await.body["replicas"][0]["address"].clone();
        assert_eq!(
            first,
            json!(format!("http://{}", server.running.addr())),
            "the one that answers comes first"
        );
    }
}

#[tokio::test]
async fn a_replica_behind_a_token_answers_503_with_when_to_come_again_and_the_watch_once_it_has_caught_up() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let one = replica(&etcd).await;
    one.apply(&service("route", "10.1.0.1")).await;
    let (_, token) = one.watch("").await.until_synced().await;
    // what another replica, which has seen one commit more, would have given
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    let revision = parts.len() - 2;
    parts[revision] = (parts[revision].parse::<u64>().unwrap() + 1).to_string();
    let ahead = parts.join(".");
    etcd.kill();
    let behind = one.get(&format!("/v1/routes?watch=true&since={ahead}")).await;
    assert_eq!(behind.status, StatusCode::SERVICE_UNAVAILABLE, "{}", behind.body);
    assert_eq!(behind.headers["retry-after"], "1");
    assert!(behind.body["detail"].as_str().unwrap().contains("has not yet seen"), "{}", behind.body);
    etcd.start_again().await;
    until("writes go on", async || one.put(&sandbox("a", &["route"], "10.0.0.7")).await.status.is_success())
        .await;
    until("it serves watches", async || one.get("/readyz").await.status == StatusCode::OK).await;
    one.watch(&format!("&since={ahead}")).await.until_synced().await;
}

#[tokio::test]
async fn b18_what_replicas_ask_each_other_is_closed_to_everybody_else() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, alone) = (replica(&etcd).await, Server::start().await);
    let secret = etcd.etcdctl(&["get", "/test/secret", "--print-value-only"]);
    let secret = secret.trim();
    for path in [
        "/internal/v1/proxies",
        "/internal/v1/status",
        "/internal/v1/in-force?key=a&digest=0000000000000000&revision=0",
    ] {
        for given in ["", "wrong", secret.get(1..).unwrap(), &format!("{secret}0")] {
            let headers = [("bellhop-replica-secret", given)];
            assert_eq!(
                one.send(Method::GET, path, &headers, "").await.status,
                StatusCode::FORBIDDEN,
                "{given}"
            );
        }
        let headers = [("bellhop-replica-secret", secret)];
        assert_eq!(one.send(Method::GET, path, &headers, "").await.status, StatusCode::OK);
        let headers = [("bellhop-replica-secret", "")];
        assert_eq!(
            alone.send(Method::GET, path, &headers, "").await.status,
            StatusCode::FORBIDDEN,
            "it knows no secret"
        );
    }
    let document = one.get("/openapi.json").await.body;
    assert!(document["paths"]["/internal/v1/in-force"]["get"].is_object());
}

#[tokio::test]
async fn one_replica_alone_writes_down_what_expired_and_forgets_names_and_another_takes_over_when_it_dies() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut replicas = vec![replica(&etcd).await, replica(&etcd).await];
    announced(&etcd, 2).await;
    replicas[0].apply(&service("route", "10.1.0.1")).await;
    for life in 0..2 {
        let name = format!("life-{life}");
        replicas[0].apply(&sandbox(&name, &["route"], "localhost:80")).await;
        let record = format!("/test/store/record/object/Sandbox/default/{name}");
        let stored = etcd.etcdctl(&["get", &record, "--print-value-only"]);
        let mut stored: Value = serde_json::from_str(&stored).unwrap();
        let soon = jiff::Timestamp::now() + Duration::from_secs(1);
        stored["object"]["status"]["expiresAt"] = json!(soon.to_string());
        etcd.etcdctl(&["put", &record, &stored.to_string()]);
        until("its end is written down", async || {
            let stored = etcd.etcdctl(&["get", &record, "--print-value-only"]);
            stored.contains(r#""phase":"Expired""#)
        })
        .await;
        for replica in &replicas {
            let read = replica.get(&format!("/v1/namespaces/default/sandboxes/{name}")).await.body;
            assert_eq!(read["status"]["phase"], "Expired");
        }
        let name_record = "/test/store/record/name/localhost";
        replicas[0].delete(&format!("/v1/namespaces/default/sandboxes/{name}")).await;
        until("the unused name is forgotten", async || {
            etcd.etcdctl(&["get", name_record, "--print-value-only"]).is_empty()
        })
        .await;
        if life == 0 {
            let holder = etcd.etcdctl(&["get", "/test/holder", "--print-value-only"]);
            let ids = etcd.etcdctl(&["get", "/test/replicas/", "--prefix"]);
            let id = holder.split(' ').next().unwrap();
            let url = ids.lines().skip_while(|line| !line.ends_with(id)).nth(1).unwrap();
            let dies = replicas.iter().position(|replica| url.ends_with(&replica.running.addr().to_string()));
            // without a word: nothing is given back
            drop(replicas.remove(dies.unwrap()));
        }
    }
}
