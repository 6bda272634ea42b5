//! The embedded store: one redb file, or memory.
//!
//! One thread writes. Commits that arrive while it waits for the disk go into the next transaction together, so that a
//! burst costs few syncs; each is still all or nothing, and none is answered before it is on disk. A fault of the disk (it
//! may be full) refuses what it hits; the next write tries the file anew.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, backends::InMemoryBackend};
use tokio::sync::{mpsc, oneshot, watch};

mod file;
mod opening;
mod restore;

use file::{File, FileError};
pub use restore::RestoreError;

use super::{
    Commit, Expect, Listing, Record, Revision, SchemaError, Store, StoreError, Write, life::LifeFile,
};

const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The database in its directory.
const FILE: &str = "bellhop.redb";
/// How the names of all files of this store begin: the database, its copies in older forms, the mark of its last start.
const FILES: &str = "bellhop.";
/// Commits kept for watchers that are a little behind.
const KEPT: usize = 1_024;
/// Commits in one transaction at most.
const BATCH: usize = 256;

/// The embedded store.
#[derive(Debug)]
pub struct Embedded {
    file: Arc<File>,
    epoch: Mutex<String>,
    queue: Option<mpsc::UnboundedSender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
    recent: Arc<Recent>,
}

/// Whoever drops the store knows that its file is closed.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, or the mark beside the database not written.
    #[error("cannot use the data directory: {0}")]
    Io(#[from] std::io::Error),
    /// Another process has the database open.
    #[error("{0} is in use; does another control plane run on this directory?")]
    InUse(PathBuf),
    /// The database cannot be opened.
    #[error("cannot open the database: {0}")]
    Database(#[from] redb::DatabaseError),
    /// The database cannot be read or written.
    #[error("cannot use the database: {0}")]
    Redb(#[from] redb::Error),
    /// What stands in it has a form that this program cannot use.
    #[error("cannot use the database: {0}")]
    Schema(#[from] SchemaError),
}

struct Job {
    writes: Vec<Write>,
    answer: oneshot::Sender<Result<Revision, StoreError>>,
}

/// The last commits, and word of new ones.
#[derive(Debug)]
struct Recent {
    commits: Mutex<VecDeque<Arc<Commit>>>,
    newest: watch::Sender<Revision>,
}

impl Embedded {
    /// Opens (or makes) `bellhop.redb` in `directory`. A file in an older form is brought into the present one, and a
    /// copy of it laid aside. Who may read these files may read every token's hash, so that is the owner alone.
    ///
    /// # Errors
    /// When the directory or the file cannot be used, another process uses it, or a later version has written it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = opening::place(directory)?;
        let database = opening::upgraded(&path)?;
        Self::start(database, Some(path))
    }

    /// Whether a directory holds a store.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        directory.join(FILE).is_file()
    }

    /// A store that lives as long as the process.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(file::builder().create_with_backend(InMemoryBackend::new())?, None)
    }

    fn epoch(&self) -> MutexGuard<'_, String> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(database: Database, path: Option<PathBuf>) -> Result<Self, OpenError> {
        let epoch = opening::begin(&database, path.as_deref().map(LifeFile::beside).as_ref())?;
        let revision = revision(&database)?;
        let file = Arc::new(File::new(database, path));
        let recent = Arc::new(Recent { commits: Mutex::default(), newest: watch::Sender::new(revision) });
        let (queue, jobs) = mpsc::unbounded_channel();
        let writer = Writer { file: Arc::clone(&file), recent: Arc::clone(&recent), revision, failed: false };
        let writer = thread::Builder::new().name("store".into()).spawn(move || writer.run(jobs))?;
        Ok(Self { file, epoch: Mutex::new(epoch), queue: Some(queue), writer: Some(writer), recent })
    }
}

fn revision(database: &Database) -> Result<Revision, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let held = meta.get("revision")?;
    Ok(held.and_then(|value| value.value().parse().ok()).unwrap_or(0))
}

impl Store for Embedded {
    fn kind(&self) -> &'static str {
        if self.file.is_on_disk() { "embedded" } else { "memory" }
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, StoreError>> {
        let (file, epoch) = (Arc::clone(&self.file), self.epoch().clone());
        async move {
            let read = tokio::task::spawn_blocking(move || file.with(|database| read_all(database, epoch)));
            read.await.map_err(StoreError::failed)?.map_err(StoreError::failed)
        }
        .boxed()
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Arc<Commit>, StoreError>> {
        let recent = Arc::clone(&self.recent);
        let state = (after, self.recent.newest.subscribe(), recent);
        stream::unfold(Some(state), |state| async {
            let (after, mut newest, recent) = state?;
            if newest.wait_for(|newest| *newest > after).await.is_err() {
                return Some((Err(StoreError::Closed), None));
            }
            match recent.next(after) {
                Some(commit) => {
                    let at = commit.revision;
                    Some((Ok(commit), Some((at, newest, recent))))
                }
                None => Some((Err(StoreError::Behind), None)),
            }
        })
        .boxed()
    }

    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(Job { writes, answer }).is_ok());
        async move {
            if !sent {
                return Err(StoreError::Closed);
            }
            answered.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let newest = *self.recent.newest.borrow();
        async move { Ok(newest) }.boxed()
    }

