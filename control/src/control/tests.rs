use std::sync::Arc;

use bellhop_api::{Problem, report::ProxyReport};
use futures_util::FutureExt as _;

use super::plane::{Plane, sandbox};
use crate::{
    author::How,
    clock::Clock,
    store::{Listing, Store as _, fake::Fake},
};

#[tokio::test(start_paused = true)]
async fn a_write_that_was_checked_before_a_backup_was_put_back_is_refused() {
    let store = Arc::new(Fake::default());
    let plane = Plane::start(&store, Clock::System).await;
    let (name, object) = sandbox("late", "late", "1h");
    let put_back = |_: Option<&_>| {
        // between the check and the commit: the same answer, whoever asks
        store.begin_epoch(&store.list().now_or_never().unwrap().unwrap().epoch).now_or_never();
        Ok::<_, Problem>(object.clone())
    };
    let refused = plane.author.write(&name, &put_back, &How::default()).await.unwrap_err();
    assert!(refused.to_string().contains("put back"), "{refused}");
    assert!(store.list().await.unwrap().records.is_empty());
    assert!(plane.apply("other", "1h", false).await.is_err(), "until it has been listed anew");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_have_changed_and_changed_back_while_nobody_looked_is_not_in_force_for_what_it_was() {
    let plane = Plane::start(&Arc::default(), Clock::System).await;
    plane.apply("a", "1h", false).await.unwrap();
    let control = &plane.author.control;
    let report = |id: &str, table_digest: String| {
        let report = ProxyReport { table_digest, ..ProxyReport::default() };
        control.registry.report(id, report, &*control.feed, control.clock.now()).unwrap();
    };
    let in_force = || control.registry.in_force(&control.feed.key("a").unwrap());
    report("holds", control.feed.table_digest());
    assert!(in_force().in_force);
    report("other", "00000000000000ff".to_owned());
    assert!(in_force().in_force, "once reached it stays");
    let listing = control.store.list().await.unwrap();
    control.take_listing(&listing);
    assert!(in_force().in_force, "nothing has happened meanwhile");
    control.take_listing(&Listing { revision: listing.revision + 2, ..listing });
    let now = in_force();
    assert_eq!((now.in_force, now.waiting_for), (false, vec!["other".to_owned()]));
}
