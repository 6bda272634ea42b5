//! The store of several control replicas: etcd, under one prefix.
//!
//! ```text
//! PREFIX/store/epoch         names this life of the store
//! PREFIX/store/form          the form of its records ([`super::schema`])
//! PREFIX/store/generation    which records count, where they were put there together ([`whole`]): record-GENERATION/NAME
//! PREFIX/store/head          touched by every commit: its revision is that of the newest one
//! PREFIX/store/record/NAME   the records
//! PREFIX/replicas/ID         a replica that lives, under its lease ([`presence`])
//! PREFIX/holder              the replica that does what one alone may do, under its lease
//! PREFIX/secret              by which replicas know each other
//! ```
//!
//! A commit is one transaction that compares revisions. One that breaks off may have happened or not, and is answered
//! with an error; only what certainly did not happen is tried again. Reads are linearizable.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};

use super::{Commit, Expect, Listing, MOST_WRITES, Record, Revision, SCHEMA, Store, StoreError, Write};
use crate::config::EtcdConfig;

mod error;
mod follow;
mod link;
mod presence;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod whole;

use error::Fault;
use follow::Follow;
use link::Link;

pub(crate) use presence::Presence;
pub use whole::RestoreError;

/// Within this a commit is done, or is answered with an error.
const COMMITS_WITHIN: Duration = Duration::from_secs(5);
/// The same for one page of a list, and for other reads.
const READS_WITHIN: Duration = Duration::from_secs(5);
/// Records of one page of a list.
const PAGE: i64 = 500;

/// See the module.
#[derive(Debug)]
pub struct Etcd {
    link: Arc<Link>,
    prefix: String,
    keys: Keys,
    /// Which records count, as last read.
    generation: Mutex<Arc<str>>,
    /// The last list: its newest commit, and the revision of etcd at which it was read. Nothing happened in between.
    listed: Mutex<(Revision, Revision)>,
}

/// Where things stand in etcd.
#[derive(Debug, Clone)]
struct Keys {
    store: Arc<str>,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        Self { store: format!("{prefix}/store/").into() }
    }

    fn epoch(&self) -> String {
        format!("{}epoch", self.store)
    }

    fn head(&self) -> String {
        format!("{}head", self.store)
    }

    fn form(&self) -> String {
        format!("{}form", self.store)
    }

    fn generation(&self) -> String {
        format!("{}generation", self.store)
    }

    /// Where the records of a generation stand; the first has no name.
    fn records(&self, generation: &str) -> String {
        let dash = if generation.is_empty() { "" } else { "-" };
        format!("{}record{dash}{generation}/", self.store)
    }

    /// What stands under a key of the store, while that generation counts.
    fn read<'a>(&self, key: &'a [u8], generation: &str) -> Option<Place<'a>> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&*self.store)?;
        match key {
            "epoch" => Some(Place::Epoch),
            "form" => Some(Place::Form),
            "generation" => Some(Place::Generation),
            "head" => Some(Place::Head),
            other => {
                let rest = other.strip_prefix("record")?;
                let rest = if generation.is_empty() { rest } else { rest.strip_prefix('-')? };
                rest.strip_prefix(generation)?.strip_prefix('/').map(Place::Record)
            }
        }
    }
}

enum Place<'a> {
    Epoch,
    Form,
    /// It sorts before the records, so that a list knows which count before it comes to them.
    Generation,
    Head,
    Record(&'a str),
}

impl Etcd {
    /// Reaches etcd, and marks the beginning of the store where there is none yet.
    ///
    /// # Errors
    /// When no endpoint answers in time, or refuses this user.
    pub async fn open(config: EtcdConfig) -> Result<Self, StoreError> {
        let store = Self::reach(config)?;
        store.begin().await?;
        Ok(store)
    }

    /// Writes down what every store says of itself, where it does not.
    async fn begin(&self) -> Result<(), Fault> {
        self.found(&self.keys.epoch(), &new_epoch()).await?;
        self.bring_into_form().await
    }

