//! The feed: all units as they stand, and a bounded log of what changed, for every watcher to read at its own pace.
//!
//! A change is serialized once; watchers share its bytes. Nothing is kept for a watcher but its place in the log, so a
//! slow one costs no memory: once its place has left the log it is cut, comes back, and gets a list.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bellhop_api::{
    DnsLabel, RoutingKey,
    watch::{Event, KeyUnit, Position, Unit, UnitName},
};
use bellhop_route::{Digest, plan::Effects};
use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

mod token;
mod watcher;

pub(crate) use token::{Content, Token};
pub(crate) use watcher::{Asks, WatchOptions, watch as watch_lines};

/// Counts the lines of this process's log.
pub(crate) type Sequence = u64;

/// Lines and bytes kept for watchers that are behind or come back.
const LOG_LINES: usize = 65_536;
const LOG_BYTES: usize = 32 << 20;
/// Lists are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed {
    inner: RwLock<Inner>,
    newest: watch::Sender<Sequence>,
}

#[derive(Debug)]
struct Inner {
    token: Token,
    services: BTreeMap<(DnsLabel, DnsLabel), Bytes>,
    keys: BTreeMap<RoutingKey, Held>,
    table_digest: u64,
    log: VecDeque<Bytes>,
    log_bytes: usize,
    keeps: usize,
    digests: Remembered<u64>,
    contents: Remembered<Content>,
    snapshot: Option<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Held {
    unit: Arc<KeyUnit>,
    line: Bytes,
    digest: u64,
    changed: Sequence,
    since: Instant,
}

/// All units at one position, in pieces.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Sequence,
    pub(crate) pieces: Vec<Bytes>,
}

/// A key's newest form.
#[derive(Debug, Clone)]
pub(crate) struct KeyForm {
    pub(crate) unit: Arc<KeyUnit>,
    pub(crate) changed: Sequence,
    /// Since when it is that.
    pub(crate) since: Instant,
}

/// What a watcher reads from the log.
#[derive(Debug)]
pub(crate) enum Lines {
    /// These lines, and where they end.
    Some(Vec<Bytes>, Sequence),
    /// Its place has left the log.
    Behind,
}

impl Feed {
    /// An empty feed of one store epoch; `replica` names this process.
    pub(crate) fn new(epoch: &str, replica: &str) -> Self {
        Self::keeping(epoch, replica, LOG_LINES)
    }

