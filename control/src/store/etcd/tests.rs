//! Against a real etcd.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::{server::Server, *};
use crate::store::conformance::{all, next, write};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn etcd_does_what_every_store_must() {
    let Some(server) = Server::start().await else { return };
    let fresh = AtomicUsize::new(0);
    all(|| {
        let prefix = format!("/case-{}", fresh.fetch_add(1, Ordering::Relaxed));
        let server = &server;
        async move { server.open(&prefix).await }
    })
    .await;
}

#[tokio::test]
async fn what_one_replica_commits_another_sees_by_its_watch_and_compares_with() {
    let Some(server) = Server::start().await else { return };
    let (one, two) = (server.open("/a").await, server.open("/a").await);
    let list = two.list().await.unwrap();
    assert_eq!(list.epoch, one.list().await.unwrap().epoch);
    let mut watch = two.watch(list.revision);
    let done = one.commit(vec![write("x", Expect::Absent, Some("1"))]).await.unwrap();
    assert_eq!(two.newest().await.unwrap(), done);
    assert_eq!(next(&mut watch).await.unwrap().revision, done);
    let refused = two.commit(vec![write("x", Expect::Absent, Some("2"))]).await;
    assert!(matches!(refused, Err(StoreError::Changed(_))));
    let other = server.open("/another").await;
    assert!(other.list().await.unwrap().records.is_empty(), "prefixes are apart");
}

#[tokio::test]
async fn a_watch_goes_on_without_a_gap_when_etcd_was_away() {
    let Some(mut server) = Server::start().await else { return };
    let (one, two) = (server.open("/a").await, server.open("/a").await);
    let mut watch = two.watch(two.list().await.unwrap().revision);
    let first = one.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, first);
    server.kill();
    let refused = one.commit(vec![write("x", Expect::Any, Some("2"))]).await.unwrap_err();
    assert!(refused.to_string().contains("etcd"), "{refused}");
    server.start_again().await;
    // another replica is quicker to come back than this watch
    let second = one.commit(vec![write("y", Expect::Any, Some("1"))]).await.unwrap();
    let third = one.commit(vec![write("x", Expect::Any, None)]).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&third) {
        seen.push(next(&mut watch).await.unwrap().revision);
    }
    assert!(seen.contains(&second), "{seen:?}");
}

#[tokio::test]
async fn a_watch_that_was_compacted_away_says_so_and_goes_on_from_a_new_list() {
    let Some(mut server) = Server::start().await else { return };
    let store = server.open("/a").await;
    store.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
    let list = store.list().await.unwrap();
    let mut watch = store.watch(list.revision);
    assert!(timeout(Duration::from_millis(200), watch.next()).await.is_err());
    server.kill();
    server.start_again().await;
    let writer = server.open("/a").await;
    for _ in 0..5 {
        writer.commit(vec![write("x", Expect::Any, Some("2"))]).await.unwrap();
    }
    compact(&server);
    let behind = store.watch(list.revision + 1).next().await;
    assert!(matches!(behind, Some(Err(StoreError::Behind))), "{behind:?}");
    let list = store.list().await.unwrap();
    // elsewhere life goes on, and all of it is compacted: the list is newer than that
    for _ in 0..5 {
        server.etcdctl(&["put", "/elsewhere", "x"]);
    }
    let again = store.list().await.unwrap();
    assert_eq!(again.revision, list.revision, "what happens elsewhere is no commit");
    compact(&server);
    let mut watch = store.watch(again.revision);
    let done = writer.commit(vec![write("x", Expect::Any, Some("3"))]).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, done);
}

