//! What every store does, whatever stands behind it. Each store runs all of it, on a store that is new for each case.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Commit, Embedded, Expect, Revision, Store, StoreError, Write, fake::Fake};

const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn write(name: &str, expect: Expect, value: Option<&str>) -> Write {
    Write { name: name.into(), expect, value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())) }
}

pub(super) async fn next(
    commits: &mut (impl futures_util::Stream<Item = Result<Arc<Commit>, StoreError>> + Unpin),
) -> Result<Arc<Commit>, StoreError> {
    timeout(DEADLINE, commits.next()).await.expect("a commit comes").expect("a watch does not end")
}

/// Runs all cases.
pub(super) async fn all<S: Store, F: Future<Output = S>>(open: impl Fn() -> F) {
    a_commit_is_all_or_nothing_and_compares_before_it_swaps(&open().await).await;
    a_watch_tells_every_commit_in_order_and_none_twice(&open().await).await;
    a_list_and_the_watch_from_it_leave_no_gap_under_writes(Arc::new(open().await)).await;
    of_many_who_compare_and_swap_at_once_each_counts(Arc::new(open().await)).await;
    an_epoch_ends_once(&open().await).await;
    a_commit_of_the_largest_size_is_taken(&open().await).await;
    every_batch_of_large_records_is_taken(&open().await).await;
}

async fn a_commit_is_all_or_nothing_and_compares_before_it_swaps(store: &impl Store) {
    let writes = vec![write("a", Expect::Absent, Some("1")), write("b", Expect::Any, Some("1"))];
    let one = store.commit(writes).await.unwrap();
    let refused =
        store.commit(vec![write("b", Expect::Any, Some("2")), write("a", Expect::Absent, Some("2"))]).await;
    assert!(matches!(refused, Err(StoreError::Changed(name)) if &*name == "a"));
    let two = store.commit(vec![write("a", Expect::At(one), None)]).await.unwrap();
    assert!(two > one);
    let refused = store.commit(vec![write("b", Expect::At(two), None)]).await;
    assert!(matches!(refused, Err(StoreError::Changed(name)) if &*name == "b"));
    let refused = store.commit(vec![write("a", Expect::At(one), Some("3"))]).await;
    assert!(
        matches!(refused, Err(StoreError::Changed(name)) if &*name == "a"),
        "a deleted record is not as before"
    );
    let list = store.list().await.unwrap();
    let held: Vec<_> = list.records.iter().map(|r| (&*r.name, &*r.value, r.revision)).collect();
    assert_eq!((held, list.revision), (vec![("b", &b"1"[..], one)], two));
    assert_eq!(store.newest().await.unwrap(), two);
    let again = store.commit(vec![write("a", Expect::Absent, Some("4"))]).await;
    assert!(again.unwrap() > two, "a deleted record is absent");
}

async fn a_watch_tells_every_commit_in_order_and_none_twice(store: &impl Store) {
    let begun = store.list().await.unwrap();
    assert!(begun.records.is_empty() && begun.revision == store.newest().await.unwrap());
    let mut early = store.watch(begun.revision);
    let first = store
        .commit(vec![write("a", Expect::Any, Some("1")), write("b", Expect::Any, Some(""))])
        .await
        .unwrap();
    let second = store.commit(vec![write("a", Expect::At(first), None)]).await.unwrap();
    // one that changes nothing is a commit too: who made it waits for it
    let third = store.commit(vec![write("nothing", Expect::Any, None)]).await.unwrap();
    let commit = next(&mut early).await.unwrap();
    let sorted: BTreeSet<_> = commit.changes.iter().cloned().collect();
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(
        (commit.revision, sorted),
        (first, BTreeSet::from([("a".into(), value("1")), ("b".into(), value(""))]))
    );
    let commit = next(&mut early).await.unwrap();
    assert_eq!((commit.revision, &*commit.changes), (second, &[("a".into(), None)][..]));
    assert_eq!(next(&mut early).await.unwrap().revision, third);
    let mut late = store.watch(first);
    assert_eq!(next(&mut late).await.unwrap().revision, second);
    assert_eq!(next(&mut late).await.unwrap().revision, third);
}

