//! Counters that cost a load, an add and a store.
//!
//! Each worker has its own, so that the only writer is that worker's thread; whoever scrapes sums over the workers. An
//! increment by a second thread could be lost, and nothing worse. What is rare is counted by all in one place, with
//! [`Tally::count_shared`].

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::labels::Label;

/// One number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `more`.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Adds one, whoever else does so at the same time.
    pub(crate) fn add_one_shared(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away; what was added before by the same thread.
    #[inline]
    pub(crate) fn take_one(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// The number, as any thread may see it.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a [`Tally`] is counted by: one label, or several.
pub(crate) trait Dimensions {
    /// How many combinations there are.
    const SIZE: usize;
    /// Where this combination stands.
    fn at(&self) -> usize;
    /// The texts of the combination that stands at `at`, in the order of the labels.
    fn texts(at: usize) -> Vec<&'static str>;
}

impl Dimensions for () {
    const SIZE: usize = 1;

    fn at(&self) -> usize {
        0
    }

    fn texts(_: usize) -> Vec<&'static str> {
        Vec::new()
    }
}

impl<A: Label> Dimensions for A {
    const SIZE: usize = <A as Label>::SIZE;

    fn at(&self) -> usize {
        self.index()
    }

    fn texts(at: usize) -> Vec<&'static str> {
        vec![A::text(at)]
    }
}

impl<A: Label, B: Label> Dimensions for (A, B) {
    const SIZE: usize = A::SIZE * B::SIZE;

    fn at(&self) -> usize {
        self.0.index() * B::SIZE + self.1.index()
    }

    fn texts(at: usize) -> Vec<&'static str> {
        vec![A::text(at / B::SIZE), B::text(at % B::SIZE)]
    }
}

/// What requests are counted by: five labels.
impl<A: Label, B: Label, C: Label, D: Label, E: Label> Dimensions for (A, B, C, D, E) {
    const SIZE: usize = A::SIZE * B::SIZE * C::SIZE * D::SIZE * E::SIZE;

    fn at(&self) -> usize {
        let (a, b, c, d, e) = self;
        let at = (a.index() * B::SIZE + b.index()) * C::SIZE + c.index();
        (at * D::SIZE + d.index()) * E::SIZE + e.index()
    }

    fn texts(at: usize) -> Vec<&'static str> {
        let (at, e) = (at / E::SIZE, at % E::SIZE);
        let (at, d) = (at / D::SIZE, at % D::SIZE);
        let (at, c) = (at / C::SIZE, at % C::SIZE);
        vec![A::text(at / B::SIZE), B::text(at % B::SIZE), C::text(c), D::text(d), E::text(e)]
    }
}

/// One number for each combination of labels.
#[derive(Debug)]
pub(crate) struct Tally<D> {
    cells: Box<[Count]>,
    by: PhantomData<fn(D)>,
}

impl<D: Dimensions> Default for Tally<D> {
    fn default() -> Self {
        Self { cells: (0..D::SIZE).map(|_| Count::default()).collect(), by: PhantomData }
    }
}

impl<D: Dimensions> Tally<D> {
    /// The cell of one combination.
    #[inline]
    fn cell(&self, of: &D) -> Option<&Count> {
        self.cells.get(of.at())
    }

    /// Counts one.
    #[inline]
    pub(crate) fn count(&self, of: D) {
        self.add(of, 1);
    }

    /// Counts one, whoever else counts here at the same time. For what is rare.
    pub(crate) fn count_shared(&self, of: D) {
        if let Some(cell) = self.cell(&of) {
            cell.add_one_shared();
        }
    }

    /// Counts `more`.
    #[inline]
    pub(crate) fn add(&self, of: D, more: u64) {
        if let Some(cell) = self.cell(&of) {
            cell.add(more);
        }
    }

    /// Takes one away.
    #[inline]
    pub(crate) fn take_one(&self, of: D) {
        if let Some(cell) = self.cell(&of) {
            cell.take_one();
        }
    }

    /// The number at a place.
    pub(crate) fn get(&self, at: usize) -> u64 {
        self.cells.get(at).map_or(0, Count::get)
    }
}

/// How long requests take, by combination of labels: a histogram with fixed bounds.
#[derive(Debug)]
pub(crate) struct Durations<D> {
    buckets: Box<[Count]>,
    nanoseconds: Tally<D>,
}

impl<D> Durations<D> {
    /// Upper bounds in seconds: from what a proxy adds to what people wait for.
    pub(crate) const BOUNDS: [f64; 14] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
    const WIDTH: usize = Self::BOUNDS.len() + 1;
}

impl<D: Dimensions> Default for Durations<D> {
    fn default() -> Self {
        let buckets = (0..D::SIZE * Self::WIDTH).map(|_| Count::default()).collect();
        Self { buckets, nanoseconds: Tally::default() }
    }
}

impl<D: Dimensions> Durations<D> {
    /// Counts one request that took `taken`.
    #[inline]
    pub(crate) fn observe(&self, of: D, taken: Duration) {
        let seconds = taken.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        if let Some(cell) = self.buckets.get(of.at() * Self::WIDTH + bucket) {
            cell.add(1);
        }
        self.nanoseconds.add(of, u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The counts at a place, one a bucket, not cumulated, and the sum in seconds.
    pub(crate) fn get(&self, at: usize) -> ([u64; 15], f64) {
        let mut counts = [0; 15];
        for (count, cell) in counts.iter_mut().zip(self.buckets.iter().skip(at * Self::WIDTH)) {
            *count = cell.get();
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a metric is a float; 2^53 ns are 104 days of waiting"
        )]
        let seconds = self.nanoseconds.get(at) as f64 / 1e9;
        (counts, seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::labels::{Dial, Side},
        *,
    };

    #[test]
    fn every_combination_has_a_place_of_its_own_and_reads_back() {
        for (side, dial, texts) in [
            (Side::Baseline, Dial::Connected, ["baseline", "connected"]),
            (Side::Sandbox, Dial::Failed, ["sandbox", "failed"]),
        ] {
            assert_eq!(<(Side, Dial)>::texts((side, dial).at()), texts);
        }
        let tally = Tally::<(Side, Dial)>::default();
        tally.count((Side::Sandbox, Dial::Refused));
        tally.add((Side::Sandbox, Dial::Refused), 2);
        tally.take_one((Side::Sandbox, Dial::Refused));
        let all: Vec<_> = (0..<(Side, Dial)>::SIZE).map(|at| tally.get(at)).collect();
        assert_eq!(all.iter().sum::<u64>(), 2);
        assert_eq!(tally.get((Side::Sandbox, Dial::Refused).at()), 2);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::<Side>::default();
        for millis in [0, 1, 3, 120_000] {
            durations.observe(Side::Sandbox, Duration::from_millis(millis));
        }
        let (counts, sum) = durations.get(Side::Sandbox.at());
        assert_eq!(counts, [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((sum - 120.004).abs() < 1e-9);
        assert_eq!(durations.get(Side::Baseline.at()), ([0; 15], 0.0));
    }
}
