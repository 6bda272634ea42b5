//! Whether files have changed.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// How some files stand: unequal to a later look once one of them has changed, went away, or gave way to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

/// A new file has another inode, a changed one another time or length.
type Stamp = (u64, u64, i64, i64, u64);

impl Stamps {
    /// Looks at files. Links are followed: what they lead to may change while they do not.
    #[must_use]
    pub fn of<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Self {
        let look = |file: P| {
            let data = fs::metadata(file).ok()?;
            Some((data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
        };
        Self(files.into_iter().map(look).collect())
    }
}
