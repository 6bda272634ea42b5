//! Following the store: each commit as it comes, and a list where the watch cannot go on.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bellhop_route::plan::ObjectName;
use futures_util::StreamExt;

use super::Control;
use crate::{
    record::Edit,
    store::{Commit, Listing, StoreError},
    telemetry::StoreFault,
};

impl Control {
    /// Follows the store until it is closed.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let mut commits = self.store.watch(self.revision());
            while let Some(commit) = commits.next().await {
                match commit {
                    Ok(commit) => self.take_commit(&commit),
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        self.telemetry.fault(StoreFault::Watch);
                        tracing::warn!(%error, "the store's watch ended; listing again");
                        break;
                    }
                }
            }
            match self.store.list().await {
                Ok(listing) => match self.epoch_of(&listing).await {
                    Ok(epoch) => {
                        self.take_listing(&listing);
                        self.stand_on(epoch);
                    }
                    Err(error) => {
                        tracing::error!(%error, "a new epoch cannot be stored");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Err(StoreError::Closed) => return,
                Err(error) => {
                    self.telemetry.fault(StoreFault::List);
                    tracing::error!(%error, "the store cannot be listed");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Another replica may have begun a new epoch; or this one must, since the store has gone back.
    async fn epoch_of(&self, listing: &Listing) -> Result<Arc<str>, StoreError> {
        self.feed.begin_epoch(&listing.epoch, listing.revision);
        if listing.revision < self.feed.position().revision {
            return self.begin_epoch(listing.revision).await;
        }
        Ok(listing.epoch.as_str().into())
    }

    fn take_commit(&self, commit: &Commit) {
        self.telemetry.committed();
        let read = |(name, value): &(Arc<str>, Option<_>)| {
            let token = self.tokens.take_in(name, value.as_ref(), commit.revision);
            if token { None } else { Edit::read(name, value.as_ref(), commit.revision) }
        };
        self.take_in(commit.changes.iter().filter_map(read).collect(), commit.revision);
    }

    pub(super) fn take_listing(&self, listing: &Listing) {
        self.tokens.take_listing(listing);
        let mut edits: Vec<_> = listing.records.iter().filter_map(Edit::from_record).collect();
        let listed: BTreeSet<_> = edits.iter().filter_map(object_of).cloned().collect();
        let world = self.world();
        let gone = world.all().map(|(name, _)| name).filter(|name| !listed.contains(name));
        edits.extend(gone.map(|name| Edit::Object(name.clone(), None)));
        let hosts: BTreeSet<_> = edits.iter().filter_map(host_of).cloned().collect();
        let unresolved = world.resolved().filter(|host| !hosts.contains(*host));
        edits.extend(unresolved.map(|host| Edit::Name(Arc::clone(host), None)));
        drop(world);
        let missed = listing.revision != self.revision();
        self.take_in(edits, listing.revision);
        if missed {
            // a key that changed and changed back is in force anew
            self.registry.retain(|_| false);
        }
    }
}

fn object_of(edit: &Edit) -> Option<&ObjectName> {
    match edit {
        Edit::Object(name, _) => Some(name),
        Edit::Name(..) => None,
    }
}

fn host_of(edit: &Edit) -> Option<&Arc<str>> {
    match edit {
        Edit::Object(..) => None,
        Edit::Name(host, _) => Some(host),
    }
}
