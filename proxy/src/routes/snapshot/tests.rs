//! Tests of the snapshot's format and file.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn units() -> Vec<Unit> {
    [
        r#"{"service":{"namespace":"default","name":"route","ports":[{"port":80,"targetPort":8080}],"addresses":["10.0.0.1"]}}"#,
        r#"{"key":{"key":"pr-15","digest":"","routes":[{"destination":"route:80","endpoints":["10.0.0.7:8080"]}]}}"#,
        r#"{"key":{"key":"old","digest":"","gone":true}}"#,
    ]
    .map(|text| serde_json::from_str(text).unwrap())
    .into()
}

fn position() -> Position {
    Position { token: "t-7".into(), epoch: "e".into(), revision: 7 }
}

fn rendered() -> Vec<u8> {
    let mut kept = Kept::default();
    units().iter().for_each(|unit| kept.put(unit));
    render(&kept, Some(position())).unwrap()
}

fn builder() -> TableBuilder {
    TableBuilder::new("default".parse().unwrap())
}

#[test]
fn a_snapshot_reads_back_as_the_table_that_it_was() {
    let read = parse(&rendered(), builder()).unwrap();
    let mut table = builder();
    units().iter().for_each(|unit| table.put(unit).unwrap());
    let table = table.finish();
    assert_eq!(read.table.digest(), table.digest());
    assert_eq!((read.table.len(), read.kept.len()), (2, 3));
    assert_eq!(read.position, Some(position()));
    assert!(read.table.loaded());
    assert!(rendered().is_ascii(), "a person can read it");
}

#[test]
fn a_snapshot_that_was_cut_or_changed_or_comes_from_elsewhere_is_not_believed() {
    let good = rendered();
    for end in 0..good.len() - 1 {
        assert!(parse(&good[..end], builder()).is_err(), "cut at {end}");
    }
    let newer = String::from_utf8(good.clone()).unwrap().replacen("snapshot\":1", "snapshot\":2", 1);
    assert!(matches!(parse(newer.as_bytes(), builder()), Err(SnapshotError::Version(2))));
    for bad in ["", "\n", "null\n", "{}\n"] {
        assert!(matches!(parse(bad.as_bytes(), builder()), Err(SnapshotError::BadHead(_))), "{bad:?}");
    }
    let mut fewer = Kept::default();
    units().iter().take(2).for_each(|unit| fewer.put(unit));
    let fewer = render(&fewer, None).unwrap();
    let lies = String::from_utf8(fewer).unwrap().replacen("\"units\":2", "\"units\":3", 1);
    assert!(matches!(parse(lies.as_bytes(), builder()), Err(SnapshotError::Count)));
}

#[test]
fn a_snapshot_that_checks_out_but_holds_what_cannot_be_is_not_believed() {
    for (unit, kind) in [("{\"gateway\":{}}", "read"), ("nonsense", "read")] {
        let rest = format!("{unit}\n");
        let head = Head { bellhop_snapshot: 1, position: None, units: 1, xxh3: checksum(rest.as_bytes()) };
        let text = format!("{}\n{rest}", serde_json::to_string(&head).unwrap());
        let error = parse(text.as_bytes(), builder()).err().unwrap().to_string();
        assert!(error.starts_with("unit 1 cannot be") && error.contains(kind), "{error}");
    }
}

#[test]
fn a_file_is_replaced_whole_with_no_rights_for_others_and_nothing_left_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("routes");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    // A trap where the new content is written aside.
    let aside = directory.path().join(format!("routes.{}.tmp", std::process::id()));
    std::os::unix::fs::symlink("/nonexistent/target", &aside).unwrap();
    replace(&file, b"new").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(replace(&directory.path().join("no/such/directory"), b"x").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic(at in 0_usize..2000, with in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..50)) {
        let _ = parse(&tail, builder());
        let mut bytes = rendered();
        let at = at % bytes.len();
        let changed = bytes[at] != with;
        bytes[at] = with;
        let outcome = parse(&bytes, builder());
        // The head's own bytes are not in the checksum: there a change may name another position.
        let in_rest = at > memchr::memchr(b'\n', &rendered()).unwrap();
        prop_assert!(!(changed && in_rest && outcome.is_ok()));
    }
}
