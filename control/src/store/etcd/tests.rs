//! Against a real etcd.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::{server::Server, *};
use crate::{
    backup::Backup,
    store::conformance::{all, next, write},
};

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
async fn a_store_that_was_put_back_to_before_it_said_its_form_says_it_again_as_soon_as_it_is_listed_or_written()
 {
    let Some(mut server) = Server::start().await else { return };
    let store = server.open("/a").await;
    store.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
    let forget = |server: &Server, marks: &[&str]| {
        for mark in marks {
            server.etcdctl(&["del", &format!("/a/store/{mark}")]);
        }
    };
    forget(&server, &["form"]);
    let backup = server.path("backup");
    server.etcdctl(&["snapshot", "save", &backup.display().to_string()]);
    server.restore(&backup).await;
    assert_eq!(held(&store.list().await.unwrap()), [("x", &b"1"[..])]);
    store.commit(vec![write("x", Expect::Any, Some("2"))]).await.unwrap();
    // before anything was noticed
    forget(&server, &["form"]);
    let refused = store.commit(vec![write("x", Expect::Any, Some("3"))]).await.unwrap_err().to_string();
    assert!(refused.contains("put back"), "{refused}");
    store.commit(vec![write("x", Expect::Any, Some("3"))]).await.unwrap();
    // of a store that is not there at all any more
    forget(&server, &["form", "epoch", "head", "record/x"]);
    let empty = store.list().await.unwrap();
    assert_eq!((held(&empty), empty.epoch.is_empty()), (vec![], false));
    store.commit_in(&empty.epoch, vec![write("x", Expect::Absent, Some("4"))]).await.unwrap();
}

fn backup(records: &[(&str, &'static str)]) -> Backup {
    let record = |(name, value): &(&str, &'static str)| Record {
        name: (*name).into(),
        value: Bytes::from_static(value.as_bytes()),
        revision: 1,
    };
    let listing = Listing { epoch: "old".into(), revision: 1, records: records.iter().map(record).collect() };
    Backup { schema: SCHEMA, taken_at: jiff::Timestamp::UNIX_EPOCH, listing }
}

fn held(listing: &Listing) -> Vec<(&str, &[u8])> {
    listing.records.iter().map(|record| (&*record.name, &*record.value)).collect()
}

#[tokio::test]
async fn a_backup_is_put_into_an_empty_etcd_or_in_the_place_of_what_it_holds_and_replicas_on_it_list_anew() {
    let Some(server) = Server::start().await else { return };
    let config = server.config("/a");
    Etcd::restore(config.clone(), backup(&[("x", "1"), ("y", "1")]), false).await.unwrap();
    let store = server.open("/a").await;
    let before = store.list().await.unwrap();
    assert_eq!(held(&before), [("x", &b"1"[..]), ("y", b"1")]);
    let mut watch = store.watch(before.revision);
    let written = store.commit(vec![write("z", Expect::Absent, Some("1"))]).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, written);

    let again = Etcd::restore(config.clone(), backup(&[("x", "2")]), false).await.unwrap_err().to_string();
    assert!(again.contains("holds 3 records") && again.contains("--replace"), "{again}");
    Etcd::restore(config.clone(), backup(&[("x", "2")]), true).await.unwrap();
    // checked against what was there before
    let late = store.commit(vec![write("y", Expect::At(before.revision), Some("late"))]).await.unwrap_err();
    assert!(late.to_string().contains("put back"), "{late}");
    let behind = timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(matches!(behind, Some(Err(StoreError::Behind))), "{behind:?}");
    let after = store.list().await.unwrap();
    assert_eq!(held(&after), [("x", &b"2"[..])]);
    assert!(after.epoch != before.epoch && after.revision > written, "{after:?}");
    // the same where this replica has listed anew between that check and the commit
    for (epoch, done) in [(&before.epoch, false), (&after.epoch, true)] {
        let late = store.commit_in(epoch, vec![write("late", Expect::Absent, Some("1"))]).await;
        assert_eq!(late.is_ok(), done, "{late:?}");
    }
    let after = store.list().await.unwrap();
    let mut watch = store.watch(after.revision);
    let done =
        store.commit(vec![write("x", Expect::At(after.records[1].revision), Some("3"))]).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, done);
    assert_eq!(held(&server.open("/a").await.list().await.unwrap()), [("late", &b"1"[..]), ("x", b"3")]);
}

