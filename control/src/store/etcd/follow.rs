//! Following etcd: its watch, opened again wherever it broke off, without a gap.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Keys, Place,
    error::Fault,
    link::{Link, Proven},
    revision,
};
use crate::store::{Commit, Revision, StoreError};

/// Between two tries to open the watch.
const PAUSE: Duration = Duration::from_millis(250);
/// The watch is there within this.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// What one commit did is smaller.
const LARGEST_ANSWER: usize = 1 << 30;

/// One watch of the store.
pub(super) struct Follow {
    link: Arc<Link>,
    keys: Keys,
    generation: Arc<str>,
    /// All up to here has been seen.
    seen: Revision,
    open: Option<Open>,
    ready: VecDeque<Arc<Commit>>,
    told: bool,
}

struct Open {
    stream: WatchStream,
    proven: Proven,
    turn: watch::Receiver<u64>,
}

impl Follow {
    pub(super) fn new(link: Arc<Link>, (keys, generation): (Keys, Arc<str>), seen: Revision) -> Self {
        Self { link, keys, generation, seen, open: None, ready: VecDeque::new(), told: false }
    }

    /// The next commit, however long it takes.
    ///
    /// # Errors
    /// Where the watch cannot go on from where it was.
    pub(super) async fn next(&mut self) -> Result<Arc<Commit>, StoreError> {
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Ok(commit);
            }
            match self.step().await {
                Ok(()) => {}
                Err(fault @ Fault::Compacted) => return Err(fault.into()),
                Err(fault) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(%fault, "the watch of etcd broke off; opening it again");
                    }
                    if let Some(open) = self.open.take() {
                        self.link.failed(&open.proven).await;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            self.open = Some(self.open().await?);
            return Ok(());
        };
        let message = tokio::select! {
            message = open.stream.message() => message,
            // another request found this endpoint failing
            _ = open.turn.changed() => {
                self.open = None;
                return Ok(());
            }
        };
        let failed = |source| Fault::call(&open.proven.endpoint, source);
        let response = message.map_err(failed)?.ok_or(Fault::Empty)?;
        if std::mem::take(&mut self.told) {
            tracing::info!(endpoint = %open.proven.endpoint, "the watch of etcd goes on");
        }
        self.take_in(&response)
    }

    async fn open(&self) -> Result<Open, Fault> {
        let turn = self.link.subscribe();
        let proven = self.link.proven().await?;
        let mut turn = turn;
        turn.borrow_and_update();
        let from = i64::try_from(self.seen + 1).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from).with_progress_notify();
        let mut client = proven.client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
        let opened = timeout(OPENS_WITHIN, client.watch(&*self.keys.store, Some(options))).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => {
                self.link.failed(&proven).await;
                return Err(Fault::call(&proven.endpoint, source));
            }
            Err(_) => {
                self.link.failed(&proven).await;
                return Err(Fault::Silent { endpoint: proven.endpoint.to_string(), within: OPENS_WITHIN });
            }
        };
        Ok(Open { stream, proven, turn })
    }

    fn take_in(&mut self, response: &WatchResponse) -> Result<(), Fault> {
        let at = response.header().map_or(0, |header| revision(header.revision()));
        if response.compact_revision() > 0 {
            return Err(Fault::Compacted);
        }
        if response.canceled() {
            tracing::debug!(reason = response.cancel_reason(), "etcd ended the watch");
            return Err(Fault::Empty);
        }
        if response.created() {
            // a backup was put back: what comes next bears revisions that were seen already
            return if at < self.seen { Err(Fault::Compacted) } else { Ok(()) };
        }
        let mut seen = if response.events().is_empty() { at } else { 0 };
        for event in response.events() {
            let Some(pair) = event.kv() else { continue };
            let revision = revision(pair.mod_revision());
            seen = seen.max(revision);
            let name = match self.keys.read(pair.key(), &self.generation) {
                // what stands under another epoch, or in another form, is listed
                Some(Place::Epoch | Place::Form | Place::Generation) => return Err(Fault::Compacted),
                Some(Place::Head) => None,
                Some(Place::Record(name)) => Some(name),
                None => continue,
            };
            // a deletion has no version
            let value = (pair.version() > 0).then(|| Bytes::copy_from_slice(pair.value()));
            self.change(revision, name, value);
        }
        // a sign of progress, or all that belongs to a commit: etcd never cuts one in two
        self.seen = self.seen.max(seen);
        Ok(())
    }

    fn change(&mut self, revision: Revision, name: Option<&str>, value: Option<Bytes>) {
        let change = name.map(|name| (Arc::from(name), value));
        match self.ready.back_mut().filter(|commit| commit.revision == revision).map(Arc::get_mut) {
            Some(Some(commit)) => commit.changes.extend(change),
            _ => self.ready.push_back(Arc::new(Commit { revision, changes: change.into_iter().collect() })),
        }
    }
}
