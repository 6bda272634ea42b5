use std::{collections::BTreeMap, sync::Arc};

use bellhop_api::{
    answers::{ReplicaHolds, ReplicaInForce},
    watch::KeyUnit,
};
use tokio::time::advance;

use super::*;
use crate::replicas::{Answer, Answers, Replica};

const NEW: &str = "00000000000000aa";

/// A table whose digest was `t1` at 1 and is `t9` at 9.
struct History;

impl Table for History {
    fn digest_seen(&self, digest: &str) -> Option<Sequence> {
        match digest {
            "t1" => Some(1),
            "t9" => Some(9),
            _ => None,
        }
    }

    fn is_newest(&self, digest: &str) -> bool {
        digest == "t9"
    }
}

fn form(changed: Sequence) -> KeyForm {
    let unit = KeyUnit { key: "a".parse().unwrap(), gone: false, routes: Vec::new(), digest: NEW.into() };
    KeyForm { unit: Arc::new(unit), changed, since: Instant::now() }
}

fn report(table: &str, key: Option<&str>) -> ProxyReport {
    let digests = key.map(|digest| ("a".parse().unwrap(), Some(digest.to_owned())));
    ProxyReport {
        table_digest: table.into(),
        digests: BTreeMap::from_iter(digests),
        ..ProxyReport::default()
    }
}

