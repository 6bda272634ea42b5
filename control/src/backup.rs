//! A backup: all records of a store as they stood at one moment, as text.
//!
//! The first line says what it is, then comes one record a line, by name, and the last line holds count and checksum of
//! all before it: what was cut off or changed is found out before anything of it is written anywhere. It holds what the
//! store holds, whichever store that is, so that it can be put back into another kind. Taking and putting back are left
//! to `command`.

pub(crate) mod command;
mod fetch;

use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _, Write},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::store::{Listing, Record, Revision, SCHEMA};

/// The version of the form. One that is not known is not read.
const VERSION: u32 = 1;
/// A record is an object of at most 1 MiB and what control remembers of it.
const MAX_LINE: u64 = 16 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    bellhop_backup: u32,
    /// Of the records.
    schema: u32,
    epoch: String,
    revision: Revision,
    taken_at: Timestamp,
}

/// A record's line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    revision: Revision,
    value: Value,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    records: usize,
    /// Of all bytes before this line.
    xxh3: String,
}

/// A backup that checked out.
#[derive(Debug)]
pub struct Backup {
    /// The form of its records.
    pub schema: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// What stood in the store.
    pub listing: Listing,
}

/// Why something is no backup, or cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first line is none of a backup's.
    #[error("the first line is not a backup's: {0}")]
    BadHead(serde_json::Error),
    /// Another version of the form.
    #[error("it has version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// A record's line cannot be read, or a record's content is no JSON.
    #[error("record {at} cannot be read: {source}")]
    BadRecord {
        /// Which, from 1.
        at: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no last line.
    #[error("it was cut off behind {0} records")]
    Cut(usize),
    /// The last line tells other content.
    #[error("its checksum is wrong: it was changed")]
    Checksum,
    /// Something stands behind the last line.
    #[error("something stands behind its last line")]
    Behind,
}

/// Writes a store's records, piece by piece: `piece` is asked until it gives nothing.
pub(crate) struct Pages {
    head: Option<Head>,
    records: std::vec::IntoIter<Record>,
    written: usize,
    digest: Box<Xxh3>,
    done: bool,
}

impl Pages {
    /// About as many bytes as one piece has.
    const PIECE: usize = 256 << 10;

    pub(crate) fn new(listing: Listing, taken_at: Timestamp) -> Self {
        let Listing { epoch, revision, records } = listing;
        let head = Head { bellhop_backup: VERSION, schema: SCHEMA, epoch, revision, taken_at };
        Self {
            head: Some(head),
            records: records.into_iter(),
            written: 0,
            digest: Box::default(),
            done: false,
        }
    }

