//! The snapshot, from one run to the next.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

const READS: &str = "bellhop_proxy_snapshot_reads_total";

#[tokio::test]
async fn a_restart_without_control_loses_no_route_and_resumes_where_it_stood() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("routes");
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), Some(file.clone()));
        assert_eq!(lab.metric(&format!("{READS}{{outcome=\"absent\"}}")), Some(1));
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a", "b"]).await;
        stream.line(&change(&key("c"), 6)).await;
        stream.line(&change(r#"{"type":"delete","unit":{"key":"a"}}"#, 7)).await;
        lab.holds(&["b", "c"]).await;
        let url = peer.url();
        let before = lab.digest();
        // The end writes what no pause has written yet.
        lab.end().await;
        drop((stream, peer));

        let lab = Lab::start(Some(&url), Some(file.clone()));
        assert!(lab.tables.loaded(), "before anything is awaited");
        assert_eq!(lab.digest(), before);
        assert!(lab.tables.stale(), "nobody knows what happened meanwhile");
        let mut peer = Peer::at(url.strip_prefix("http://").unwrap().parse().unwrap()).await;
        let mut stream = peer.watch().await;
        assert!(stream.target.ends_with("&since=t7"), "{}", stream.target);
        stream.line(&at("synced", 7)).await;
        until("not stale", || !lab.tables.stale()).await;
        lab.end().await;

        let lab = Lab::start(None, Some(file));
        assert_eq!(lab.digest(), before);
        assert!(!lab.tables.stale(), "there is no control that could know better");
        lab.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_ignored_and_counted_and_later_replaced() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("routes");
        fs::write(&file, "{\"bellhop_snapshot\":1,\"position\":null,\"units\":0,\"xxh3\":\"0\"}\nrubbish\n")
            .unwrap();
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), Some(file.clone()));
        assert_eq!(lab.metric(&format!("{READS}{{outcome=\"corrupt\"}}")), Some(1));
        assert!(!lab.tables.loaded() && lab.tables.position().is_none());
        list(&mut peer.watch().await, 5, &["a"]).await;
        lab.holds(&["a"]).await;
        lab.counts("bellhop_proxy_snapshot_writes_total{outcome=\"written\"}", 1).await;
        lab.end().await;
        let lab = Lab::start(None, Some(file));
        lab.holds(&["a"]).await;
        lab.end().await;
    })
    .await;
}

#[tokio::test]
async fn f21_a_snapshot_that_cannot_be_written_is_told_and_routing_goes_on() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        // Root writes through permissions; a directory that is a file stops everybody.
        let inside = directory.path().join("file");
        fs::write(&inside, "").unwrap();
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o400)).unwrap();
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), Some(inside.join("routes")));
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a"]).await;
        lab.counts("bellhop_proxy_snapshot_writes_total{outcome=\"failed\"}", 1).await;
        stream.line(&change(&key("b"), 6)).await;
        lab.holds(&["a", "b"]).await;
        lab.end().await;
    })
    .await;
}
