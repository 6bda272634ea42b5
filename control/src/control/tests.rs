use std::sync::Arc;

use bellhop_api::Problem;
use futures_util::FutureExt as _;

use super::plane::{Plane, sandbox};
use crate::{
    author::How,
    clock::Clock,
    store::{Store as _, fake::Fake},
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