    fn begin_epoch<'a>(&'a self, old: &'a str) -> BoxFuture<'a, Result<String, StoreError>> {
        let file = Arc::clone(&self.file);
        async move {
            if *self.epoch() != old {
                return Ok(self.epoch().clone());
            }
            let new = opening::new_epoch();
            let written = new.clone();
            let write = move || {
                file.with(|database| -> Result<(), redb::Error> {
                    let transaction = database.begin_write()?;
                    transaction.open_table(META)?.insert("epoch", &*written)?;
                    Ok(transaction.commit()?)
                })
            };
            tokio::task::spawn_blocking(write)
                .await
                .map_err(StoreError::failed)?
                .map_err(StoreError::failed)?;
            self.epoch().clone_from(&new);
            Ok(new)
        }
        .boxed()
    }
}

fn read_all(database: &Database, epoch: String) -> Result<Listing, redb::Error> {
    let transaction = database.begin_read()?;
    let held = transaction.open_table(META)?.get("revision")?.map(|value| value.value().to_owned());
    let mut records = Vec::new();
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (name, value) = entry?;
        let (revision, value) = value.value();
        records.push(Record { name: name.value().into(), value: Bytes::copy_from_slice(value), revision });
    }
    Ok(Listing { epoch, revision: held.and_then(|text| text.parse().ok()).unwrap_or(0), records })
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Commit>>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, commit: Commit) {
        let revision = commit.revision;
        let mut commits = self.lock();
        if commits.len() == KEPT {
            commits.pop_front();
        }
        commits.push_back(Arc::new(commit));
        drop(commits);
        self.newest.send_replace(revision);
    }

    /// The commit behind `after`; none where it is not kept any more.
    fn next(&self, after: Revision) -> Option<Arc<Commit>> {
        let commits = self.lock();
        let at = commits.partition_point(|commit| commit.revision <= after);
        commits.get(at).filter(|commit| commit.revision == after + 1).cloned()
    }
}

/// The thread that writes.
struct Writer {
    file: Arc<File>,
    recent: Arc<Recent>,
    revision: Revision,
    failed: bool,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH {
                match jobs.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(_) => break,
                }
            }
            self.serve(batch);
        }
    }

    fn serve(&mut self, batch: Vec<Job>) {
        let (jobs, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| (job.writes, job.answer)).unzip();
        let outcomes =
            self.mend().and_then(|()| self.file.with(|database| transact(database, self.revision, jobs)));
        match outcomes {
            Ok(outcomes) => {
                for (outcome, answer) in outcomes.into_iter().zip(answers) {
                    let outcome = outcome.map(|commit| {
                        self.revision = commit.revision;
                        self.recent.push(commit);
                        self.revision
                    });
                    // who asked may have gone; the commit stands
                    answer.send(outcome).ok();
                }
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot write");
                self.failed = true;
                let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
                for answer in answers {
                    answer.send(Err(StoreError::Failed(Arc::clone(&error)))).ok();
                }
            }
        }
    }

    /// After a fault: opens the file again. A commit whose answer was an error may have happened; if so, watchers must
    /// list anew.
    fn mend(&mut self) -> Result<(), FileError> {
        if !self.failed {
            return Ok(());
        }
        self.file.reopen()?;
        let found = self.file.with(revision)?;
        if found != self.revision {
            self.revision = found;
            self.recent.lock().clear();
            self.recent.newest.send_replace(found);
        }
        self.failed = false;
        tracing::info!(revision = found, "the store is open again");
        Ok(())
    }
}

/// All jobs in one transaction; one whose expectations fail changes nothing and does not disturb the others.
fn transact(
    database: &Database,
    mut revision: Revision,
    jobs: Vec<Vec<Write>>,
) -> Result<Vec<Result<Commit, StoreError>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    {
        let mut records = transaction.open_table(RECORDS)?;
        for writes in jobs {
            if let Some(name) = unmet(&records, &writes)? {
                outcomes.push(Err(StoreError::Changed(name)));
                continue;
            }
            revision += 1;
            let mut changes = Vec::with_capacity(writes.len());
            for Write { name, value, .. } in writes {
                match &value {
                    Some(value) => drop(records.insert(&*name, (revision, &**value))?),
                    None => drop(records.remove(&*name)?),
                }
                changes.push((name, value));
            }
            outcomes.push(Ok(Commit { revision, changes }));
        }
        transaction.open_table(META)?.insert("revision", &*revision.to_string())?;
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// The first record that is not as expected.
fn unmet(
    records: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    writes: &[Write],
) -> Result<Option<Arc<str>>, redb::Error> {
    for write in writes {
        let held = records.get(&*write.name)?.map(|value| value.value().0);
        let met = match write.expect {
            Expect::Any => true,
            Expect::Absent => held.is_none(),
            Expect::At(revision) => held == Some(revision),
        };
        if !met {
            return Ok(Some(Arc::clone(&write.name)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
