use std::{collections::BTreeMap, sync::Arc};

use bellhop_api::watch::KeyUnit;
use tokio::time::advance;

use super::*;

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
    KeyForm { unit: Arc::new(unit), changed }
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
async fn a_proxy_is_asked_at_most_once_a_second_and_on_its_newest_watch() {
    let registry = Registry::default();
    let mut old = registry.watching("p1", Timestamp::UNIX_EPOCH).unwrap();
    let mut new = registry.watching("p1", Timestamp::UNIX_EPOCH).unwrap();
    for _ in 0..5 {
        registry.in_force(&form(9));
    }
    assert!(old.recv().await.is_none(), "the older watch ends");
    assert_eq!(new.recv().await.unwrap().len(), 1);
    assert!(new.try_recv().is_err());
    advance(Duration::from_secs(1)).await;
    registry.in_force(&form(9));
    assert!(new.try_recv().is_ok());
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