    /// One that keeps `lines` lines for those who are behind.
    fn keeping(epoch: &str, replica: &str, lines: usize) -> Self {
        let inner = Inner {
            token: Token {
                epoch: epoch.into(),
                replica: replica.into(),
                at: 0,
                revision: 0,
                content: Content::default(),
            },
            services: BTreeMap::new(),
            keys: BTreeMap::new(),
            table_digest: 0,
            log: VecDeque::new(),
            log_bytes: 0,
            keeps: lines,
            digests: Remembered::beginning_with(0),
            contents: Remembered::beginning_with(Content::default()),
            snapshot: None,
        };
        Self { inner: RwLock::new(inner), newest: watch::Sender::new(0) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a commit did, and wakes the watchers.
    pub(crate) fn publish(&self, effects: &Effects, revision: u64) {
        let mut inner = self.write();
        // what two tasks publish at once may come in either order; who reads must never see it go back
        inner.token.revision = inner.token.revision.max(revision);
        for unit in &effects.put {
            inner.put(unit);
        }
        for name in &effects.delete {
            inner.delete(name);
        }
        inner.remember();
        let newest = inner.token.at;
        drop(inner);
        self.newest.send_if_modified(|at| std::mem::replace(at, newest) != newest);
    }

    /// Wakes when there are new lines.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sequence> {
        self.newest.subscribe()
    }

    /// Where the feed stands.
    pub(crate) fn position(&self) -> Position {
        self.read().position()
    }

    /// The present position, for one who has read the log up to `at`. None where there are lines behind that: they carry
    /// older revisions than the present one, and must come first.
    pub(crate) fn position_at(&self, at: Sequence) -> Option<Position> {
        let inner = self.read();
        (inner.token.at == at).then(|| inner.position())
    }

    /// Whether somebody has seen more of this epoch than there is of it here: this replica is behind, or the store was
    /// put back to what it was before. Gives how far that one has seen.
    pub(crate) fn is_behind(&self, position: &Position) -> Option<u64> {
        let inner = self.read();
        let behind = position.epoch == *inner.token.epoch && position.revision > inner.token.revision;
        behind.then_some(position.revision)
    }

    /// The same for one who hands in a token.
    pub(crate) fn is_behind_token(&self, since: &str) -> Option<u64> {
        let token: Token = since.parse().ok()?;
        let inner = self.read();
        let behind = token.epoch == inner.token.epoch && token.revision > inner.token.revision;
        behind.then_some(token.revision)
    }

    /// The present epoch.
    pub(crate) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.read().token.epoch)
    }

    /// Another epoch has begun, and this is what it has come to: everybody gets a list.
    pub(crate) fn begin_epoch(&self, epoch: &str, revision: u64) {
        let mut inner = self.write();
        if *inner.token.epoch == *epoch {
            return;
        }
        tracing::warn!(epoch, revision, "a new epoch of the store begins: a backup was put back");
        inner.token.epoch = epoch.into();
        inner.token.revision = revision;
        inner.log.clear();
        (inner.log_bytes, inner.snapshot) = (0, None);
    }

    /// The lines behind `after`, about `PIECE_BYTES` of them.
    pub(crate) fn lines(&self, after: Sequence) -> Lines {
        let inner = self.read();
        let Some(skip) = inner.index_after(after) else { return Lines::Behind };
        let mut bytes = 0;
        let within = |line: &&Bytes| {
            bytes += line.len();
            bytes <= PIECE_BYTES || bytes == line.len()
        };
        let lines: Vec<_> = inner.log.range(skip..).take_while(within).cloned().collect();
        let end = after + lines.len() as u64;
        Lines::Some(lines, end)
    }

    /// The place that a token names, if the log still goes on from there. Of another replica's token that is where all
    /// units were here what they were there; what was at the same revision may differ, since an object's time may be
    /// over on one replica a moment before another.
    pub(crate) fn resume(&self, since: &str) -> Option<Sequence> {
        let token: Token = since.parse().ok()?;
        let inner = self.read();
        if token.epoch != inner.token.epoch {
            return None;
        }
        let own = token.replica == inner.token.replica;
        let at = if own { token.at } else { inner.contents.seen(&token.content)? };
        inner.index_after(at).is_some().then_some(at)
    }

    /// A list to begin with: made once for all who come before the next change.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let fresh = |inner: &Inner| inner.snapshot.clone().filter(|held| held.at == inner.token.at);
        if let Some(held) = fresh(&self.read()) {
            return held;
        }
        let mut inner = self.write();
        if let Some(held) = fresh(&inner) {
            return held;
        }
        let made = Arc::new(inner.list());
        inner.snapshot = Some(Arc::clone(&made));
        made
    }

    /// A key's newest form.
    pub(crate) fn key(&self, key: &str) -> Option<KeyForm> {
        let inner = self.read();
        inner.keys.get(key).map(|held| KeyForm {
            unit: Arc::clone(&held.unit),
            changed: held.changed,
            since: held.since,
        })
    }

    /// Digest of the newest table, as proxies report it.
    pub(crate) fn table_digest(&self) -> String {
        Digest(self.read().table_digest).to_string()
    }

    /// The newest place at which the table had this digest.
    pub(crate) fn digest_seen(&self, digest: &str) -> Option<Sequence> {
        let digest: Digest = digest.parse().ok()?;
        self.read().digests.seen(&digest.0)
    }

    /// All units as they stand, as events without positions.
    pub(crate) fn all(&self) -> Vec<Bytes> {
        let inner = self.read();
        inner.services.values().chain(inner.keys.values().map(|held| &held.line)).cloned().collect()
    }
}

impl Inner {
    fn position(&self) -> Position {
        Position {
            token: self.token.to_string(),
            epoch: self.token.epoch.to_string(),
            revision: self.token.revision,
        }
    }