async fn a_list_and_the_watch_from_it_leave_no_gap_under_writes(store: Arc<impl Store>) {
    const WRITES: usize = 60;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..WRITES {
                store.commit(vec![write(&format!("r{n}"), Expect::Absent, Some("x"))]).await.unwrap();
            }
        }
    });
    let mut at = 0;
    while at < WRITES / 3 {
        at = store.list().await.unwrap().records.len();
        tokio::task::yield_now().await;
    }
    let list = store.list().await.unwrap();
    let mut seen: BTreeSet<_> = list.records.iter().map(|record| Arc::clone(&record.name)).collect();
    let mut watch = store.watch(list.revision);
    while seen.len() < WRITES {
        for (name, value) in &next(&mut watch).await.unwrap().changes {
            assert!(value.is_some() && seen.insert(Arc::clone(name)), "{name} came twice");
        }
    }
    writer.await.unwrap();
}

async fn of_many_who_compare_and_swap_at_once_each_counts(store: Arc<impl Store>) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    let count = |store: &Arc<_>| -> tokio::task::JoinHandle<()> {
        let store: Arc<_> = Arc::clone(store);
        tokio::spawn(async move {
            for _ in 0..EACH {
                while !add_one(&*store).await {}
            }
        })
    };
    for writer in (0..WRITERS).map(|_| count(&store)).collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(store.list().await.unwrap().records[0].value, Bytes::from((WRITERS * EACH).to_string()));
}

async fn add_one(store: &impl Store) -> bool {
    let list = store.list().await.unwrap();
    let held = list.records.first();
    let value: u64 = held.map_or(0, |record| std::str::from_utf8(&record.value).unwrap().parse().unwrap());
    let expect = held.map_or(Expect::Absent, |record: &super::Record| Expect::At(record.revision));
    match store.commit(vec![write("counter", expect, Some(&(value + 1).to_string()))]).await {
        Ok(_) => true,
        Err(StoreError::Changed(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn an_epoch_ends_once(store: &impl Store) {
    let first = store.list().await.unwrap().epoch;
    let second = store.begin_epoch(&first).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(store.begin_epoch(&first).await.unwrap(), second, "somebody else has begun it");
    assert_eq!(store.list().await.unwrap().epoch, second);
}

async fn a_commit_of_the_largest_size_is_taken(store: &impl Store) {
    let writes = (0..super::MOST_WRITES).map(|n| write(&format!("r{n}"), Expect::Absent, Some("x")));
    let done: Revision = store.commit(writes.collect()).await.unwrap();
    let list = store.list().await.unwrap();
    assert_eq!((list.records.len(), list.revision), (super::MOST_WRITES, done));
}

async fn every_batch_of_large_records_is_taken(store: &impl Store) {
    let large = "x".repeat(700 << 10);
    let writes = (0..5).map(|n| write(&format!("large{n}"), Expect::Absent, Some(&large)));
    let largest = write("largest", Expect::Absent, Some(&"x".repeat(1_200 << 10)));
    let small = (0..250).map(|n| write(&format!("small{n}"), Expect::Absent, Some("x")));
    let mut done = 0;
    let all: Vec<_> = writes.chain([largest]).chain(small).collect();
    for batch in super::batches(all) {
        done = store.commit(batch).await.unwrap();
    }
    let list = store.list().await.unwrap();
    assert_eq!((list.records.len(), list.revision), (5 + 1 + 250, done));
}

#[test]
fn batches_keep_the_order_and_hold_no_more_than_a_commit_takes() {
    let sizes = [600_usize, 300, 300, 2_000, 1, 1];
    let writes =
        sizes.iter().map(|size| write(&format!("{size}"), Expect::Any, Some(&"x".repeat(size << 10))));
    let some = (0..150).map(|n| write(&format!("n{n}"), Expect::Any, None));
    let all: Vec<_> = writes.chain(some).collect();
    let names: Vec<_> = all.iter().map(|write| write.name.clone()).collect();
    let batches = super::batches(all);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 100, 52]);
    assert_eq!(batches.concat().iter().map(|write| write.name.clone()).collect::<Vec<_>>(), names);
    assert!(super::batches(Vec::new()).is_empty());
}

#[tokio::test]
async fn the_embedded_store_does_what_every_store_must() {
    let directory = tempfile::tempdir().unwrap();
    let fresh = std::sync::atomic::AtomicUsize::new(0);
    let open = || {
        let n = fresh.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let store = Embedded::open(&directory.path().join(n)).unwrap();
        async move { store }
    };
    all(open).await;
}

#[tokio::test]
async fn the_store_in_memory_does_what_every_store_must() {
    all(|| async { Embedded::in_memory().unwrap() }).await;
}

#[tokio::test]
async fn the_store_of_tests_does_what_every_store_must() {
    all(|| async { Fake::default() }).await;
}
