use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::*;
use crate::{author::How, clock::Clock, control::plane::Plane, record::name_of, store::fake::Fake};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_sandbox_expires_at_its_hour_stays_a_day_as_expired_and_is_then_forgotten() {
    let plane = Plane::start(&Arc::default(), Clock::tokio()).await;
    plane.apply("a", "4h", true).await.unwrap();
    sleep(4 * HOUR - Duration::from_secs(1)).await;
    assert_eq!((plane.phase("a"), plane.gone("a")), (Some(Phase::Active), Some(false)));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((plane.phase("a"), plane.gone("a")), (Some(Phase::Expired), Some(true)));
    sleep(24 * HOUR - Duration::from_secs(5)).await;
    assert_eq!((plane.phase("a"), plane.gone("a")), (Some(Phase::Expired), Some(true)));
    sleep(Duration::from_secs(20)).await;
    assert_eq!((plane.phase("a"), plane.gone("a")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn an_apply_begins_the_time_again_changed_or_not_and_another_write_does_not() {
    let plane = Plane::start(&Arc::default(), Clock::tokio()).await;
    plane.apply("a", "4h", true).await.unwrap();
    plane.apply("b", "4h", true).await.unwrap();
    sleep(3 * HOUR).await;
    plane.apply("a", "4h", true).await.unwrap();
    plane.apply("b", "4h", false).await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!((plane.phase("a"), plane.phase("b")), (Some(Phase::Active), Some(Phase::Expired)));
    plane.apply("b", "4h", true).await.unwrap();
    assert_eq!(
        (plane.phase("b"), plane.gone("b")),
        (Some(Phase::Active), Some(false)),
        "an expired one can be had back"
    );
}

#[tokio::test(start_paused = true)]
async fn expiry_survives_a_restart_and_what_expired_meanwhile_never_routes_again() {
    let (store, clock) = (Arc::<Fake>::default(), Clock::tokio());
    let mut plane = Plane::start(&store, clock).await;
    plane.apply("a", "4h", true).await.unwrap();
    plane.apply("b", "9h", true).await.unwrap();
    plane.tasks.shutdown().await;
    sleep(5 * HOUR).await;
    let plane = Plane::start(&store, clock).await;
    assert_eq!(
        (plane.gone("a"), plane.gone("b")),
        (Some(true), Some(false)),
        "at once, before any task has run"
    );
    sleep(5 * HOUR).await;
    assert_eq!((plane.phase("a"), plane.phase("b")), (Some(Phase::Expired), Some(Phase::Expired)));
}

#[tokio::test(start_paused = true)]
async fn f21_a_store_that_cannot_write_refuses_clearly_while_reads_and_expiry_go_on() {
    let store = Arc::<Fake>::default();
    let plane = Plane::start(&store, Clock::tokio()).await;
    plane.apply("a", "1h", true).await.unwrap();
    store.full.store(true, Ordering::Relaxed);
    let refused = plane.apply("b", "1h", true).await.unwrap_err();
    assert_eq!((refused.status, refused.detail.contains("store failed")), (503, true), "{refused}");
    assert_eq!((plane.gone("a"), plane.gone("b")), (Some(false), None));
    sleep(HOUR + Duration::from_secs(1)).await;
    assert_eq!(plane.gone("a"), Some(true), "routes end though it cannot be stored");
    store.full.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(plane.phase("a"), Some(Phase::Expired));
    plane.apply("b", "1h", true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_sandbox_is_remembered_for_a_day() {
    let plane = Plane::start(&Arc::default(), Clock::tokio()).await;
    let made = plane.apply("a", "90d", true).await.unwrap();
    let name = name_of(made.kind(), made.metadata()).unwrap();
    plane.author.delete(&name, &How::default()).await.unwrap();
    sleep(23 * HOUR).await;
    assert_eq!((plane.phase("a"), plane.gone("a")), (None, Some(true)));
    sleep(HOUR + Duration::from_secs(10)).await;
    assert_eq!(plane.gone("a"), None);
    assert_eq!(plane.author.control.store.list().await.unwrap().records, []);
}

#[tokio::test(start_paused = true)]
async fn an_expired_object_that_is_applied_again_does_not_take_its_key_back_from_who_has_it_now() {
    let plane = Plane::start(&Arc::default(), Clock::tokio()).await;
    plane.apply_keyed("old", "shared", "1h", true).await.unwrap();
    sleep(2 * HOUR).await;
    assert_eq!(plane.phase("old"), Some(Phase::Expired));
    plane.apply_keyed("new", "shared", "90d", true).await.unwrap();
    let refused = plane.apply_keyed("old", "shared", "1h", true).await.unwrap_err();
    assert!(refused.status == 409 && refused.to_string().contains("Sandbox default/new"), "{refused}");
    let form = plane.author.control.feed.key("shared").unwrap();
    assert_eq!(form.unit.routes[0].sandbox.as_deref(), Some("default/new"));
    plane.apply_keyed("new", "shared", "90d", true).await.unwrap();
}
