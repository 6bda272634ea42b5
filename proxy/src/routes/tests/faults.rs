//! MATRICES F8 and F9: control that is away, comes back, flaps, or talks nonsense.

use super::{super::lines::MAX_LINE_BYTES, *};

/// What a stream says after the list of revision 5, and how that ends.
async fn f9(after: &[&[u8]], cause: &str) {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a", "b"]).await;
        lab.holds(&["a", "b"]).await;
        let before = lab.digest();
        for bytes in after {
            stream.bytes(bytes).await;
        }
        if cause == "half-line" {
            drop(stream);
        }
        lab.counts(&format!("bellhop_proxy_watch_ends_total{{cause=\"{cause}\"}}"), 1).await;
        assert_eq!(lab.digest(), before, "the last table stays");
        assert!(lab.tables.loaded());
        // It asks again, from where it stood, and goes on.
        let mut stream = peer.watch().await;
        assert!(stream.target.ends_with("&since=t5"), "{}", stream.target);
        stream.line(&change(&key("c"), 6)).await;
        lab.holds(&["a", "b", "c"]).await;
    })
    .await;
}

#[tokio::test]
async fn f9_garbage_is_rejected_and_the_last_table_stays() {
    f9(&[b"nonsense\n"], "garbage").await;
    f9(&[b"\xff\xfe\x00\n"], "garbage").await;
    f9(&[b"{\"type\":\"put\",\"unit\":{\"key\":{\"key\":\"a/b\"}}}\n"], "garbage").await;
}

#[tokio::test]
async fn f9_a_huge_event_is_rejected_before_it_is_whole() {
    let huge = vec![b'x'; MAX_LINE_BYTES + 1];
    f9(&[b"{\"type\":\"ask\",\"keys\":[\"", &huge], "too-long").await;
}

#[tokio::test]
async fn f9_half_a_line_is_rejected() {
    f9(&[b"{\"type\":\"delete\",\"unit\":{\"key\":\"a\"}}"], "half-line").await;
}

#[tokio::test]
async fn f9_an_older_position_of_the_same_epoch_is_rejected_whole() {
    let older = [at("reset", 4), key("z"), at("synced", 4), String::new()].join("\n");
    f9(&[older.as_bytes()], "older").await;
    let older = [change(r#"{"type":"delete","unit":{"key":"a"}}"#, 4), String::new()].join("\n");
    f9(&[older.as_bytes()], "older").await;
    // The list begins well, and ends in the past.
    let older = [at("reset", 5), key("z"), at("synced", 3), String::new()].join("\n");
    f9(&[older.as_bytes()], "older").await;
}

#[tokio::test]
async fn f9_a_list_with_one_bad_unit_is_rejected_whole() {
    let bad = key("y").replace("10.0.0.7:8080", "0.0.0.0:0");
    let text = [at("reset", 6), key("z"), bad, at("synced", 6), String::new()].join("\n");
    f9(&[text.as_bytes()], "bad-unit").await;
}

#[tokio::test]
async fn f9_events_out_of_order_are_rejected() {
    let epoch = at("bookmark", 9).replace("e1", "e2");
    f9(&[epoch.as_bytes(), b"\n"], "out-of-order").await;
    let twice = [at("reset", 6), at("reset", 6), String::new()].join("\n");
    f9(&[twice.as_bytes()], "out-of-order").await;
}

#[tokio::test]
async fn a_new_epoch_may_begin_at_any_revision() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        list(&mut stream, 500, &["a"]).await;
        lab.holds(&["a"]).await;
        for line in [at("reset", 1), key("b"), at("synced", 1)] {
            stream.line(&line.replace("e1", "e2")).await;
        }
        lab.holds(&["b"]).await;
        assert_eq!(lab.tables.position().unwrap().epoch, "e2");
    })
    .await;
}

#[tokio::test]
async fn silence_for_15_s_is_a_disconnect() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let mut stream = peer.watch().await;
        list(&mut stream, 5, &["a"]).await;
        lab.holds(&["a"]).await;
        let silent = "bellhop_proxy_watch_ends_total{cause=\"silent\"}";
        assert_eq!(lab.metric(silent), Some(0));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(16)).await;
        tokio::time::resume();
        lab.counts(silent, 1).await;
        let _again = peer.watch().await;
        lab.holds(&["a"]).await;
    })
    .await;
}

#[tokio::test]
async fn f8_control_that_returns_is_followed_within_5_s_and_the_table_never_empties() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        list(&mut peer.watch().await, 5, &["a"]).await;
        lab.holds(&["a"]).await;
        let address = peer.address;
        drop(peer);
        // Away long enough for the back-off to reach its cap.
        until("many attempts", || {
            lab.metric("bellhop_proxy_watch_ends_total{cause=\"unreachable\"}").unwrap() >= 6
        })
        .await;
        lab.holds(&["a"]).await;
        let returned = Instant::now();
        let mut peer = Peer::at(address).await;
        let mut stream = peer.watch().await;
        stream.line(&change(&key("b"), 6)).await;
        lab.holds(&["a", "b"]).await;
        assert!(returned.elapsed() < Duration::from_secs(5), "{:?}", returned.elapsed());
    })
    .await;
}

#[tokio::test]
async fn f8_control_that_flaps_is_followed_each_time() {
    local(async {
        let mut peer = Peer::start().await;
        let lab = Lab::start(Some(&peer.url()), None);
        let address = peer.address;
        for round in 1..=6 {
            let mut stream = peer.watch().await;
            list(&mut stream, round, &["a", &format!("b{round}")]).await;
            lab.holds(&["a", &format!("b{round}")]).await;
            drop((stream, peer));
            peer = Peer::at(address).await;
        }
        let ends = lab.telemetry.render(Vec::new());
        let ends = String::from_utf8(ends).unwrap();
        assert!(!ends.contains("cause=\"garbage\"} 1"), "{ends}");
    })
    .await;
}
