//! The last table on disk, for a restart without control.
//!
//! The file is text: a head with version, position, count and checksum, then one unit a line, as the watch sends them.
//! It is written aside and renamed, so that a reader finds the old one or the new one, whole. What does not check out
//! is ignored, told and counted, never half obeyed. A directory that cannot be written is tolerated: routing goes on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bellhop_api::watch::{Position, Unit};
use bellhop_route::{RouteTable, TableBuilder};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    House,
    held::{Held, Kept},
    tables::Tables,
};
use crate::telemetry::Housekeeping;

/// The version of the format. One that is not known is not read.
const VERSION: u32 = 1;
/// At least so long between two writes: one write may carry many changes.
const PAUSE: Duration = Duration::from_secs(1);
/// After a failed write the next attempt comes without waiting for a change.
const AGAIN: Duration = Duration::from_secs(10);
/// Larger files are none of ours: a million keys take a quarter of it.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    bellhop_snapshot: u32,
    position: Option<Position>,
    units: usize,
    /// Of all bytes after the first line.
    xxh3: String,
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// The first line is none of ours.
    #[error("its first line is not a snapshot's: {0}")]
    BadHead(serde_json::Error),
    /// It was written by another version.
    #[error("it has version {0}; this program reads version 1")]
    Version(u32),
    /// The rest is not what was written.
    #[error("its checksum is wrong: it was cut off or changed")]
    Checksum,
    /// A line is no unit.
    #[error("unit {at} cannot be read: {source}")]
    BadUnit {
        /// Which, from 1.
        at: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A unit does not compile.
    #[error("unit {at} cannot be: {source}")]
    BadRoute {
        /// Which, from 1.
        at: usize,
        /// Why.
        source: bellhop_route::CompileError,
    },
    /// There are more units, or fewer, than the head says.
    #[error("it holds another number of units than it says")]
    Count,
}

/// A snapshot that checked out.
pub(super) struct Snapshot {
    table: RouteTable,
    kept: Kept,
    position: Option<Position>,
}

#[cfg(any(test, fuzzing))]
impl Snapshot {
    /// Its bytes, written anew.
    pub(super) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        render(&self.kept, self.position.clone())
    }

    /// The digest of its table.
    pub(super) fn digest(&self) -> bellhop_route::Digest {
        self.table.digest()
    }
}

/// Puts the snapshot in `file` in force, if there is one that checks out.
pub(super) fn load(file: &Path, tables: &Tables, counters: &Housekeeping, held: &Held) {
    let outcome = match read(file).and_then(|bytes| parse(&bytes, TableBuilder::new(tables.namespace()))) {
        Ok(snapshot) => {
            tracing::info!(?file, keys = snapshot.table.len(), "routes of an earlier run are in force");
            *held.kept.borrow_mut() = Some(snapshot.kept);
            tables.replace(snapshot.table, snapshot.position);
            "loaded"
        }
        Err(SnapshotError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => "absent",
        Err(error) => {
            tracing::error!(?file, %error, "the snapshot of routes is ignored");
            if matches!(error, SnapshotError::Unreadable(_)) { "unreadable" } else { "corrupt" }
        }
    };
    counters.snapshot_reads.with_label_values(&[outcome]).inc();
}

fn read(file: &Path) -> Result<Vec<u8>, SnapshotError> {
    if fs::metadata(file)?.len() > MAX_BYTES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    Ok(fs::read(file)?)
}

/// Reads a snapshot's bytes; `table` takes the units.
pub(super) fn parse(bytes: &[u8], mut table: TableBuilder) -> Result<Snapshot, SnapshotError> {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at_checked(end).unwrap_or_default();
    let rest = rest.get(1..).unwrap_or_default();
    let head: Head = serde_json::from_slice(head).map_err(SnapshotError::BadHead)?;
    if head.bellhop_snapshot != VERSION {
        return Err(SnapshotError::Version(head.bellhop_snapshot));
    }
    if head.xxh3 != checksum(rest) {
        return Err(SnapshotError::Checksum);
    }
    let mut kept = Kept::default();
    let mut units = 0;
    for line in rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        units += 1;
        let unit: Unit =
            serde_json::from_slice(line).map_err(|source| SnapshotError::BadUnit { at: units, source })?;
        table.put(&unit).map_err(|source| SnapshotError::BadRoute { at: units, source })?;
        kept.put(&unit);
    }
    if units != head.units {
        return Err(SnapshotError::Count);
    }
    Ok(Snapshot { table: table.finish(), kept, position: head.position })
}

