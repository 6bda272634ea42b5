//! A replica that ends hands over what it has.

use std::net::SocketAddr;

use bellhop_api::watch::Event;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// The answer to a request on a connection of its own.
async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_replica_that_ends_hands_its_watchers_over_without_a_list_and_without_a_gap() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    announced(&etcd, 2).await;
    until("it knows of the other", async || {
        one.get("/v1/status").await.body["replicas"].as_array().unwrap().len() == 2
    })
    .await;
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let mut watches = Vec::new();
    for _ in 0..10 {
        let mut watch = one.watch("").await;
        watch.until_synced().await;
        watches.push(watch);
    }
    let address = one.running.addr();
    let ending = tokio::spawn(one.running.shutdown());
    until("it says so", async || ask(address, "/readyz").await.starts_with("HTTP/1.1 503")).await;
    let refused = ask(address, "/v1/routes?watch=true").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "who would watch here is sent away: {refused}");
    let served = ask(address, "/v1/sandboxes").await;
    assert!(served.starts_with("HTTP/1.1 200"), "who is still sent here is served: {served}");
    two.apply(&sandbox("b", &["route"], "10.0.0.8")).await;
    for mut watch in watches {
        let (mut seen, mut token) = (Vec::new(), String::new());
        while let Some(event) = watch.next().await {
            seen.push(words(&event));
            if let Event::Bookmark(position) = event {
                token = position.token;
            }
        }
        assert_eq!(seen.last().map(String::as_str), Some("bookmark"), "{seen:?}");
        seen.extend(two.watch(&format!("&since={token}")).await.until_synced().await.0);
        seen.retain(|event| event != "bookmark");
        assert_eq!(seen, ["put key b"], "once, here or there, and no list");
    }
    ending.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_replica_that_ends_gives_its_place_back_at_once() {
    let Some(etcd) = Etcd::start().await else { return };
    let one = replica(&etcd).await;
    announced(&etcd, 1).await;
    one.running.shutdown().await;
    assert_eq!(etcd.etcdctl(&["get", "/test/replicas/", "--prefix"]), "");
    assert_eq!(etcd.etcdctl(&["get", "/test/holder"]), "");
}
