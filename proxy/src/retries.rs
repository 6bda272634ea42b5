//! How often a worker sends requests a second time.
//!
//! Each such request is one more for an upstream that may be in trouble already. So a worker earns them: a share of the
//! requests that it serves, and a few a second for one that serves little. It saves up some, since an upstream that is
//! restarted closes all its connections at once. What no upstream has seen a byte of costs nobody anything, and is free.
//!
//! The default share, 100, bounds nothing beyond what always holds: no request is sent again more than once. An upstream
//! that is restarted cuts everything that is in flight, however much that is, and each GET among it shall be answered.
//! The worst that it gets is twice its load. Who cannot bear that sets less.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// From this share on each request may be sent again.
const EACH: u32 = 100;
/// One retry. A request earns as many as the budget's percentage.
const ONE: u32 = 100;
/// What a worker saves up, and begins with.
const SAVED: u32 = 100 * ONE;
/// A second earns this much, however few the requests.
const A_SECOND: u32 = 10 * ONE;

/// The budget of one worker.
#[derive(Debug)]
pub(crate) struct Retries {
    /// Of 100 requests, so many may be sent again.
    percent: u32,
    saved: Cell<u32>,
    looked: Cell<Instant>,
}

impl Retries {
    /// A budget of this share; none at all where it is zero.
    pub(crate) fn new(percent: u32) -> Self {
        let saved = if percent == 0 { 0 } else { SAVED };
        Self { percent, saved: Cell::new(saved), looked: Cell::new(Instant::now()) }
    }

    /// A request came.
    #[inline]
    pub(crate) fn note_request(&self) {
        self.save(self.percent);
    }

    /// Takes one retry, if there is one.
    #[cold]
    pub(crate) fn take(&self) -> bool {
        if self.percent >= EACH {
            return true;
        }
        let time = self.looked.get().elapsed();
        if self.percent > 0 && time >= Duration::from_millis(1) {
            self.looked.set(Instant::now());
            self.earn(time);
        }
        self.spend()
    }

    fn spend(&self) -> bool {
        let left = self.saved.get().checked_sub(ONE);
        if let Some(left) = left {
            self.saved.set(left);
        }
        left.is_some()
    }

    fn earn(&self, time: Duration) {
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.save(milliseconds.saturating_mul(A_SECOND / 1000));
    }

    #[inline]
    fn save(&self, more: u32) {
        self.saved.set(self.saved.get().saturating_add(more).min(SAVED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(retries: &Retries, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(retries.take())).sum()
    }

    /// As [`taken`], and no time passes.
    fn spent(retries: &Retries, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(retries.spend())).sum()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_beyond_what_was_saved() {
        let retries = Retries::new(20);
        assert_eq!(spent(&retries, 1000), 100);
        (0..1000).for_each(|_| retries.note_request());
        assert_eq!(spent(&retries, 1000), 100, "no more than is saved up");
        (0..50).for_each(|_| retries.note_request());
        assert_eq!(spent(&retries, 1000), 10);
        assert_eq!(taken(&Retries::new(20), 100), 100, "what is saved may be taken at once");
    }

    #[test]
    fn time_earns_some_where_there_are_few_requests() {
        let retries = Retries::new(1);
        assert_eq!(spent(&retries, 1000), 100);
        retries.earn(Duration::from_millis(500));
        assert_eq!(retries.saved.get(), 5 * ONE);
        retries.earn(Duration::from_secs(1_000_000));
        assert_eq!(retries.saved.get(), SAVED);
    }

    #[test]
    fn a_share_of_a_hundred_covers_all_that_are_in_flight() {
        assert_eq!(taken(&Retries::new(100), 5000), 5000);
    }

    #[test]
    fn no_budget_is_none() {
        let retries = Retries::new(0);
        (0..1000).for_each(|_| retries.note_request());
        retries.looked.set(Instant::now().checked_sub(Duration::from_millis(100)).unwrap());
        assert_eq!(taken(&retries, 10), 0);
    }
}
