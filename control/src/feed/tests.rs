use std::{pin::pin, time::Duration};

use bellhop_api::watch::{RouteState, RouteUnit};
use futures_util::{Stream, StreamExt};

use super::*;
use crate::server::Phase;

mod slow;

fn unit(key: &str, port: u16) -> Unit {
    let route = RouteUnit {
        destination: "route:8080".parse().unwrap(),
        state: RouteState::Active,
        endpoints: vec![([10, 0, 0, 7], port).into()],
        fallback: bellhop_api::watch::Fallback::None,
        protocol: bellhop_api::watch::EndpointProtocol::Same,
        requires: Vec::new(),
        sandbox: None,
    };
    let mut unit =
        KeyUnit { key: key.parse().unwrap(), gone: false, routes: vec![route], digest: String::new() };
    unit.digest = bellhop_route::digest(&unit).to_string();
    Unit::Key(unit)
}

fn put(feed: &Feed, key: &str, port: u16) {
    feed.publish(&Effects { put: vec![unit(key, port)], ..Effects::default() }, 1);
}

/// The events behind the list.
fn follow(feed: &Arc<Feed>, phase: &watch::Sender<Phase>) -> impl Stream<Item = Event> {
    let options = WatchOptions { since: None, lifetime: None, asks: None, phase: phase.subscribe() };
    watch_lines(Arc::clone(feed), options).skip(1).map(|line| serde_json::from_slice(&line.unwrap()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_gets_a_bookmark_every_five_seconds_with_its_position() {
    let (feed, phase) = (Arc::new(Feed::new("e", "r")), watch::Sender::new(Phase::Serving));
    let mut watch = pin!(follow(&feed, &phase));
    let begun = tokio::time::Instant::now();
    for n in 1..=3 {
        assert_eq!(watch.next().await, Some(Event::Bookmark(feed.position())));
        assert_eq!(begun.elapsed(), Duration::from_secs(5 * n));
    }
    assert!(tokio::time::timeout(Duration::ZERO, watch.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn watchers_of_a_server_that_ends_get_what_has_come_and_a_last_bookmark_and_leave_one_by_one() {
    let mut moments = std::collections::BTreeSet::new();
    for n in 1..=50 {
        let (feed, phase) = (Arc::new(Feed::new("e", "r")), watch::Sender::new(Phase::Serving));
        let mut watch = pin!(follow(&feed, &phase));
        assert!(tokio::time::timeout(Duration::ZERO, watch.next()).await.is_err(), "it has read its list");
        let told = tokio::time::Instant::now();
        phase.send_replace(Phase::Leaving);
        put(&feed, "late", n);
        assert!(matches!(watch.next().await, Some(Event::Put { .. })));
        assert_eq!(watch.next().await, Some(Event::Bookmark(feed.position())));
        assert_eq!(watch.next().await, None);
        assert!(told.elapsed() <= Duration::from_secs(1), "{:?}", told.elapsed());
        moments.insert(told.elapsed());
    }
    assert!(moments.len() > 10, "{moments:?}");
}

#[tokio::test]
async fn a_watcher_whose_place_has_left_the_log_is_cut_and_gets_a_list_when_it_comes_back() {
    let (feed, phase) = (Arc::new(Feed::keeping("e", "r", 16)), watch::Sender::new(Phase::Serving));
    let first = feed.position().token;
    let mut slow = pin!(follow(&feed, &phase));
    assert!(tokio::time::timeout(Duration::ZERO, slow.next()).await.is_err(), "it has read its list");
    for n in 0..=16 {
        put(&feed, "a", n + 1);
    }
    assert_eq!(slow.next().await, None);
    assert!(feed.resume(&first).is_none() && feed.resume(&feed.position().token).is_some());
    assert!(
        feed.read().log.len() == 16
            && feed.read().digests.at.len() == 16
            && feed.read().contents.at.len() == 16
    );
}

#[tokio::test]
async fn a_change_is_serialized_once_and_shared() {
    let feed = Feed::new("e", "r");
    put(&feed, "a", 1);
    let (Lines::Some(one, 1), Lines::Some(two, 1)) = (feed.lines(0), feed.lines(0)) else { panic!() };
    assert_eq!(one[0].as_ptr(), two[0].as_ptr());
    assert!(Arc::ptr_eq(&feed.snapshot(), &feed.snapshot()));
}

#[tokio::test]
async fn a_table_digest_is_recognised_as_long_as_it_is_remembered_and_the_newest_always() {
    let feed = Feed::new("e", "r");
    put(&feed, "a", 1);
    let first = feed.table_digest();
    put(&feed, "a", 2);
    assert_eq!((feed.digest_seen(&first), feed.digest_seen(&feed.table_digest())), (Some(1), Some(2)));
    put(&feed, "a", 1);
    assert_eq!(feed.digest_seen(&first), Some(3), "the same content again is as good as new");
    assert_eq!(feed.digest_seen("0000000000000000"), Some(0));
    feed.publish(&Effects { delete: vec![UnitName::Key("a".parse().unwrap())], ..Effects::default() }, 2);
    assert_eq!(feed.table_digest(), "0000000000000000");
}

#[tokio::test]
async fn a_revision_never_goes_back_even_where_two_tasks_publish_at_once() {
    let feed = Feed::new("e", "r");
    feed.publish(&Effects { put: vec![unit("a", 1)], ..Effects::default() }, 7);
    feed.publish(&Effects { put: vec![unit("b", 1)], ..Effects::default() }, 6);
    assert_eq!(feed.position().revision, 7);
    let Lines::Some(lines, _) = feed.lines(1) else { panic!("the log goes on") };
    let event: Event = serde_json::from_slice(&lines[0]).unwrap();
    assert!(matches!(event, Event::Put { position: Some(position), .. } if position.revision == 7));
}

#[tokio::test]
async fn nobody_is_told_the_present_position_before_the_lines_that_lead_to_it() {
    let feed = Feed::new("e", "r");
    feed.publish(&Effects { put: vec![unit("a", 1)], ..Effects::default() }, 1);
    feed.publish(&Effects { put: vec![unit("a", 2)], ..Effects::default() }, 2);
    assert_eq!(feed.position_at(1), None);
    assert_eq!(feed.position_at(2), Some(feed.position()));
}

#[tokio::test]
async fn who_knows_of_later_changes_of_this_epoch_shows_that_this_replica_is_behind() {
    let feed = Feed::new("e", "r");
    feed.publish(&Effects { put: vec![unit("a", 1)], ..Effects::default() }, 5);
    let held = feed.position();
    assert_eq!(feed.is_behind(&held), None);
    assert_eq!(feed.is_behind(&Position { epoch: "another".into(), revision: 9, ..held.clone() }), None);
    assert_eq!(feed.is_behind(&Position { revision: 6, ..held.clone() }), Some(6));
    let later = held.token.replace(".1.5.", ".1.6.");
    assert_eq!((feed.is_behind_token(&later), feed.is_behind_token("nonsense")), (Some(6), None));
    feed.begin_epoch("f", 3);
    assert_eq!((&*feed.epoch(), feed.position().revision), ("f", 3));
    assert!(feed.resume(&held.token).is_none(), "everybody gets a list");
}

#[tokio::test]
async fn a_token_of_another_replica_is_honoured_where_all_units_were_the_same_and_nowhere_else() {
    let (one, two) = (Feed::new("e", "one"), Feed::new("e", "two"));
    put(&two, "z", 1);
    two.publish(&Effects { delete: vec![UnitName::Key("z".parse().unwrap())], ..Effects::default() }, 1);
    for feed in [&one, &two] {
        put(feed, "a", 1);
        put(feed, "b", 1);
    }
    let token = one.position().token;
    put(&two, "c", 1);
    let at = two.resume(&token).expect("this replica was where the other is");
    let Lines::Some(lines, _) = two.lines(at) else { panic!("the log goes on") };
    assert!(lines.len() == 1 && String::from_utf8_lossy(&lines[0]).contains("\"c\""));
    put(&one, "b", 2);
    assert_eq!(two.resume(&one.position().token), None, "here b was never so");
    assert_eq!(Feed::new("another", "two").resume(&token), None);
}
