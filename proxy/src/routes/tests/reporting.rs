//! What control is told.

use super::*;

#[tokio::test]
async fn a_change_is_reported_at_once_with_the_digest_of_what_is_held() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let first = peer.report().await;
        assert_eq!((first.position, first.keys, first.workload.as_str()), (None, 0, "frontend"));
        assert_eq!(first.version, env!("CARGO_PKG_VERSION"));
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a"]).await;
        lab.holds(&["a"]).await;
        let listed = peer.report().await;
        assert_eq!((listed.keys, listed.table_digest), (1, lab.digest().to_string()));
        assert!(listed.digests.is_empty(), "after a list the table's digest says all");
        let changed = Instant::now();
        stream.line(&change(&key("b"), 6)).await;
        stream.line(&change(r#"{"type":"delete","unit":{"key":"a"}}"#, 7)).await;
        let mut digests = std::collections::BTreeMap::new();
        while digests.len() < 2 {
            digests.extend(peer.report().await.digests);
        }
        assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
        let held = lab.tables.current().key("b").unwrap().digest.to_string();
        assert_eq!(digests.get("b"), Some(&Some(held)));
        assert_eq!(digests.get("a"), Some(&None));
        let _ = lab.end().await;
        assert!(peer.report().await.goodbye);
    })
    .await;
}

#[tokio::test]
async fn control_that_asks_is_answered_about_the_keys_it_names() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a", "b"]).await;
        lab.holds(&["a", "b"]).await;
        stream.line(r#"{"type":"ask","keys":["a","unknown"]}"#).await;
        let report = loop {
            let report = peer.report().await;
            if !report.digests.is_empty() {
                break report;
            }
        };
        assert_eq!(report.digests.len(), 2);
        assert!(report.digests["a"].is_some());
        assert_eq!(report.digests["unknown"], None);
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_changes_makes_five_reports_a_second_at_most() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        list(&mut stream, 1, &["a"]).await;
        lab.holds(&["a"]).await;
        let begun = Instant::now();
        let mut revision = 1;
        while begun.elapsed() < Duration::from_secs(1) {
            revision += 1;
            stream.line(&change(&key("a"), revision)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        until("the last", || lab.tables.position().unwrap().revision == revision).await;
        let mut reports = 0;
        while peer.reported() {
            reports += 1;
        }
        // One at the start, one for the list, five a second, and one for the edges.
        assert!((3..=9).contains(&reports), "{reports}");
    })
    .await;
}

#[tokio::test]
async fn what_control_did_not_take_is_reported_again() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let address = peer.address;
        let mut stream = peer.watch().await;
        list(&mut stream, 1, &["a"]).await;
        lab.holds(&["a"]).await;
        peer.report().await;
        peer.report().await;
        // The watch stays open; reports find nobody.
        drop(peer);
        stream.line(&change(&key("b"), 2)).await;
        until("a failure", || lab.metric("bellhop_proxy_reports_total{outcome=\"failed\"}").unwrap() > 0)
            .await;
        let mut peer = Peer::at(address).await;
        while !peer.report().await.digests.contains_key("b") {}
    })
    .await;
}
