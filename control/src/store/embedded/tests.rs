use std::os::unix::fs::PermissionsExt;

use super::*;

fn write(name: &str, expect: Expect, value: Option<&'static str>) -> Write {
    Write { name: name.into(), expect, value: value.map(|text| Bytes::from_static(text.as_bytes())) }
}

fn names(listing: &Listing) -> Vec<(&str, &[u8], Revision)> {
    listing.records.iter().map(|record| (&*record.name, &*record.value, record.revision)).collect()
}

#[tokio::test]
async fn a_commit_is_all_or_nothing_and_compares_before_it_swaps() {
    let store = Embedded::in_memory().unwrap();
    let one = store.commit(vec![write("a", Expect::Absent, Some("1")), write("b", Expect::Any, Some("1"))]);
    assert_eq!(one.await.unwrap(), 1);
    let refused =
        store.commit(vec![write("b", Expect::Any, Some("2")), write("a", Expect::Absent, Some("2"))]);
    assert!(matches!(refused.await, Err(StoreError::Changed(name)) if &*name == "a"));
    assert_eq!(store.commit(vec![write("a", Expect::At(1), None)]).await.unwrap(), 2);
    assert!(store.commit(vec![write("b", Expect::At(2), None)]).await.is_err());
    assert_eq!(names(&store.list().await.unwrap()), [("b", &b"1"[..], 1)]);
}

#[tokio::test]
async fn a_watch_tells_every_commit_in_order_and_says_when_it_cannot() {
    let store = Embedded::in_memory().unwrap();
    for _ in 0..3 {
        store.commit(vec![write("a", Expect::Any, Some("x"))]).await.unwrap();
    }
    let seen: Vec<_> = store.watch(1).take(2).map(|commit| commit.unwrap().revision).collect().await;
    assert_eq!(seen, [2, 3]);
    for _ in 0..KEPT {
        store.commit(vec![write("a", Expect::Any, Some("x"))]).await.unwrap();
    }
    assert!(matches!(store.watch(1).next().await, Some(Err(StoreError::Behind))));
}

#[tokio::test]
async fn a_restart_keeps_records_revision_and_epoch_and_a_restored_backup_begins_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (file, backup) = (directory.path().join("bellhop.redb"), directory.path().join("backup"));
    let open = || Embedded::open(directory.path()).unwrap();
    let store = open();
    store.commit(vec![write("a", Expect::Any, Some("1"))]).await.unwrap();
    let first = store.list().await.unwrap();
    drop(store);
    drop(open());
    std::fs::copy(&file, &backup).unwrap();

    let store = open();
    assert_eq!(store.list().await.unwrap(), first);
    store.commit(vec![write("a", Expect::Any, Some("2"))]).await.unwrap();
    drop(store);
    drop(open());
    std::fs::copy(&backup, &file).unwrap();
    let restored = open().list().await.unwrap();
    assert_eq!(names(&restored), names(&first));
    assert_ne!(restored.epoch, first.epoch);
}

#[tokio::test]
async fn no_other_account_may_read_what_lies_in_the_data_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    let names = ["bellhop.redb", "bellhop.life", "bellhop.redb.form-0"];
    drop(Embedded::open(&directory).unwrap());
    std::fs::copy(directory.join("bellhop.redb"), directory.join("bellhop.redb.form-0")).unwrap();
    assert_eq!(mode(""), 0o700);
    assert_eq!(names.map(mode), [0o600; 3]);

    // as an earlier version left them
    std::fs::write(directory.join("notes"), "of somebody else").unwrap();
    for name in names.iter().chain(&["", "notes"]) {
        std::fs::set_permissions(directory.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    drop(Embedded::open(&directory).unwrap());
    assert_eq!(names.map(mode), [0o700, 0o600, 0o700], "the mark is made anew");
    assert_eq!([mode(""), mode("notes")], [0o755; 2], "what is not this store's stays");
}
