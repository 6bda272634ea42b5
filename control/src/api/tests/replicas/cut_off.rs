//! A replica that does not reach etcd any more, and whose proxies still reach it.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::*;

/// The way to an etcd, which can be shut: then nothing passes, and nobody is told.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    async fn to(etcd: &Etcd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = watch::Sender::new(true);
        let (behind, opened) = (etcd.endpoint().trim_start_matches("http://").to_owned(), open.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, behind.clone(), opened.subscribe()));
            }
        });
        Self { address, open, task }
    }

    fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn pass(mut stream: TcpStream, behind: String, mut open: watch::Receiver<bool>) {
    let through = async {
        if let Ok(mut etcd) = TcpStream::connect(behind).await {
            copy_bidirectional(&mut stream, &mut etcd).await.ok();
        }
    };
    tokio::select! {
        biased;
        _ = open.wait_for(|open| !open) => {}
        () = through => return,
    }
    open.wait_for(|open| *open).await.ok();
}

/// What is said of itself by a proxy that holds this form of key `a`.
fn report(digest: &Value) -> Value {
    json!({ "version": "1", "tableDigest": "00000000000000ff", "keys": 1, "digests": { "a": digest } })
}

async fn tell(server: &Server, proxy: &str, digest: &Value) -> StatusCode {
    server.write(Method::POST, &format!("/v1/proxies/{proxy}"), &report(digest)).await.status
}

#[tokio::test]
async fn f22_a_replica_that_lost_its_lease_ends_its_watches_refuses_new_ones_and_goes_on_once_it_has_it_again()
 {
    let Some(etcd) = Etcd::start().await else { return };
    let gate = Gate::to(&etcd).await;
    let one = replica_at(&gate.address.to_string()).await;
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let mut watch = one.watch("&proxy=p1").await;
    let (_, token) = watch.until_synced().await;
    assert_eq!(one.get("/readyz").await.status, StatusCode::OK);
    gate.set(false);
    while watch.next().await.is_some() {}
    for path in ["/readyz", "/v1/routes?watch=true", "/v1/routes?watch=true&proxy=p1"] {
        let refused = one.get(path).await;
        assert_eq!(
            (refused.status, &refused.headers["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
        );
        assert!(refused.body["detail"].as_str().unwrap().contains("lease"), "{path}: {}", refused.body);
    }
    assert_eq!(tell(&one, "p1", &json!("00000000000000aa")).await, StatusCode::SERVICE_UNAVAILABLE);
    let read = one.get("/v1/namespaces/default/sandboxes/a").await;
    assert_eq!(read.status, StatusCode::OK, "what it knew can be read");
    gate.set(true);
    until("it serves again", async || one.get("/readyz").await.status == StatusCode::OK).await;
    one.watch(&format!("&proxy=p1&since={token}")).await.until_synced().await;
    announced(&etcd, 1).await;
}

#[tokio::test]
async fn f22_nothing_is_in_force_while_a_replica_that_is_cut_off_may_have_proxies_and_for_thirty_seconds_more()
 {
    let Some(etcd) = Etcd::start().await else { return };
    let gate = Gate::to(&etcd).await;
    let (one, two) = (replica_at(&gate.address.to_string()).await, replica(&etcd).await);
    announced(&etcd, 2).await;
    two.apply(&service("route", "10.1.0.1")).await;
    two.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let digest = two.get("/v1/keys/a/in-force").await.body["digest"].clone();
    let mut watch = one.watch("&proxy=p1").await;
    watch.until_synced().await;
    for (server, proxy) in [(&one, "p1"), (&two, "p2")] {
        assert_eq!(tell(server, proxy, &digest).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(two.get("/v1/keys/a/in-force").await.body["inForce"], true);

    gate.set(false);
    let cut = Instant::now();
    two.apply(&sandbox("a", &["route"], "10.0.0.8")).await;
    while watch.next().await.is_some() {}
    let url = json!([format!("http://{}", one.running.addr())]);
    let in_force = loop {
        let now = two.get("/v1/keys/a/in-force?waitSeconds=1").await.body;
        tell(&two, "p2", &now["digest"]).await;
        if now["inForce"] == true {
            break now;
        }
        assert!(cut.elapsed() < Duration::from_secs(90), "{now}");
        assert!(now["unanswered"] == url || cut.elapsed() > Duration::from_secs(30), "{now}");
    };
    assert!(cut.elapsed() >= Duration::from_secs(30), "in force after {:?}: {in_force}", cut.elapsed());
    assert_eq!((&in_force["proxies"], &in_force["lost"]), (&json!(1), &json!(["p1"])), "{in_force}");
}

#[tokio::test]
async fn a_replica_that_died_and_was_started_again_at_its_address_is_asked_once_and_answers_for_itself() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    announced(&etcd, 2).await;
    let living = two.get("/v1/status").await.body["replicas"][0]["id"].clone();
    // what an earlier life of it would have left: older, at the same address
    let url = format!("http://{}", two.running.addr());
    let key = format!("/test/replicas/{}", living.as_str().unwrap());
    etcd.etcdctl(&["put", "/test/replicas/0-dead", &url]);
    etcd.etcdctl(&["del", &key]);
    etcd.etcdctl(&["put", &key, &url]);
    let seen = one.get("/v1/status").await.body;
    let (count, other) = (seen["replicas"].as_array().unwrap().len(), &seen["replicas"][1]);
    assert_eq!((count, &other["id"], &other["answers"]), (2, &living, &json!(true)), "{seen}");
    let seen = two.get("/v1/status").await.body;
    assert_eq!(seen["replicas"].as_array().unwrap().len(), 2, "nor is it another to itself: {seen}");
}
