//! Opening the file: its form, its epoch, the mark of this start.

use std::{
    fs,
    path::{Path, PathBuf},
};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, TableError,
};

use super::{FILE, FILES, META, OpenError, RECORDS, file::create, read_all};
use crate::{
    private,
    store::{
        life::LifeFile,
        schema::{SCHEMA, migrate},
    },
};

/// Where the database lies in a directory, which is made if it is not there; no other account may read what lies there.
pub(super) fn place(directory: &Path) -> Result<PathBuf, OpenError> {
    private::directory(directory)?;
    private::tighten(directory, FILES)?;
    Ok(directory.join(FILE))
}

/// Opens (or makes) a file; says where another process has it.
pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
    create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        other => other.into(),
    })
}

/// Opens (or makes) a file and brings its records into the present form. The file as it was stays as
/// `bellhop.redb.form-N`.
pub(super) fn upgraded(path: &Path) -> Result<Database, OpenError> {
    let database = open(path)?;
    let found = form(&database)?;
    if found == SCHEMA {
        return Ok(database);
    }
    let mut records = read_all(&database, String::new())?.records;
    let changed = migrate(found, &mut records)?;
    // only a file that nobody has open can be copied
    drop(database);
    let kept = aside(path, found);
    fs::copy(path, &kept)?;
    fs::File::open(&kept)?.sync_all()?;
    let database = open(path)?;
    write(&database, changed.iter().filter_map(|at| records.get(*at)))?;
    tracing::info!(from = found, to = SCHEMA, records = changed.len(), copy = ?kept, "the store has a new form");
    Ok(database)
}

fn aside(path: &Path, form: u32) -> PathBuf {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".form-{form}"));
    kept.into()
}

/// All in one transaction: a crash leaves the old form whole.
fn write<'a>(
    database: &Database,
    records: impl Iterator<Item = &'a crate::store::Record>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for record in records {
            table.insert(&*record.name, (record.revision, &*record.value))?;
        }
        transaction.open_table(META)?.insert("schema", &*SCHEMA.to_string())?;
    }
    transaction.commit()?;
    Ok(())
}

/// The form of a file's records. Files of form 0 do not say so; an empty file has the present one.
fn form(database: &Database) -> Result<u32, redb::Error> {
    let transaction = database.begin_read()?;
    let said = match transaction.open_table(META) {
        Ok(meta) => meta.get("schema")?.map(|value| value.value().to_owned()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match said {
        // what cannot be read was written by who knows whom: not by an earlier version
        Some(said) => Ok(said.parse().unwrap_or(u32::MAX)),
        None if is_empty(&transaction, RECORDS)? => Ok(SCHEMA),
        None => Ok(0),
    }
}

fn is_empty<K: redb::Key, V: redb::Value>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<bool, redb::Error> {
    match transaction.open_table(table) {
        Ok(table) => Ok(table.is_empty()?),
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Finds the epoch, and marks this start.
pub(super) fn begin(database: &Database, life: Option<&LifeFile>) -> Result<String, OpenError> {
    let mark = uuid::Uuid::new_v4().to_string();
    let begun = (|| -> Result<String, redb::Error> {
        let transaction = database.begin_write()?;
        let epoch = {
            let mut meta = transaction.open_table(META)?;
            let held = |name| meta.get(name).map(|value| value.map(|value| value.value().to_owned()));
            let continued = match life {
                Some(life) => held("life")?.is_some_and(|last| life.read().as_deref() == Some(&*last)),
                None => true,
            };
            let epoch = held("epoch")?.filter(|_| continued).unwrap_or_else(new_epoch);
            meta.insert("epoch", &*epoch)?;
            meta.insert("life", &*mark)?;
            meta.insert("schema", &*SCHEMA.to_string())?;
            transaction.open_table(RECORDS)?;
            epoch
        };
        transaction.commit()?;
        Ok(epoch)
    })()?;
    if let Some(life) = life {
        life.write(&mark)?;
    }
    Ok(begun)
}

/// A name for one life of a store.
pub(super) fn new_epoch() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect()
}
