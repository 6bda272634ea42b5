//! One watcher: a list where its token cannot be honoured, then changes, bookmarks and questions.
//!
//! The stream is pulled: nothing is made for a reader that does not read.

use std::{
    collections::{VecDeque, hash_map::RandomState},
    convert::Infallible,
    hash::BuildHasher as _,
    sync::Arc,
    time::Duration,
};

use bellhop_api::{RoutingKey, watch::Event};
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    sync::{mpsc, watch as signal},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use super::{Feed, Lines, Sequence, Snapshot, line};
use crate::server::Phase;

/// A sign of life this often; a reader takes three missed ones for a disconnect.
const BOOKMARK: Duration = Duration::from_secs(5);

/// Watchers of a server that ends leave within this, not all at once: whoever takes them up has other things to do.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// What a watcher asked for.
#[derive(Debug)]
pub(crate) struct WatchOptions {
    /// The position that it holds.
    pub(crate) since: Option<String>,
    /// Ends the stream, cleanly, after this long.
    pub(crate) lifetime: Option<Duration>,
    /// Questions to the proxy that watches.
    pub(crate) asks: Option<Asks>,
    /// The server may be leaving.
    pub(crate) phase: signal::Receiver<Phase>,
}

/// Questions to one proxy.
#[derive(Debug)]
pub(crate) struct Asks {
    /// Ends when another watch of the same proxy takes this one's place.
    pub(crate) questions: mpsc::Receiver<Vec<RoutingKey>>,
}

struct Watcher {
    feed: Arc<Feed>,
    newest: signal::Receiver<Sequence>,
    phase: signal::Receiver<Phase>,
    /// When it leaves, once the server does; then it has said where it stands.
    leaves: Option<Instant>,
    left: bool,
    asks: Option<Asks>,
    bookmarks: Interval,
    end: Option<Instant>,
    /// A list in hand, and its next piece.
    list: Option<(Arc<Snapshot>, usize)>,
    ready: VecDeque<Bytes>,
    at: Sequence,
    /// `synced` is owed once the log is read to its end.
    owes_synced: bool,
}

/// The lines of one watch.
pub(crate) fn watch(
    feed: Arc<Feed>,
    options: WatchOptions,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let now = Instant::now();
    let mut bookmarks = interval_at(now + BOOKMARK, BOOKMARK);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let newest = feed.subscribe();
    let resumed = options.since.as_deref().and_then(|since| feed.resume(since));
    let (list, at) = match resumed {
        Some(at) => (None, at),
        None => {
            let list = feed.snapshot();
            let at = list.at;
            (Some((list, 0)), at)
        }
    };
    let watcher = Watcher {
        newest,
        phase: options.phase,
        leaves: None,
        left: false,
        asks: options.asks,
        bookmarks,
        end: options.lifetime.map(|lifetime| now + lifetime),
        owes_synced: list.is_none(),
        list,
        ready: VecDeque::new(),
        at,
        feed,
    };
    stream::unfold(watcher, |mut watcher| async move {
        let next = watcher.next().await?;
        Some((Ok(next), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left {
                return None;
            }
            if let Some((list, n)) = &mut self.list {
                if let Some(piece) = list.pieces.get(*n) {
                    *n += 1;
                    return Some(piece.clone());
                }
                self.list = None;
            }
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            self.newest.borrow_and_update();
            match self.feed.lines(self.at) {
                Lines::Behind => return None,
                Lines::Some(lines, end) => {
                    self.ready.extend(lines);
                    self.at = end;
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            if self.owes_synced {
                let Some(position) = self.feed.position_at(self.at) else { continue };
                self.owes_synced = false;
                return Some(line(&Event::Synced(position)));
            }
            match self.wait().await {
                Woken::Lines => {}
                Woken::Bookmark => {
                    // lines that have just come are sign of life enough
                    if let Some(position) = self.feed.position_at(self.at) {
                        return Some(line(&Event::Bookmark(position)));
                    }
                }
                Woken::Ask(keys) => return Some(line(&Event::Ask { keys })),
                Woken::Leaving => self.leaves = Some(Instant::now() + moment()),
                Woken::Leave => {
                    // what has just come goes before it
                    let Some(position) = self.feed.position_at(self.at) else { continue };
                    self.left = true;
                    return Some(line(&Event::Bookmark(position)));
                }
                Woken::End => return None,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let questions = self.asks.as_mut().map(|asks| &mut asks.questions);
        tokio::select! {
            biased;
            left = self.phase.wait_for(|phase| *phase != Phase::Serving), if self.leaves.is_none() => if left.is_ok() { Woken::Leaving } else { Woken::End },
            changed = self.newest.changed() => if changed.is_ok() { Woken::Lines } else { Woken::End },
            () = async { match self.leaves { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => Woken::Leave,
            keys = async { match questions { Some(questions) => questions.recv().await, None => std::future::pending().await } } =>
                // another watch of the same proxy has taken this one's place
                keys.map_or(Woken::End, Woken::Ask),
            () = async { match self.end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => Woken::End,
            _ = self.bookmarks.tick() => Woken::Bookmark,
        }
    }
}

/// Some time, another for each.
fn moment() -> Duration {
    let share = (RandomState::new().hash_one(()) % 1_000) as u32;
    LEAVE_WITHIN * share / 1_000
}

enum Woken {
    Lines,
    Bookmark,
    Ask(Vec<RoutingKey>),
    Leaving,
    Leave,
    End,
}
