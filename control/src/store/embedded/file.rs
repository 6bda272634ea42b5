//! The database, which after a fault of the disk must be closed and opened again before it does anything more.

use std::{
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use redb::{Builder, Database, DatabaseError, backends::FileBackend};

use crate::private;

/// Pages that the database keeps in memory. It is read as a whole, at the start, and then written alone: unless told
/// otherwise it would come to keep all of it, up to 1 GiB.
const CACHE_BYTES: usize = 8 << 20;

/// How a database is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A database, and where it lies; in memory where that is nowhere.
#[derive(Debug)]
pub(super) struct File {
    path: Option<PathBuf>,
    open: RwLock<Option<Database>>,
}

/// Why nothing can be done with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// What the database says.
    #[error(transparent)]
    Redb(#[from] redb::Error),
    /// It could not be opened again yet.
    #[error("the database is closed since the disk failed")]
    Closed,
}

impl File {
    pub(super) fn new(database: Database, path: Option<PathBuf>) -> Self {
        Self { path, open: RwLock::new(Some(database)) }
    }

    /// Whether it outlives the process.
    pub(super) fn is_on_disk(&self) -> bool {
        self.path.is_some()
    }

    /// Does something with the database.
    pub(super) fn with<T>(
        &self,
        what: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, FileError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(what(open.as_ref().ok_or(FileError::Closed)?)?)
    }

    /// Closes it and opens it again. What is then in it is what the disk really took.
    pub(super) fn reopen(&self) -> Result<(), FileError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // the file is locked until the old one is closed
        *open = None;
        *open = Some(create(path).map_err(redb::Error::from)?);
        Ok(())
    }
}

/// Opens a database, or makes it, for this account alone.
pub(super) fn create(path: &Path) -> Result<Database, DatabaseError> {
    builder().create_with_backend(FileBackend::new(private::file(path)?)?)
}