/// A snapshot's bytes.
fn render(kept: &Kept, position: Option<Position>) -> Result<Vec<u8>, serde_json::Error> {
    let mut rest = Vec::new();
    for text in kept.texts() {
        rest.extend_from_slice(text);
        rest.push(b'\n');
    }
    let xxh3 = checksum(&rest);
    let mut bytes =
        serde_json::to_vec(&Head { bellhop_snapshot: VERSION, position, units: kept.len(), xxh3 })?;
    bytes.push(b'\n');
    bytes.append(&mut rest);
    Ok(bytes)
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Writes the snapshot after changes, a moment later and one at a time, and once more at the end. Returns then.
pub(super) async fn keep(file: &Path, house: &House<'_>) {
    let mut well = true;
    loop {
        if well {
            house.held.snapshot_due().await;
        } else {
            let _ = timeout(AGAIN, house.held.snapshot_due()).await;
        }
        if !house.held.has_ended() {
            // Changes seldom come alone. What comes meanwhile is in the same write; an end cuts the pause short.
            let _ = timeout(PAUSE, house.held.ending()).await;
        }
        let ended = house.held.has_ended();
        let Some(written) = write_once(file, house).await else {
            if ended {
                return;
            }
            continue;
        };
        count(house, file, well, &written);
        well = written.is_ok();
        if ended {
            return;
        }
    }
}

/// None where there is no table to keep.
async fn write_once(file: &Path, house: &House<'_>) -> Option<io::Result<()>> {
    if !house.tables.loaded() {
        return None;
    }
    let position = house.tables.position().as_deref().cloned();
    let bytes = house.held.kept.borrow().as_ref().map(|kept| render(kept, position))?;
    let begun = Instant::now();
    let file = file.to_owned();
    let written = match bytes {
        Ok(bytes) => tokio::task::spawn_blocking(move || replace(&file, &bytes)).await,
        Err(error) => Ok(Err(error.into())),
    };
    let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
    // A slow disk, or a large table, is written less often.
    let _ = timeout(begun.elapsed() * 10, house.held.ending()).await;
    Some(written)
}

fn count(house: &House<'_>, file: &Path, well: bool, written: &io::Result<()>) {
    let outcome = match written {
        Ok(()) => "written",
        Err(error) => {
            if well {
                tracing::error!(?file, %error, "routes cannot be kept for a restart; routing goes on");
            }
            "failed"
        }
    };
    house.counters.snapshot_writes.with_label_values(&[outcome]).inc();
}

/// Puts `bytes` in the place of `file`: the old content or the new one, whatever happens meanwhile.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(format!(".{}.tmp", std::process::id()));
    let aside = PathBuf::from(aside);
    let result = write_aside(&aside, bytes).and_then(|()| fs::rename(&aside, file));
    if result.is_err() {
        let _ = fs::remove_file(&aside);
        return result;
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // The rename is only on disk when the directory is; some filesystems cannot be asked that.
    let _ = File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
    Ok(())
}

fn write_aside(aside: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left over by a run that was killed, or put there by somebody: never followed, never written through.
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Routes name internal addresses: nobody else's business.
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    to.write_all(bytes)?;
    to.sync_all()
}

#[cfg(test)]
mod tests;
