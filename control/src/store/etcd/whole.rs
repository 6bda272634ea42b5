//! All records at once: a backup that is put back, and records that are brought into another form.
//!
//! More than a transaction holds is written beside what is there, as a generation of its own, and one transaction makes it
//! the one that counts: whoever reads sees all of it or nothing, and a commit that was checked against what was there before
//! is refused.

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp, TxnOpResponse};

use super::{
    COMMITS_WITHIN, Etcd, Expect, Listing, READS_WITHIN, Record, Revision, SCHEMA, Write, error::Fault,
    new_epoch, range_end,
};
use crate::{
    backup::Backup,
    config::EtcdConfig,
    store::{SchemaError, StoreError, batches, schema::migrate},
};

/// Why a backup was not put back. What the store serves has not changed then, but where the store did not answer in time:
/// the backup may have taken its place nevertheless, which a second try shows, as it finds the store to hold something.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store cannot be reached, or does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup's records have a form that this program cannot use.
    #[error("cannot use the backup: {0}")]
    Schema(#[from] SchemaError),
    /// Something stands there.
    #[error("the store holds {0} records, which would be lost: choose an empty prefix, or say --replace")]
    NotEmpty(usize),
    /// Somebody else wrote meanwhile.
    #[error("somebody else wrote to the store meanwhile; nothing was restored")]
    Meanwhile,
}

/// The form that a store says; what cannot be read was written by who knows whom: not by an earlier version.
pub(super) fn form(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
}

/// The form of a store that says none, as those of form 0 did not.
fn form_unsaid(listing: &Listing) -> u32 {
    if listing.records.is_empty() { SCHEMA } else { 0 }
}

/// Refuses what a later version wrote.
pub(super) fn knows(found: u32) -> Result<(), Fault> {
    if found > SCHEMA { Err(SchemaError::Newer { found }.into()) } else { Ok(()) }
}

impl Etcd {
    /// Puts `backup` into an etcd. Replicas may run on it: they notice, and proxies take the routes anew.
    ///
    /// # Errors
    /// When etcd cannot be reached, or holds something and `replace` was not said, or takes writes meanwhile.
    pub async fn restore(config: EtcdConfig, mut backup: Backup, replace: bool) -> Result<(), RestoreError> {
        migrate(backup.schema, &mut backup.listing.records)?;
        let store = Self::reach(config)?;
        let (held, _) = store.read_all().await.map_err(StoreError::from)?;
        if !held.records.is_empty() && !replace {
            return Err(RestoreError::NotEmpty(held.records.len()));
        }
        let unchanged = (!replace).then_some(held.revision);
        let done = store.put_all(&backup.listing.records, unchanged, true).await;
        if done.map_err(StoreError::from)? { Ok(()) } else { Err(RestoreError::Meanwhile) }
    }

    /// All records in the present form, for a backup. Nothing is changed in etcd.
    ///
    /// # Errors
    /// When etcd cannot be reached, or holds no store there, or one of a later form.
    pub async fn read(config: EtcdConfig) -> Result<Listing, StoreError> {
        let store = Self::reach(config)?;
        let (mut listing, found) = store.read_all().await?;
        if listing.epoch.is_empty() {
            return Err(Fault::NoStore(store.prefix).into());
        }
        let found = found.unwrap_or_else(|| form_unsaid(&listing));
        migrate(found, &mut listing.records).map_err(Fault::from)?;
        Ok(listing)
    }

    /// Brings the records into the form that this program writes; those as they were stay beside them until the next time.
    pub(super) async fn bring_into_form(&self) -> Result<(), Fault> {
        loop {
            if self.read_marks().await? == Some(SCHEMA) {
                return Ok(());
            }
            let (mut listing, found) = self.read_all().await?;
            let found = found.unwrap_or_else(|| form_unsaid(&listing));
            let changed = migrate(found, &mut listing.records)?;
            let done = if changed.is_empty() {
                self.say_form(listing.revision).await?
            } else {
                self.put_all(&listing.records, Some(listing.revision), false).await?
            };
            if done {
                tracing::info!(
                    from = found,
                    to = SCHEMA,
                    records = changed.len(),
                    "the store has a new form"
                );
            }
        }
    }

