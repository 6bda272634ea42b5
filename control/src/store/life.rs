//! Whether a file is the continuation of what this directory held last, or a backup that was put back.
//!
//! Each start writes a fresh mark into the database and into a file beside it. A backup brings an older mark with it (or
//! none stands beside it), and then a new epoch begins: revisions may have gone back, and proxies must not compare them.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::private;

/// The mark beside the database.
#[derive(Debug)]
pub(super) struct LifeFile(PathBuf);

impl LifeFile {
    pub(super) fn beside(database: &Path) -> Self {
        Self(database.with_extension("life"))
    }

    pub(super) fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0).ok().map(|text| text.trim().to_owned())
    }

    pub(super) fn write(&self, mark: &str) -> io::Result<()> {
        let new = self.0.with_extension("life.new");
        let mut file = private::file(&new)?;
        // one that a crash left may be longer
        file.set_len(0)?;
        file.write_all(mark.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)
    }
}