#[tokio::test]
async fn a_restore_that_breaks_off_changes_nothing_and_the_next_one_takes_away_what_it_left() {
    let Some(server) = Server::start().await else { return };
    let store = server.open("/a").await;
    store.commit(vec![write("x", Expect::Any, Some("1"))]).await.unwrap();
    // what one that was killed has written so far
    server.etcdctl(&["put", "/a/store/record-dead/y", "1"]);
    server.etcdctl(&["put", "/a/store/staged", "dead"]);
    assert_eq!(held(&store.list().await.unwrap()), [("x", &b"1"[..])]);
    let many: Vec<_> = (0..250).map(|n| format!("r{n:03}")).collect();
    let many: Vec<_> = many.iter().map(|name| (&**name, "1")).collect();
    Etcd::restore(server.config("/a"), backup(&many), true).await.unwrap();
    assert_eq!(store.list().await.unwrap().records.len(), 250);
    assert_eq!(server.etcdctl(&["get", "/a/store/record-dead", "--prefix"]), "");
}

#[tokio::test]
async fn a_store_is_read_for_a_backup_without_a_change_and_where_there_is_none_that_is_told() {
    let Some(server) = Server::start().await else { return };
    let none = Etcd::read(server.config("/a")).await.unwrap_err().to_string();
    assert!(none.contains("no store below /a"), "{none}");
    assert_eq!(server.etcdctl(&["get", "/a/", "--prefix"]), "");
    server.etcdctl(&["put", "/a/store/epoch", "first"]);
    server.etcdctl(&["put", "/a/store/record/x", "1"]);
    let before = server.etcdctl(&["get", "/a/", "--prefix"]);
    assert_eq!(held(&Etcd::read(server.config("/a")).await.unwrap()), [("x", &b"1"[..])]);
    assert_eq!(server.etcdctl(&["get", "/a/", "--prefix"]), before);
}

#[tokio::test]
async fn who_read_before_somebody_else_s_records_came_to_count_takes_none_of_them_away() {
    let Some(server) = Server::start().await else { return };
    let (late, quick) = (server.open("/a").await, server.open("/a").await);
    let then = quick.commit(vec![write("x", Expect::Any, Some("old"))]).await.unwrap();
    for value in ["new", "newer"] {
        let new = backup(&[("x", value)]).listing.records;
        assert!(quick.put_all(&new, None, true).await.unwrap());
        assert!(!late.put_all(&new, Some(then), false).await.unwrap());
        assert!(!late.put_all(&new, None, true).await.unwrap());
        assert_eq!(held(&quick.list().await.unwrap()), [("x", value.as_bytes())]);
        late.list().await.unwrap();
        quick.list().await.unwrap();
    }
}

#[tokio::test]
async fn records_in_another_form_count_together_unless_somebody_wrote_meanwhile_and_the_old_ones_stay_beside_them()
 {
    let Some(server) = Server::start().await else { return };
    let (store, other) = (server.open("/a").await, server.open("/a").await);
    let first = store.commit(vec![write("x", Expect::Any, Some("old"))]).await.unwrap();
    let then = store.commit(vec![write("y", Expect::Any, Some("old"))]).await.unwrap();
    let new = backup(&[("x", "new"), ("y", "new")]).listing.records;
    assert!(!store.put_all(&new, Some(first), false).await.unwrap(), "y was written meanwhile");
    let before = store.list().await.unwrap();
    assert_eq!(held(&before), [("x", &b"old"[..]), ("y", b"old")]);
    assert!(store.put_all(&new, Some(then), false).await.unwrap());
    let stale = other.commit(vec![write("x", Expect::At(first), Some("late"))]).await.unwrap_err();
    assert!(stale.to_string().contains("another form"), "{stale}");
    let after = other.list().await.unwrap();
    assert_eq!((held(&after), &after.epoch), (vec![("x", &b"new"[..]), ("y", b"new")], &before.epoch));
    assert_eq!(server.etcdctl(&["get", "/a/store/record/x", "--print-value-only"]).trim(), "old");
    other.commit(vec![write("x", Expect::At(after.records[0].revision), Some("newer"))]).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_later_form_is_refused_and_one_that_says_none_gets_the_present_one() {
    let Some(server) = Server::start().await else { return };
    server.etcdctl(&["put", "/a/store/record/x", "1"]);
    let store = server.open("/a").await;
    assert_eq!(server.etcdctl(&["get", "/a/store/form", "--print-value-only"]).trim(), SCHEMA.to_string());
    assert_eq!(held(&store.list().await.unwrap()), [("x", &b"1"[..])]);
    server.etcdctl(&["put", "/a/store/form", "2"]);
    for refused in [
        Etcd::open(server.config("/a")).await.map(drop),
        store.list().await.map(drop),
        store.commit(vec![write("x", Expect::Any, Some("2"))]).await.map(drop),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("form 2") && refused.contains("later version"), "{refused}");
    }
    assert_eq!(server.etcdctl(&["get", "/a/store/record/x", "--print-value-only"]).trim(), "1");
    let newer = Backup { schema: SCHEMA + 1, ..backup(&[]) };
    let refused = Etcd::restore(server.config("/b"), newer, false).await.unwrap_err().to_string();
    assert!(refused.contains("form 2"), "{refused}");
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
