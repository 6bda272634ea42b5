//! A worker's coarse clock. Connections say until when they may stay as they are, which costs one store; once a second
//! somebody walks by and wakes those that are over their time. No timer is armed for a request. On the same rounds memory
//! is given back that only a burst needed.

mod ebb;

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::Waker,
    time::Duration,
};

use slab::Slab;
use tokio::runtime::Handle;

use self::ebb::Ebb;
use crate::{allocator, buffer::Buffers, http1::Lines, program};

/// How often the patrol walks: deadlines are this coarse.
const ROUND: Duration = Duration::from_secs(1);

/// A worker's patrol. It walks only while there is somebody to look after, or memory to give back.
#[derive(Debug, Default)]
pub(crate) struct Patrol {
    /// The worker's spare buffers, which nobody needs after a burst.
    buffers: Rc<Buffers>,
    /// Its spare lists of fields likewise.
    lines: Rc<Lines>,
    ebb: RefCell<Ebb>,
    /// How long the worker had been busy at the last round, since it began.
    busy: Cell<Duration>,
    rounds: Cell<u32>,
    posts: RefCell<Slab<Rc<Post>>>,
    walking: Cell<bool>,
}

#[derive(Debug)]
struct Post {
    /// In rounds; `u32::MAX` is never.
    until: Cell<u32>,
    waker: RefCell<Waker>,
}

/// One connection's place on the patrol's way.
#[derive(Debug)]
pub(crate) struct Watched {
    patrol: Rc<Patrol>,
    post: Rc<Post>,
    number: usize,
}

impl Patrol {
    /// The patrol of a worker with these spares.
    pub(crate) fn new(buffers: Rc<Buffers>, lines: Rc<Lines>) -> Self {
        Self { buffers, lines, ..Self::default() }
    }

    /// Has a connection looked after; without a deadline at first.
    pub(crate) fn watch(self: &Rc<Self>) -> Watched {
        let post = Rc::new(Post { until: Cell::new(u32::MAX), waker: RefCell::new(Waker::noop().clone()) });
        let number = self.posts.borrow_mut().insert(Rc::clone(&post));
        if !self.walking.replace(true) {
            tokio::task::spawn_local(walk(Rc::downgrade(self)));
        }
        Watched { patrol: Rc::clone(self), post, number }
    }

    /// Wakes everybody, over time or not: something has changed that concerns all.
    pub(crate) fn muster(&self) {
        for (_, post) in self.posts.borrow().iter() {
            post.waker.borrow().wake_by_ref();
        }
    }

    fn round(&self) {
        let now = self.rounds.get().saturating_add(1);
        self.rounds.set(now);
        for (_, post) in self.posts.borrow().iter() {
            if post.until.get() <= now {
                post.waker.borrow().wake_by_ref();
            }
        }
        let busy = Handle::current().metrics().worker_total_busy_duration(0);
        let lately = busy.saturating_sub(self.busy.replace(busy));
        if self.ebb.borrow_mut().round(self.posts.borrow().len(), lately) {
            self.relieve();
            program::give_back();
        }
    }

    /// Gives back what the worker holds for later and does not need now.
    pub(crate) fn relieve(&self) {
        self.posts.borrow_mut().shrink_to_fit();
        self.buffers.clear();
        self.lines.clear();
        allocator::give_back();
    }
}

async fn walk(patrol: Weak<Patrol>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        let Some(patrol) = patrol.upgrade() else { return };
        patrol.round();
        if patrol.posts.borrow().is_empty() && patrol.ebb.borrow().is_over() {
            patrol.walking.set(false);
            return;
        }
    }
}

impl Watched {
    /// The deadline is `time` from now, rounded up.
    #[inline]
    pub(crate) fn allow(&self, time: Duration) {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.post.until.set(self.patrol.rounds.get().saturating_add(seconds).saturating_add(1));
    }

    /// No deadline.
    #[inline]
    pub(crate) fn allow_ever(&self) {
        self.post.until.set(u32::MAX);
    }

    /// Whether the deadline has passed.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.post.until.get() <= self.patrol.rounds.get()
    }

    /// Whom to wake.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        let mut known = self.post.waker.borrow_mut();
        if !known.will_wake(waker) {
            known.clone_from(waker);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.patrol.posts.borrow_mut().try_remove(self.number);
    }
}
