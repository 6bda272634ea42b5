//! Putting a backup into a file, whole or not at all, while nobody serves from it.

use std::{collections::BTreeSet, path::Path};

use redb::{Database, ReadableTable as _};

use super::{Embedded, META, OpenError, RECORDS, Revision, opening, read_all, revision};
use crate::{
    backup::Backup,
    store::{SCHEMA, SchemaError, schema::migrate},
};

/// Why a backup was not put back. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be written.
    #[error("cannot write the database: {0}")]
    Write(#[from] redb::Error),
    /// The backup's records have a form that this program cannot use.
    #[error("cannot use the backup: {0}")]
    Schema(#[from] SchemaError),
    /// Something stands there.
    #[error("the store holds {0} records, which would be lost: choose an empty one, or say --replace")]
    NotEmpty(usize),
}

impl Embedded {
    /// Puts `backup` into `bellhop.redb` in `directory`, in one transaction. The store's next start begins a new epoch, so
    /// that proxies take the routes anew; revisions never go back within the file.
    ///
    /// # Errors
    /// When the store is in use, cannot be written, or holds something and `replace` was not said.
    pub fn restore(directory: &Path, mut backup: Backup, replace: bool) -> Result<(), RestoreError> {
        migrate(backup.schema, &mut backup.listing.records)?;
        let database = opening::open(&opening::place(directory)?)?;
        let held = match read_all(&database, String::new()) {
            Ok(listing) => listing.records.len(),
            Err(redb::Error::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        if held > 0 && !replace {
            return Err(RestoreError::NotEmpty(held));
        }
        let before = if held > 0 { revision(&database)? } else { 0 };
        Ok(write(&database, &backup, before.max(backup.listing.revision) + 1)?)
    }
}

fn write(database: &Database, backup: &Backup, revision: Revision) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        let kept: BTreeSet<&str> = backup.listing.records.iter().map(|record| &*record.name).collect();
        let mut gone = Vec::new();
        for entry in records.iter()? {
            let (name, _) = entry?;
            if !kept.contains(name.value()) {
                gone.push(name.value().to_owned());
            }
        }
        for name in gone {
            records.remove(&*name)?;
        }
        for record in &backup.listing.records {
            records.insert(&*record.name, (revision, &*record.value))?;
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert("revision", &*revision.to_string())?;
        meta.insert("schema", &*SCHEMA.to_string())?;
        // without its mark the next start is no continuation
        meta.remove("life")?;
        meta.insert("epoch", &*opening::new_epoch())?;
    }
    transaction.commit()?;
    Ok(())
}