    /// Index in the log of the line behind a place.
    fn index_after(&self, after: Sequence) -> Option<usize> {
        let first = self.token.at - self.log.len() as u64;
        if after > self.token.at {
            return None;
        }
        after.checked_sub(first).and_then(|skip| usize::try_from(skip).ok())
    }

    fn put(&mut self, unit: &Unit) {
        self.token.at += 1;
        let listed = line(&Event::Put { unit: unit.clone(), position: None });
        let content = &mut self.token.content;
        content.toggle(&listed);
        match unit {
            Unit::Service(service) => {
                let old = self.services.insert((service.namespace.clone(), service.name.clone()), listed);
                old.iter().for_each(|old| content.toggle(old));
            }
            Unit::Key(key) => {
                let digest = key.digest.parse::<Digest>().map_or(0, |digest| digest.0);
                let (unit, changed, since) = (Arc::new(key.clone()), self.token.at, Instant::now());
                let held = Held { unit, line: listed, digest, changed, since };
                let old = self.keys.insert(key.key.clone(), held);
                old.iter().for_each(|old| content.toggle(&old.line));
                self.table_digest ^= digest ^ old.map_or(0, |old| old.digest);
            }
        }
        self.append(line(&Event::Put { unit: unit.clone(), position: Some(self.position()) }));
    }

    fn delete(&mut self, name: &UnitName) {
        self.token.at += 1;
        let gone = match name {
            UnitName::Service { namespace, name } => self.services.remove(&(namespace.clone(), name.clone())),
            UnitName::Key(key) => self.keys.remove(key).map(|old| {
                self.table_digest ^= old.digest;
                old.line
            }),
        };
        gone.iter().for_each(|line| self.token.content.toggle(line));
        self.append(line(&Event::Delete { unit: name.clone(), position: Some(self.position()) }));
    }

    fn append(&mut self, line: Bytes) {
        self.log_bytes += line.len();
        self.log.push_back(line);
        while self.log.len() > self.keeps || self.log_bytes > LOG_BYTES {
            self.log_bytes -= self.log.pop_front().map_or(0, |line| line.len());
        }
    }

    fn remember(&mut self) {
        // what a proxy holds that is too far behind for the log need not be recognised either
        self.digests.note(self.table_digest, self.token.at, self.keeps);
        self.contents.note(self.token.content, self.token.at, self.keeps);
    }

    fn list(&self) -> Snapshot {
        let mut pieces = Vec::new();
        let mut piece = line(&Event::Reset(self.position())).to_vec();
        let keys = self.keys.values().map(|held| &held.line);
        for unit in self.services.values().chain(keys) {
            piece.extend_from_slice(unit);
            if piece.len() >= PIECE_BYTES {
                pieces.push(Bytes::from(std::mem::take(&mut piece)));
            }
        }
        piece.extend_from_slice(&line(&Event::Synced(self.position())));
        pieces.push(piece.into());
        Snapshot { at: self.token.at, pieces }
    }
}

/// The newest place at which each of the last digests was seen.
#[derive(Debug)]
struct Remembered<D> {
    order: VecDeque<D>,
    at: HashMap<D, Sequence>,
}

impl<D: Copy + Eq + Hash> Remembered<D> {
    fn beginning_with(digest: D) -> Self {
        Self { order: VecDeque::from([digest]), at: HashMap::from([(digest, 0)]) }
    }

    fn seen(&self, digest: &D) -> Option<Sequence> {
        self.at.get(digest).copied()
    }

    fn note(&mut self, digest: D, at: Sequence, keeps: usize) {
        if self.at.insert(digest, at).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > keeps {
            match self.order.pop_front() {
                // the newest is never forgotten
                Some(oldest) if oldest == digest => self.order.push_back(oldest),
                Some(oldest) => drop(self.at.remove(&oldest)),
                None => {}
            }
        }
    }
}

/// One line of the watch.
pub(crate) fn line(event: &Event) -> Bytes {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    // without the room that it grew by: it may be kept for as long as its unit
    text.into_boxed_slice().into()
}

#[cfg(test)]
mod tests;
