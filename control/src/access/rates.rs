//! How many requests may come: buckets, one for each caller, in a map that stays small.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) each_second: f64,
    pub(crate) at_once: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    seen: Instant,
}

impl Bucket {
    fn filled(self, rate: Rate, now: Instant) -> Self {
        let more = now.duration_since(self.seen).as_secs_f64() * rate.each_second;
        Self { left: (self.left + more).min(rate.at_once), seen: now }
    }
}

/// Callers that are remembered; a full bucket need not be.
const MOST: usize = 10_000;

/// A bucket for each caller.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Hash + Eq> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one for `caller`, where there is one. Callers beyond those that are remembered get nothing, until others
    /// have been silent long enough.
    pub(crate) fn take(&self, caller: K) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&caller) {
            buckets.retain(|_, bucket| bucket.filled(self.rate, now).left < self.rate.at_once);
            if buckets.len() >= MOST {
                return false;
            }
        }
        let bucket = buckets.entry(caller).or_insert(Bucket { left: self.rate.at_once, seen: now });
        *bucket = bucket.filled(self.rate, now);
        let some = bucket.left >= 1.0;
        if some {
            bucket.left -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_caller_is_limited_by_itself_the_limit_recovers_and_memory_is_bounded() {
        let buckets = Buckets::new(Rate { each_second: 20.0, at_once: 100.0 });
        assert_eq!((0..200).filter(|_| buckets.take(0)).count(), 100);
        assert!(buckets.take(1), "another one has a bucket of its own");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..200).filter(|_| buckets.take(0)).count(), 20);
        for caller in 2..20_000 {
            buckets.take(caller);
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MOST);
        assert!(!buckets.take(20_000));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(buckets.take(20_000), "those that were silent make room");
    }
}