/// Forgets everything but what is there now.
fn compact(server: &Server) {
    let status = server.etcdctl(&["get", "/", "--prefix", "--keys-only", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    server.etcdctl(&["compact", &status["header"]["revision"].to_string(), "--physical"]);
}

#[tokio::test]
async fn a_list_of_many_pages_is_whole() {
    let Some(server) = Server::start().await else { return };
    let store = server.open("/a").await;
    for n in 0..12 {
        let writes = (0..MOST_WRITES).map(|m| write(&format!("r{n}-{m}"), Expect::Any, Some("x")));
        store.commit(writes.collect()).await.unwrap();
    }
    assert_eq!(store.list().await.unwrap().records.len(), 12 * MOST_WRITES);
    let writes = (0..=MOST_WRITES).map(|m| write(&format!("r{m}"), Expect::Any, None)).collect();
    let refused = store.commit(writes).await.unwrap_err();
    assert!(refused.to_string().contains("more than 100"), "{refused}");
}

#[tokio::test]
async fn a_commit_that_etcd_refuses_for_its_size_is_refused_at_once_and_its_endpoint_is_kept() {
    let Some(server) = Server::start().await else { return };
    let store = server.open("/a").await;
    let turns = *store.link.subscribe().borrow();
    // etcd itself refuses the one, and its gRPC the other
    for (kib, says) in [(1_800, "too large"), (4_096, "larger than max")] {
        let value = "x".repeat(kib << 10);
        let refused =
            store.commit(vec![write("x", Expect::Any, Some(&value))]).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(*store.link.subscribe().borrow(), turns, "another endpoint would say the same");
    store.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_put_back_is_noticed_by_the_watch() {
    let Some(mut server) = Server::start().await else { return };
    let store = server.open("/a").await;
    store.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
    let backup = server.path("backup");
    server.etcdctl(&["snapshot", "save", &backup.display().to_string()]);
    for _ in 0..5 {
        store.commit(vec![write("x", Expect::Any, Some("2"))]).await.unwrap();
    }
    let list = store.list().await.unwrap();
    let mut watch = store.watch(list.revision);
    assert!(timeout(Duration::from_millis(200), watch.next()).await.is_err());
    server.restore(&backup).await;
    let behind = timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(matches!(behind, Some(Err(StoreError::Behind))), "{behind:?}");
    assert!(store.list().await.unwrap().revision < list.revision);
}

#[tokio::test]
async fn an_etcd_with_tls_client_certificates_and_users_is_reached_and_a_wrong_password_told() {
    let Some(server) = Server::start_with(true).await else { return };
    for args in [
        &["user", "add", "root:first"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "bellhop"],
        &["role", "grant-permission", "bellhop", "--prefix=true", "readwrite", "/mine/"],
        &["user", "add", "bellhop:secret"],
        &["user", "grant-role", "bellhop", "bellhop"],
        &["auth", "enable"],
    ] {
        server.etcdctl(args);
    }
    let password = server.path("password");
    std::fs::write(&password, "wrong\n").unwrap();
    let config = EtcdConfig {
        ca_file: Some(server.path("ca.crt")),
        identity: Some((server.path("client.crt"), server.path("client.key"))),
        user: Some(("bellhop".into(), password.clone())),
        ..server.config("/mine")
    };
    let refused = Etcd::open(config.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("authentication failed"), "{refused}");
    std::fs::write(&password, "secret\n").unwrap();
    let store = Etcd::open(config.clone()).await.unwrap();
    let mut watch = store.watch(store.list().await.unwrap().revision);
    let done = store.commit(vec![write("x", Expect::Absent, Some("1"))]).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, done);

    // the password changes: whoever reads the file again goes on
    let change = ["--user=root:first", "user", "passwd", "bellhop", "--interactive=false"];
    server.etcdctl_told(&change, "second\n");
    std::fs::write(&password, "second\n").unwrap();
    let done = store.commit(vec![write("x", Expect::At(done), Some("2"))]).await.unwrap();
    let mut seen = 0;
    while seen < done {
        seen = next(&mut watch).await.unwrap().revision;
    }
    let refused =
        Etcd::open(EtcdConfig { prefix: "/others".into(), ..config }).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
}