    fn reach(config: EtcdConfig) -> Result<Self, StoreError> {
        let (keys, prefix) = (Keys::new(&config.prefix), config.prefix.clone());
        let link = Arc::new(Link::new(config)?);
        Ok(Self { link, prefix, keys, generation: Mutex::new("".into()), listed: Mutex::default() })
    }

    fn generation(&self) -> Arc<str> {
        Arc::clone(&self.generation.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_generation(&self, generation: Arc<str>) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    fn record(&self, name: &str) -> String {
        self.keys.records(&self.generation()) + name
    }

    /// Puts a value where none is; gives the one that stands there then.
    async fn found(&self, key: &str, value: &str) -> Result<String, Fault> {
        let txn = Txn::new()
            .when([Compare::version(key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, value, None)])
            .or_else([TxnOp::get(key, None)]);
        let done = self.link.ask(READS_WITHIN, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let done = done.await?;
        if done.succeeded() {
            return Ok(value.to_owned());
        }
        first_value(&done.op_responses()).ok_or_else(|| Fault::Foreign(key.to_owned()))
    }

    /// Everything, whatever form it has; and that form, if the store says it.
    async fn read_all(&self) -> Result<(Listing, Option<u32>), Fault> {
        let end = range_end(&self.keys.store);
        let (mut from, mut at) = (self.keys.store.as_bytes().to_vec(), 0);
        let (mut epoch, mut newest, mut records) = (String::new(), 0, Vec::new());
        let (mut form, mut generation) = (None, Arc::from(""));
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(at);
            let page = self.link.ask(READS_WITHIN, |client| {
                let (from, options) = (from.clone(), options.clone());
                async move { link::kv(&client).get(from, Some(options)).await }
            });
            let mut page = page.await?;
            at = page.header().map_or(at, |header| if at == 0 { header.revision() } else { at });
            let more = page.more();
            for pair in page.take_kvs() {
                let revision = revision(pair.mod_revision());
                match self.keys.read(pair.key(), &generation) {
                    Some(Place::Epoch) => epoch = pair.value_str().unwrap_or_default().to_owned(),
                    Some(Place::Form) => form = Some(whole::form(pair.value())),
                    Some(Place::Generation) => generation = pair.value_str().unwrap_or_default().into(),
                    Some(Place::Head) => newest = revision,
                    Some(Place::Record(name)) => {
                        let name = name.into();
                        records.push(Record { name, value: Bytes::copy_from_slice(pair.value()), revision });
                    }
                    None => {}
                }
                from = pair.key().to_vec();
                from.push(0);
            }
            if !more {
                break;
            }
        }
        self.set_generation(generation);
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = (newest, revision(at));
        Ok((Listing { epoch, revision: newest, records }, form))
    }

    /// `epoch`: in which the store must be, if that matters.
    async fn transact(&self, epoch: Option<&str>, writes: Vec<Write>) -> Result<Revision, StoreError> {
        if writes.len() > MOST_WRITES {
            return Err(Fault::TooMany.into());
        }
        let txn = self.transaction(epoch, &writes);
        let done = self.link.tell(COMMITS_WITHIN, |client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        });
        let done = done.await?;
        if done.succeeded() {
            return done
                .header()
                .map(|header| revision(header.revision()))
                .ok_or_else(|| Fault::Empty.into());
        }
        let responses = done.op_responses();
        if let Err(fault) = self.is_same_store(epoch, &responses) {
            // one that was put back to what it was before it said so would refuse all commits
            self.begin().await?;
            return Err(fault.into());
        }
        let held: BTreeMap<_, _> = responses.into_iter().filter_map(held).collect();
        let changed = writes.iter().find(|write| {
            let now = held.get(self.record(&write.name).as_bytes()).copied();
            match write.expect {
                Expect::Any => false,
                Expect::Absent => now.is_some(),
                Expect::At(then) => now != Some(then),
            }
        });
        Err(changed.map_or_else(|| Fault::Empty.into(), |write| StoreError::Changed(Arc::clone(&write.name))))
    }

    fn transaction(&self, epoch: Option<&str>, writes: &[Write]) -> Txn {
        let compares = writes
            .iter()
            .filter_map(|write| {
                let key = self.record(&write.name);
                match write.expect {
                    Expect::Any => None,
                    Expect::Absent => Some(Compare::version(key, CompareOp::Equal, 0)),
                    Expect::At(at) => Some(Compare::mod_revision(key, CompareOp::Equal, at.try_into().ok()?)),
                }
            })
            .chain(self.same_store(epoch))
            .collect::<Vec<_>>();
        let mut operations: Vec<_> = writes
            .iter()
            .map(|write| {
                let key = self.record(&write.name);
                match &write.value {
                    Some(value) => TxnOp::put(key, &**value, None),
                    None => TxnOp::delete(key, None),
                }
            })
            .collect();
        operations.push(TxnOp::put(self.keys.head(), "", None));
        let expecting = writes.iter().filter(|write| write.expect != Expect::Any);
        let look: Vec<_> = expecting
            .map(|write| TxnOp::get(self.record(&write.name), Some(GetOptions::new().with_keys_only())))
            .chain(self.marks())
            .collect();
        Txn::new().when(compares).and_then(operations).or_else(look)
    }
}

impl Store for Etcd {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, StoreError>> {
        async move {
            let (listing, form) = self.read_all().await?;
            whole::knows(form.unwrap_or(SCHEMA))?;
            if form == Some(SCHEMA) && !listing.epoch.is_empty() {
                return Ok(listing);
            }
            // it was put back to what it was before it said so
            self.begin().await?;
            Ok(self.read_all().await?.0)
        }
        .boxed()
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Arc<Commit>, StoreError>> {
        let (newest, read) = *self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        // what was compacted before the list was read is not missed
        let seen = if after == newest { read.max(after) } else { after };
        let follow = Follow::new(Arc::clone(&self.link), (self.keys.clone(), self.generation()), seen);
        stream::unfold(Some(follow), |follow| async {
            let mut follow = follow?;
            match follow.next().await {
                Ok(commit) => Some((Ok(commit), Some(follow))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.transact(None, writes).boxed()
    }

    fn commit_in<'a>(
        &'a self,
        epoch: &'a str,
        writes: Vec<Write>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        self.transact(Some(epoch), writes).boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        async move {
            let head = self.keys.head();
            let read = self.link.ask(READS_WITHIN, |client| {
                let head = head.clone();
                async move { client.kv_client().get(head, Some(GetOptions::new().with_keys_only())).await }
            });
            let read = read.await?;
            Ok(read.kvs().first().map_or(0, |pair| revision(pair.mod_revision())))
        }
        .boxed()
    }

    fn begin_epoch<'a>(&'a self, old: &'a str) -> BoxFuture<'a, Result<String, StoreError>> {
        async move {
            let (key, new) = (self.keys.epoch(), new_epoch());
            let txn = Txn::new()
                .when([Compare::value(key.clone(), CompareOp::Equal, old)])
                .and_then([TxnOp::put(key.clone(), new.clone(), None)])
                .or_else([TxnOp::get(key, None)]);
            let done = self.link.ask(READS_WITHIN, |client| {
                let txn = txn.clone();
                async move { client.kv_client().txn(txn).await }
            });
            let done = done.await?;
            Ok(first_value(&done.op_responses()).unwrap_or(new))
        }
        .boxed()
    }
}

fn new_epoch() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect()
}

/// Revisions of etcd begin at 1 and grow.
fn revision(etcd: i64) -> Revision {
    Revision::try_from(etcd).unwrap_or(0)
}

/// The first key behind all that begin so; `/` ends every prefix, so that the last byte can be counted up.
fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    end.iter_mut().last().into_iter().for_each(|last| *last += 1);
    end
}

fn first_value(responses: &[TxnOpResponse]) -> Option<String> {
    responses.iter().find_map(|response| match response {
        TxnOpResponse::Get(get) => get.kvs().first()?.value_str().ok().map(str::to_owned),
        _ => None,
    })
}

fn held(response: TxnOpResponse) -> Option<(Vec<u8>, Revision)> {
    match response {
        TxnOpResponse::Get(get) => {
            let pair = get.kvs().first()?;
            Some((pair.key().to_vec(), revision(pair.mod_revision())))
        }
        _ => None,
    }
}