    /// The next bytes, whole lines.
    ///
    /// # Errors
    /// When a record's content is no JSON.
    pub(crate) fn piece(&mut self) -> Result<Option<Bytes>, BackupError> {
        if self.done {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(Self::PIECE + 4096);
        if let Some(head) = self.head.take() {
            put_line(&mut piece, &head)?;
        }
        while piece.len() < Self::PIECE {
            let Some(record) = self.records.next() else {
                self.digest.update(&piece);
                let tail = Tail { records: self.written, xxh3: format!("{:032x}", self.digest.digest128()) };
                put_line(&mut piece, &tail)?;
                self.done = true;
                return Ok(Some(piece.into()));
            };
            self.written += 1;
            let bad = |source| BackupError::BadRecord { at: self.written, source };
            let value = serde_json::from_slice(&record.value).map_err(bad)?;
            put_line(
                &mut piece,
                &Line { name: Cow::Borrowed(&record.name), revision: record.revision, value },
            )?;
        }
        self.digest.update(&piece);
        Ok(Some(piece.into()))
    }
}

fn put_line(into: &mut Vec<u8>, line: &impl Serialize) -> Result<(), BackupError> {
    serde_json::to_writer(&mut *into, line).map_err(io::Error::from)?;
    into.write_all(b"\n")?;
    Ok(())
}

/// Reads a whole backup; nothing is believed before its last line was.
///
/// # Errors
/// When it is none, or not whole.
pub fn read(from: impl BufRead) -> Result<Backup, BackupError> {
    let mut lines = Lines { from, digest: Xxh3::new(), line: Vec::new() };
    let head: Head = match lines.next()? {
        Some(line) => serde_json::from_slice(line).map_err(BackupError::BadHead)?,
        None => return Err(BackupError::Cut(0)),
    };
    if head.bellhop_backup != VERSION {
        return Err(BackupError::Version(head.bellhop_backup));
    }
    let mut records = Vec::new();
    loop {
        let so_far = lines.digest.digest128();
        let Some(line) = lines.next()? else { return Err(BackupError::Cut(records.len())) };
        if let Ok(tail) = serde_json::from_slice::<Tail>(line) {
            if tail.records != records.len() || tail.xxh3 != format!("{so_far:032x}") {
                return Err(BackupError::Checksum);
            }
            if lines.next()?.is_some() {
                return Err(BackupError::Behind);
            }
            break;
        }
        let bad = |source| BackupError::BadRecord { at: records.len() + 1, source };
        let line: Line<'_> = serde_json::from_slice(line).map_err(bad)?;
        let value = serde_json::to_vec(&line.value).map_err(bad)?.into();
        records.push(Record { name: Arc::from(&*line.name), value, revision: line.revision });
    }
    let listing = Listing { epoch: head.epoch, revision: head.revision, records };
    Ok(Backup { schema: head.schema, taken_at: head.taken_at, listing })
}

struct Lines<R> {
    from: R,
    digest: Xxh3,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line that is whole.
    fn next(&mut self) -> Result<Option<&[u8]>, BackupError> {
        self.line.clear();
        self.from.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        self.digest.update(&self.line);
        Ok(self.line.strip_suffix(b"\n"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listing(records: &[(&str, &'static str)]) -> Listing {
        let record = |(at, (name, value)): (usize, &(&str, &'static str))| Record {
            name: Arc::from(*name),
            value: Bytes::from_static(value.as_bytes()),
            revision: at as Revision + 3,
        };
        let records = records.iter().enumerate().map(record).collect();
        Listing { epoch: "e".into(), revision: 9, records }
    }

    fn text(listing: Listing) -> Vec<u8> {
        let mut pages = Pages::new(listing, Timestamp::UNIX_EPOCH);
        let mut text = Vec::new();
        while let Some(piece) = pages.piece().unwrap() {
            text.extend_from_slice(&piece);
        }
        text
    }

    const SOME: [(&str, &str); 3] = [
        ("name/a.example", r#"{"addresses":[]}"#),
        ("object/x", r#"{"n":1.5,"t":"ä\n"}"#),
        ("token/\"y\"", "null"),
    ];

    #[test]
    fn what_was_written_is_read_back() {
        let backup = read(&*text(listing(&SOME))).unwrap();
        assert_eq!(backup.listing, listing(&SOME));
        assert_eq!((backup.schema, backup.taken_at), (SCHEMA, Timestamp::UNIX_EPOCH));
        assert_eq!(read(&*text(listing(&[]))).unwrap().listing.records, []);
    }

    #[test]
    fn a_large_one_comes_in_many_pieces_and_is_whole() {
        let value: &'static str = Box::leak(format!("\"{}\"", "x".repeat(5000)).into_boxed_str());
        let names: Vec<_> = (0..500).map(|n| format!("object/{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (&**name, value)).collect();
        let mut pages = Pages::new(listing(&many), Timestamp::UNIX_EPOCH);
        let pieces: Vec<_> = std::iter::from_fn(|| pages.piece().unwrap()).collect();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < Pages::PIECE + 10_000));
        assert_eq!(read(&*pieces.concat()).unwrap().listing, listing(&many));
    }

    proptest! {
        #[test]
        fn one_that_was_cut_or_changed_anywhere_is_refused(at in 0usize..400, flip in 1u8..255) {
            let whole = text(listing(&SOME));
            let at = at % whole.len();
            prop_assert!(read(&whole[..at]).is_err());
            let mut changed = whole.clone();
            changed[at] ^= flip;
            prop_assert!(read(&*changed).is_err(), "byte {} changed", at);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(read(&*bytes).is_err());
        }
    }

    #[test]
    fn a_later_form_and_lines_behind_the_end_are_refused() {
        let whole = String::from_utf8(text(listing(&SOME))).unwrap();
        let later = whole.replace("\"bellhop_backup\":1", "\"bellhop_backup\":2");
        assert!(matches!(read(later.as_bytes()), Err(BackupError::Version(2))));
        let more = whole.clone() + "{}\n";
        assert!(matches!(read(more.as_bytes()), Err(BackupError::Behind)));
    }
}