fn hear(registry: &Registry, id: &str, report: ProxyReport) {
    registry.report(id, report, &History, Timestamp::UNIX_EPOCH).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_force_only_when_some_proxy_is_known_and_all_hold_its_newest_form() {
    let registry = Registry::default();
    assert!(!registry.in_force(&form(9)).in_force);
    hear(&registry, "p1", report("t9", None));
    hear(&registry, "p2", report("t1", None));
    let open = registry.in_force(&form(9));
    assert_eq!((open.in_force, open.proxies, open.waiting_for), (false, 2, vec!["p2".to_owned()]));
    assert!(registry.in_force(&form(1)).in_force, "an older table holds what did not change since");
    hear(&registry, "p2", report("between", Some("00000000000000bb")));
    assert!(!registry.in_force(&form(9)).in_force, "another form of the key is not its newest");
    hear(&registry, "p2", report("between", Some(NEW)));
    assert!(registry.in_force(&form(9)).in_force);
}

#[tokio::test(start_paused = true)]
async fn what_was_once_in_force_stays_so_for_that_form() {
    let registry = Registry::default();
    hear(&registry, "p1", report("t9", None));
    assert!(registry.in_force(&form(9)).in_force);
    hear(&registry, "late", report("empty", None));
    assert!(registry.in_force(&form(9)).in_force);
    let newer = registry.in_force(&form(10));
    assert_eq!((newer.in_force, newer.waiting_for.len()), (false, 2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_is_waited_for_thirty_seconds_and_then_lost() {
    let registry = Registry::default();
    hear(&registry, "p1", report("t9", None));
    hear(&registry, "p2", report("t1", None));
    advance(Duration::from_secs(29)).await;
    hear(&registry, "p1", report("t9", None));
    let open = registry.in_force(&form(9));
    assert_eq!((open.in_force, open.lost.len()), (false, 0));
    advance(Duration::from_secs(1)).await;
    let closed = registry.in_force(&form(9));
    assert_eq!((closed.in_force, closed.proxies, closed.lost), (true, 1, vec!["p2".to_owned()]));
    assert_eq!(registry.list("t9").iter().filter(|proxy| proxy.state == ProxyState::Lost).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_goodbye_is_not_waited_for() {
    let registry = Registry::default();
    hear(&registry, "p1", report("t9", None));
    hear(&registry, "p2", report("t1", None));
    hear(&registry, "p2", ProxyReport { goodbye: true, ..report("t1", None) });
    let now = registry.in_force(&form(9));
    assert_eq!((now.in_force, now.proxies, now.lost.len()), (true, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_asked_if_it_has_not_reported_in_time_at_most_once_a_second_and_on_its_newest_watch() {
    let registry = Registry::default();
    let mut old = registry.watching("p1", Timestamp::UNIX_EPOCH).unwrap();
    let mut new = registry.watching("p1", Timestamp::UNIX_EPOCH).unwrap();
    assert!(old.recv().await.is_none(), "the older watch ends");
    let form = form(9);
    registry.in_force(&form);
    assert!(new.try_recv().is_err(), "it may be about to report");
    advance(ASK_AFTER).await;
    for _ in 0..5 {
        registry.in_force(&form);
    }
    assert_eq!(new.recv().await.unwrap().len(), 1);
    assert!(new.try_recv().is_err());
    advance(Duration::from_secs(1)).await;
    registry.in_force(&form);
    assert!(new.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_looks_at_all_again_only_when_nobody_is_left_of_those_it_waited_for() {
    let registry = Registry::default();
    for id in ["p1", "p2", "p3", "p4"] {
        hear(&registry, id, report("t1", None));
    }
    let form = form(9);
    let mut waiting = Waiting::new(&registry, &form, registry.in_force(&form).waiting_for);
    assert!(!waiting.is_over(&registry, Some(&form)));
    for (id, report, over) in [
        ("p4", report("t9", None), false),
        ("p3", ProxyReport { goodbye: true, ..report("t1", None) }, false),
        ("p1", report("t9", None), false),
        ("p2", report("t1", None), false),
        ("p2", report("between", Some(NEW)), true),
    ] {
        hear(&registry, id, report);
        assert_eq!(waiting.is_over(&registry, Some(&form)), over, "{id}");
    }
    assert!(registry.in_force(&form).in_force);
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_looks_at_all_again_to_ask_them_and_when_the_key_has_changed_or_gone() {
    let registry = Registry::default();
    hear(&registry, "p1", report("t1", None));
    let form = form(9);
    let wait = || Waiting::new(&registry, &form, registry.in_force(&form).waiting_for);
    let (begun, mut waiting) = (Instant::now(), wait());
    assert_eq!(waiting.look() - begun, ASK_AFTER);
    assert!(waiting.is_over(&registry, Some(&KeyForm { changed: 10, ..form.clone() })));
    assert!(waiting.is_over(&registry, None));
    advance(ASK_AFTER).await;
    assert!(waiting.is_over(&registry, Some(&form)));
    assert_eq!(wait().look() - Instant::now(), ASK_AGAIN);
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_for_others_to_come_back_is_not_woken_by_those_who_have() {
    let registry = Registry::default();
    registry.await_return();
    hear(&registry, "quick", report("t9", None));
    let form = form(9);
    advance(COME_BACK - Duration::from_millis(100)).await;
    let mut waiting = Waiting::new(&registry, &form, registry.in_force(&form).waiting_for);
    hear(&registry, "another", report("t9", None));
    assert!(!waiting.is_over(&registry, Some(&form)));
    assert_eq!(waiting.look() - Instant::now(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_is_in_force_before_proxies_had_time_to_come_back() {
    let registry = Registry::default();
    registry.await_return();
    hear(&registry, "quick", report("t9", None));
    assert!(!registry.in_force(&form(9)).in_force, "others may still be on their way");
    hear(&registry, "slow", report("t1", None));
    advance(COME_BACK).await;
    assert_eq!(registry.in_force(&form(9)).waiting_for, ["slow"]);
    hear(&registry, "slow", report("t9", None));
    assert!(registry.in_force(&form(9)).in_force);
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_acknowledged_in_an_earlier_life_says_nothing_of_this_one() {
    let registry = Registry::default();
    hear(&registry, "p1", report("between", Some(NEW)));
    hear(&registry, "p1", report("an old snapshot", None));
    assert!(!registry.in_force(&form(9)).in_force);
}

/// What another replica says of one proxy, in an answer that has just come and took so long.
fn told(holds: bool, reported_ms: u64, took_ms: u64) -> Answers<ReplicaInForce> {
    let proxy =
        ReplicaHolds { id: "p1".into(), holds, heard_ms: reported_ms, reported_ms: Some(reported_ms) };
    let said = ReplicaInForce { settled: true, latched: None, proxies: vec![proxy] };
    let took = Duration::from_millis(took_ms);
    let answer = Answer { from: "other".into(), said, came: Instant::now(), took };
    Answers { answers: vec![answer], unanswered: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn reports_to_two_replicas_are_put_in_their_order_and_where_that_is_not_certain_both_must_say_it() {
    let said_here = |registry: &Registry, ago_ms| {
        let here = registry.holds(&"a".parse().unwrap(), NEW, Some(&form(9)));
        let mut here = ReplicaInForce { settled: true, ..here };
        here.proxies[0].reported_ms = Some(ago_ms);
        here
    };
    for (holds_here, here_ms, there, expected) in [
        (true, 500, told(false, 100, 0), false),
        (false, 500, told(true, 100, 0), true),
        (true, 100, told(false, 500, 0), true),
        // the answer tells of some moment in 900 ms: the report there may be the later one, or the earlier
        (true, 500, told(false, 100, 900), false),
        (false, 500, told(true, 100, 900), false),
        (true, 500, told(true, 100, 900), true),
        (true, 2_000, told(false, 100, 900), false),
        (false, 2_000, told(true, 100, 900), true),
    ] {
        let registry = Registry::default();
        hear(&registry, "p1", report(if holds_here { "t9" } else { "t1" }, None));
        let here = said_here(&registry, here_ms);
        let judged = registry.judge(&form(9), here, there);
        assert_eq!(judged.in_force, expected, "{holds_here} {here_ms} ms ago here: {judged:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxies_of_a_replica_that_has_gone_are_waited_for_and_then_lost_unless_they_come_here() {
    let registry = Registry::default();
    let other = Replica { id: "other".into(), url: "http://other:1".into() };
    let nobody = || Answers { answers: Vec::new(), unanswered: Vec::new() };
    let here = |registry: &Registry| registry.holds(&"a".parse().unwrap(), NEW, Some(&form(9)));
    hear(&registry, "p2", report("t9", None));
    let answers = told(false, 0, 0);
    registry.remember(&answers.answers, &[other]);
    assert_eq!(registry.judge(&form(9), here(&registry), answers).waiting_for, ["p1"]);
    registry.remember(&[], &[]);
    assert!(registry.has_left_behind());
    let waiting = registry.judge(&form(9), here(&registry), nobody());
    assert_eq!((waiting.in_force, waiting.waiting_for), (false, vec!["p1".to_owned()]));
    advance(LOST_AFTER).await;
    hear(&registry, "p2", report("t9", None));
    let lost = registry.judge(&form(9), here(&registry), nobody());
    assert_eq!((lost.in_force, lost.proxies, lost.lost), (true, 1, vec!["p1".to_owned()]));
    hear(&registry, "p1", report("t1", None));
    let newer = registry.holds(&"a".parse().unwrap(), NEW, Some(&form(10)));
    let back = registry.judge(&form(10), newer, nobody());
    assert_eq!((back.waiting_for, back.lost), (vec!["p1".to_owned(), "p2".to_owned()], Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_had_moved_to_a_replica_that_has_gone_is_waited_for_though_it_was_lost_here_before() {
    let registry = Registry::default();
    let other = Replica { id: "other".into(), url: "http://other:1".into() };
    hear(&registry, "p1", report("t9", None));
    advance(LOST_AFTER).await;
    hear(&registry, "p2", report("t9", None));
    registry.remember(&told(false, 0, 0).answers, &[other]);
    registry.remember(&[], &[]);
    let judge = || {
        let here = registry.holds(&"a".parse().unwrap(), NEW, Some(&form(9)));
        registry.judge(&form(9), here, Answers { answers: Vec::new(), unanswered: Vec::new() })
    };
    assert_eq!(judge().waiting_for, ["p1"]);
    hear(&registry, "p1", report("t9", None));
    assert!(judge().in_force, "it has come back");
}
