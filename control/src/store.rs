//! Where objects are kept: one trait, list + watch + compare-and-swap, whatever stands behind it.
//!
//! A store knows nothing of what it keeps: records are bytes under a name. Who writes reads the effect back from the
//! watch, as everybody else does, so that a store with several control replicas needs no second path.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

#[cfg(test)]
mod conformance;
mod embedded;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
#[cfg(test)]
pub(crate) mod fake;
mod life;
pub(crate) mod schema;

pub use embedded::{Embedded, OpenError, RestoreError};
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, RestoreError as EtcdRestoreError};
pub use schema::{SCHEMA, SchemaError};

/// Most writes of one commit. etcd takes 128 operations in a transaction, of which the store needs one.
pub const MOST_WRITES: usize = 100;

/// Most bytes of several writes in one commit. etcd takes requests of 1.5 MiB, in which names stand twice.
const MOST_BYTES: usize = 1 << 20;
/// What a write costs besides its name and its value.
const EACH_BYTES: usize = 256;

/// Writes in their order, cut into what one commit takes. A record that is larger than all that goes by itself.
pub(crate) fn batches(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for write in writes {
        let size = EACH_BYTES + 2 * write.name.len() + write.value.as_ref().map_or(0, Bytes::len);
        if !batch.is_empty() && (batch.len() == MOST_WRITES || bytes + size > MOST_BYTES) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(write);
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

/// Counts the commits of a store.
pub type Revision = u64;

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: Arc<str>,
    /// Its content.
    pub value: Bytes,
    /// The commit that wrote it last.
    pub revision: Revision,
}

/// All records at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Names one life of the store; a restored backup begins a new one.
    pub epoch: String,
    /// The last commit.
    pub revision: Revision,
    /// The records, by name.
    pub records: Vec<Record>,
}

/// What must be true of a record for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is no such record.
    Absent,
    /// Its last commit was this one.
    At(Revision),
}

/// One write of a commit.
#[derive(Debug, Clone)]
pub struct Write {
    /// Which record.
    pub name: Arc<str>,
    /// What must be true.
    pub expect: Expect,
    /// The new content; `None` deletes.
    pub value: Option<Bytes>,
}

/// What one commit did; `value: None` is a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its revision.
    pub revision: Revision,
    /// The records that it touched.
    pub changes: Vec<(Arc<str>, Option<Bytes>)>,
}

/// Why a store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A record is not what a write expected; nothing of the commit was done.
    #[error("{0} has changed meanwhile")]
    Changed(Arc<str>),
    /// The watch cannot go on from where it was; list again.
    #[error("the watch fell too far behind")]
    Behind,
    /// The disk, or what stands there, failed.
    #[error("the store failed: {0}")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// A store. Everything in it happens in one order.
pub trait Store: Send + Sync + 'static {
    /// `embedded`, `memory` or `etcd`.
    fn kind(&self) -> &'static str;

    /// All records.
    fn list(&self) -> BoxFuture<'_, Result<Listing, StoreError>>;

    /// Every commit after `after`, in order, none left out. Ends with [`StoreError::Behind`] where that cannot be.
    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Arc<Commit>, StoreError>>;

    /// Does all `writes` (no more than one of `batches`) together or none. When it returns, they survive the death of the process and of the machine.
    ///
    /// # Cancel safety
    /// A commit whose future is dropped may have happened or not.
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// The same, where the store is in this epoch still: a write that was checked against what it held before a backup was
    /// put back is refused. A store that nobody can put back while it is open need not look.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn commit_in<'a>(
        &'a self,
        epoch: &'a str,
        writes: Vec<Write>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        let _ = epoch;
        self.commit(writes)
    }

    /// The newest commit there is, whoever made it: one who waits for it to come by the watch has seen everything that
    /// was acknowledged before he asked.
    fn newest(&self) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Begins a new epoch in the place of `old`, unless somebody else has; gives the epoch that it is then.
    fn begin_epoch<'a>(&'a self, old: &'a str) -> BoxFuture<'a, Result<String, StoreError>>;
}
