//! All tokens, as the store's watch brings them: found by their hash, gone the moment the store says so.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bellhop_api::access::TokenInfo;
use bytes::Bytes;
use tokio::sync::watch;

use super::token::{CLASS, StoredToken, TokenHash};
use crate::store::{Listing, Revision};

/// A token that is stored. Whoever holds a receiver of `lives` learns when it is not any more.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) info: TokenInfo,
    pub(crate) revision: Revision,
    hash: TokenHash,
    lives: watch::Sender<()>,
}

impl Token {
    /// Ends (with an error) when the token is revoked.
    pub(crate) fn lives(&self) -> watch::Receiver<()> {
        self.lives.subscribe()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<Held>);

#[derive(Debug, Default)]
struct Held {
    by_id: BTreeMap<String, Arc<Token>>,
    by_hash: HashMap<TokenHash, Arc<Token>>,
}

impl Tokens {
    /// The token of a hash, expired or not.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<Arc<Token>> {
        self.read().by_hash.get(hash).cloned()
    }

    /// The token of an id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Token>> {
        self.read().by_id.get(id).cloned()
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Token>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Takes in a change of the store; whether it was one of a token.
    pub(crate) fn take_in(&self, record: &str, value: Option<&Bytes>, revision: Revision) -> bool {
        let Some((CLASS, id)) = record.split_once('/') else { return false };
        let token = value.and_then(|value| read(record, value, revision));
        self.write().set(id, token);
        true
    }

    /// Takes in a whole list: what is not in it is gone.
    pub(crate) fn take_listing(&self, listing: &Listing) {
        let mut listed = BTreeSet::new();
        for record in &listing.records {
            if let Some((CLASS, id)) = record.name.split_once('/') {
                listed.insert(id);
                // one that is as it was keeps its watchers
                if self.get(id).is_none_or(|held| held.revision != record.revision) {
                    self.take_in(&record.name, Some(&record.value), record.revision);
                }
            }
        }
        let mut held = self.write();
        let gone: Vec<_> = held.by_id.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        gone.iter().for_each(|id| held.set(id, None));
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn set(&mut self, id: &str, token: Option<Token>) {
        if let Some(old) = self.by_id.remove(id) {
            self.by_hash.remove(&old.hash);
            // told even where somebody still holds it
            old.lives.send_replace(());
        }
        if let Some(token) = token.map(Arc::new) {
            self.by_hash.insert(token.hash, Arc::clone(&token));
            self.by_id.insert(id.to_owned(), token);
        }
    }
}

fn read(record: &str, value: &Bytes, revision: Revision) -> Option<Token> {
    let stored = match serde_json::from_slice::<StoredToken>(value) {
        Ok(stored) => stored,
        Err(error) => {
            // the message names a place, never what stands there
            tracing::error!(
                record,
                line = error.line(),
                column = error.column(),
                "a stored token is not understood and opens nothing"
            );
            return None;
        }
    };
    let Some(hash) = stored.hash() else {
        tracing::error!(record, "a stored token has no hash and opens nothing");
        return None;
    };
    Some(Token { info: stored.info, revision, hash, lives: watch::Sender::new(()) })
}