    /// The form that the store says, and which records count, without reading all of them.
    async fn read_marks(&self) -> Result<Option<u32>, Fault> {
        let txn = Txn::new()
            .and_then([TxnOp::get(self.keys.form(), None), TxnOp::get(self.keys.generation(), None)]);
        let done = self.link.ask(READS_WITHIN, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let responses = done.await?.op_responses();
        let generation = value_of(&responses, &self.keys.generation()).unwrap_or_default();
        self.set_generation(std::str::from_utf8(generation).unwrap_or_default().into());
        Ok(value_of(&responses, &self.keys.form()).map(form))
    }

    async fn say_form(&self, unchanged: Revision) -> Result<bool, Fault> {
        let form = TxnOp::put(self.keys.form(), SCHEMA.to_string(), None);
        self.try_txn(Txn::new().when([self.at_head(unchanged)]).and_then([form])).await
    }

    /// Makes these the records that count, all at once; says no where the store has changed since `unchanged`.
    pub(super) async fn put_all(
        &self,
        records: &[Record],
        unchanged: Option<Revision>,
        epoch: bool,
    ) -> Result<bool, Fault> {
        let generation = new_epoch();
        let staged = format!("{}staged", self.keys.store);
        if !self.sweep(&staged, &generation).await? {
            return Ok(false);
        }
        let mine = Compare::value(staged.clone(), CompareOp::Equal, generation.clone());
        let prefix = self.keys.records(&generation);
        let write = |record: &Record| Write {
            name: format!("{prefix}{}", record.name).into(),
            expect: Expect::Any,
            value: Some(record.value.clone()),
        };
        for batch in batches(records.iter().map(write).collect()) {
            let puts: Vec<_> = batch
                .into_iter()
                .filter_map(|write| Some(TxnOp::put(&*write.name, write.value?, None)))
                .collect();
            if !self.try_txn(Txn::new().when([mine.clone()]).and_then(puts)).await? {
                return Ok(false);
            }
        }
        let compares: Vec<_> = [mine].into_iter().chain(unchanged.map(|at| self.at_head(at))).collect();
        let mut puts = Vec::new();
        if epoch {
            puts.push(TxnOp::put(self.keys.epoch(), new_epoch(), None));
        }
        puts.extend([
            TxnOp::put(self.keys.generation(), generation, None),
            TxnOp::put(self.keys.form(), SCHEMA.to_string(), None),
            TxnOp::put(self.keys.head(), "", None),
            TxnOp::delete(staged, None),
        ]);
        self.try_txn(Txn::new().when(compares).and_then(puts)).await
    }

    /// Takes away what does not count, such as what somebody began and did not end, and marks a new beginning; says no, and
    /// takes nothing away, where other records count by now than those last read.
    async fn sweep(&self, staged: &str, generation: &str) -> Result<bool, Fault> {
        let counts = self.keys.records(&self.generation());
        let (first, last) = (format!("{}record-", self.keys.store), format!("{}record0", self.keys.store));
        let behind = range_end(&counts);
        let delete =
            |from: Vec<u8>, to: Vec<u8>| TxnOp::delete(from, Some(DeleteOptions::new().with_range(to)));
        let mark = TxnOp::put(staged, generation, None);
        let txn = Txn::new().when([self.same_generation()]).and_then([
            delete(first.into(), counts.into()),
            delete(behind, last.into()),
            mark,
        ]);
        self.try_txn(txn).await
    }

    /// No commit has been since that one.
    fn at_head(&self, at: Revision) -> Compare {
        Compare::mod_revision(self.keys.head(), CompareOp::Equal, i64::try_from(at).unwrap_or(i64::MAX))
    }

    /// Does it, unless what it compares is otherwise.
    async fn try_txn(&self, txn: Txn) -> Result<bool, Fault> {
        let done = self.link.tell(COMMITS_WITHIN, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        Ok(done.await?.succeeded())
    }

    /// What a commit compares besides its records: it is the form that this program writes, the records that count are those
    /// last read, and no backup was put back since what was checked was read.
    pub(super) fn same_store(&self, epoch: Option<&str>) -> impl Iterator<Item = Compare> {
        let epoch = epoch.map(|epoch| Compare::value(self.keys.epoch(), CompareOp::Equal, epoch));
        let form = Compare::value(self.keys.form(), CompareOp::Equal, SCHEMA.to_string());
        [form, self.same_generation()].into_iter().chain(epoch)
    }

    /// The same, to be read where that was otherwise.
    pub(super) fn marks(&self) -> [TxnOp; 3] {
        [self.keys.form(), self.keys.generation(), self.keys.epoch()].map(|key| TxnOp::get(key, None))
    }

    /// The records that count are those last read.
    fn same_generation(&self) -> Compare {
        let (key, generation) = (self.keys.generation(), self.generation());
        if generation.is_empty() {
            Compare::version(key, CompareOp::Equal, 0)
        } else {
            Compare::value(key, CompareOp::Equal, &*generation)
        }
    }

    /// Whether it was that which a commit failed by.
    pub(super) fn is_same_store(
        &self,
        epoch: Option<&str>,
        responses: &[TxnOpResponse],
    ) -> Result<(), Fault> {
        let found = value_of(responses, &self.keys.form());
        knows(found.map_or(SCHEMA, form))?;
        let generation = value_of(responses, &self.keys.generation()).unwrap_or_default();
        let now = value_of(responses, &self.keys.epoch()).unwrap_or_default();
        let same =
            generation == self.generation().as_bytes() && epoch.is_none_or(|epoch| epoch.as_bytes() == now);
        if same && found.is_some() { Ok(()) } else { Err(Fault::Replaced) }
    }
}

/// What a transaction read under a key.
fn value_of<'a>(responses: &'a [TxnOpResponse], key: &str) -> Option<&'a [u8]> {
    responses.iter().find_map(|response| match response {
        TxnOpResponse::Get(get) => {
            get.kvs().iter().find(|pair| pair.key() == key.as_bytes()).map(etcd_client::KeyValue::value)
        }
        _ => None,
    })
}
