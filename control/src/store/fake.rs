//! A store for tests with paused time: it answers at once, on the caller's own thread, and can refuse to write.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use tokio::sync::watch;

use super::{Commit, Expect, Listing, Record, Revision, Store, StoreError, Write};

#[derive(Debug, Default)]
pub(crate) struct Fake {
    records: Mutex<BTreeMap<Arc<str>, (Bytes, Revision)>>,
    commits: Arc<Mutex<Vec<Arc<Commit>>>>,
    newest: watch::Sender<Revision>,
    epoch: Mutex<String>,
    /// As if the disk were full.
    pub(crate) full: AtomicBool,
    /// As if the connection broke once a write was done, before that was told.
    pub(crate) mute: AtomicBool,
}

impl Fake {
    fn write(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::failed(std::io::Error::from(std::io::ErrorKind::StorageFull)));
        }
        let mut records = self.records.lock().unwrap();
        for write in &writes {
            let held = records.get(&write.name).map(|(_, revision)| *revision);
            let met = match write.expect {
                Expect::Any => true,
                Expect::Absent => held.is_none(),
                Expect::At(revision) => held == Some(revision),
            };
            if !met {
                return Err(StoreError::Changed(Arc::clone(&write.name)));
            }
        }
        let mut commits = self.commits.lock().unwrap();
        let revision = commits.len() as Revision + 1;
        let mut changes = Vec::new();
        for Write { name, value, .. } in writes {
            match &value {
                Some(value) => drop(records.insert(Arc::clone(&name), (value.clone(), revision))),
                None => drop(records.remove(&name)),
            }
            changes.push((name, value));
        }
        commits.push(Arc::new(Commit { revision, changes }));
        self.newest.send_replace(revision);
        Ok(revision)
    }
}

impl Store for Fake {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, StoreError>> {
        let records = self.records.lock().unwrap();
        let record = |(name, (value, revision)): (&Arc<str>, &(Bytes, Revision))| Record {
            name: Arc::clone(name),
            value: value.clone(),
            revision: *revision,
        };
        let records = records.iter().map(record).collect();
        let revision = *self.newest.borrow();
        let epoch = self.epoch.lock().unwrap().clone();
        async move { Ok(Listing { epoch, revision, records }) }.boxed()
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Arc<Commit>, StoreError>> {
        let state = (after, self.newest.subscribe(), Arc::clone(&self.commits));
        stream::unfold(state, |(after, mut newest, commits)| async move {
            newest.wait_for(|newest| *newest > after).await.ok()?;
            let commit = commits.lock().unwrap().get(usize::try_from(after).unwrap()).cloned()?;
            Some((Ok(commit), (after + 1, newest, commits)))
        })
        .boxed()
    }

    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let mut outcome = self.write(writes);
        if self.mute.load(Ordering::Relaxed) {
            outcome =
                outcome.and(Err(StoreError::failed(std::io::Error::from(std::io::ErrorKind::TimedOut))));
        }
        async move { outcome }.boxed()
    }

    fn commit_in<'a>(
        &'a self,
        epoch: &'a str,
        writes: Vec<Write>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        if *self.epoch.lock().unwrap() != epoch {
            let another = StoreError::failed(std::io::Error::other("the store was put back"));
            return async { Err(another) }.boxed();
        }
        self.commit(writes)
    }

    fn newest(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let newest = *self.newest.borrow();
        async move { Ok(newest) }.boxed()
    }

    fn begin_epoch<'a>(&'a self, old: &'a str) -> BoxFuture<'a, Result<String, StoreError>> {
        let mut epoch = self.epoch.lock().unwrap();
        if *epoch == old {
            epoch.push('+');
        }
        let now = epoch.clone();
        async move { Ok(now) }.boxed()
    }
}
