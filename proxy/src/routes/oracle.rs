//! What must hold whatever stands on the wire or on the disk: for the fuzz targets, and for their corpora as ordinary
//! tests.

#![expect(clippy::panic, clippy::expect_used, reason = "a fuzz target: a broken rule is to be seen")]

use bellhop_api::watch::Position;
use bellhop_route::TableBuilder;

use super::{House, Tables, event, follow::Follower, held::Held, lines::Lines, snapshot};
use crate::telemetry::Telemetry;

/// A stream of the watch, in one piece and byte by byte: both leave the same table, or end for the same cause, and a
/// stream that ended for a cause has taken nothing away from a table in force.
pub(crate) fn watch(bytes: &[u8]) {
    let whole = follow(&[bytes]);
    let pieces: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(whole, follow(&pieces), "a stream's meaning depends on how it is cut");
}

/// What a stream leaves behind: the end's cause, the table's digest, its keys, and its position.
type Left = (Option<&'static str>, String, usize, Option<Position>);

fn follow(pieces: &[&[u8]]) -> Left {
    let tables = Tables::new(bellhop_api::DnsLabel::default_namespace());
    let telemetry = Telemetry::quiet();
    let held = Held::new(true);
    let started = tokio::time::Instant::now();
    let house = House { tables: &tables, counters: &telemetry.housekeeping, held: &held, started };
    let mut follower = Follower::new(&house, true);
    let mut lines = Lines::default();
    let mut step = |piece: &[u8]| {
        lines.push(piece);
        while let Some(line) = lines.next()? {
            let was_loaded = tables.loaded();
            let line = event::read(&line).map_err(|_| super::WatchEnd::Garbage)?;
            line.event.map_or(Ok(()), |event| follower.apply(event))?;
            assert!(tables.loaded() || !was_loaded, "a table in force is taken away");
        }
        Ok(())
    };
    let cause = pieces.iter().find_map(|piece| step(piece).err()).map(super::WatchEnd::as_str);
    let kept = held.kept.borrow().as_ref().map_or(0, super::held::Kept::keys);
    assert!(!tables.loaded() || kept == tables.current().len(), "the snapshot would hold other keys");
    let table = tables.current();
    (cause, table.digest().to_string(), table.len(), tables.position().as_deref().cloned())
}

/// A snapshot: what is believed is written again as a snapshot of the same table.
pub(crate) fn snapshot(bytes: &[u8]) {
    let builder = || TableBuilder::new(bellhop_api::DnsLabel::default_namespace());
    let Ok(first) = snapshot::parse(bytes, builder()) else { return };
    let again = first.render().expect("what was read can be written");
    match snapshot::parse(&again, builder()) {
        Ok(second) => assert_eq!(first.digest(), second.digest(), "a snapshot changes by being kept"),
        Err(error) => panic!("what was written is not believed: {error}"),
    }
}
