//! When a worker gives back the memory that only a burst needed: once most of the connections have gone, and once there
//! is little to do.
//!
//! What was freed stays with the allocator, for the next burst. Given back too early it is asked for again at once; kept
//! for ever, a proxy stays as large as it once was. The end of a burst comes in pieces, and the last of them counts too.

use std::time::Duration;

/// A burst is over when so many have gone, and half of those that there were.
const BURST: usize = 32;
/// Rounds in which memory is given back then.
const PIECES: u32 = 3;
/// Less work than this in a round is little. A round of its own, or of requests now and then, is far below.
const LITTLE: Duration = Duration::from_millis(10);
/// Rounds of little work that make a rest.
const REST: u32 = 5;

/// The state of one worker's tide.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    /// Most that were looked after since the last burst.
    most: usize,
    /// Rounds in which memory is still to be given back.
    owed: u32,
    /// Whether there was more than little to do since memory was last given back.
    worked: bool,
    quiet: u32,
}

impl Ebb {
    /// Whether memory is given back, after a round in which the worker was busy for so long, with so many connections
    /// left.
    pub(super) fn round(&mut self, connections: usize, busy: Duration) -> bool {
        if self.most.saturating_sub(connections) < BURST.max(self.most / 2) {
            self.most = self.most.max(connections);
        } else {
            (self.most, self.owed) = (connections, PIECES);
        }
        if busy >= LITTLE {
            (self.worked, self.quiet) = (true, 0);
        } else if self.worked {
            self.quiet += 1;
            if self.quiet == REST {
                (self.worked, self.owed) = (false, self.owed.max(1));
            }
        }
        let now = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        now
    }

    /// Whether later rounds give nothing back, unless somebody comes.
    pub(super) fn is_over(&self) -> bool {
        self.owed == 0 && !self.worked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::ZERO;

    /// In which of these rounds memory is given back.
    fn given(ebb: &mut Ebb, rounds: impl IntoIterator<Item = (usize, Duration)>) -> Vec<usize> {
        let given = rounds.into_iter().map(|(connections, busy)| ebb.round(connections, busy));
        given.enumerate().filter_map(|(round, now)| now.then_some(round)).collect()
    }

    #[test]
    fn f23_a_bursts_memory_is_given_back_until_the_last_of_it_has_gone() {
        let mut ebb = Ebb::default();
        let rounds = [20, 2000, 900, 300, 40, 20, 20, 20, 20].map(|connections| (connections, IDLE));
        assert_eq!(given(&mut ebb, rounds), [2, 3, 4, 5, 6]);
        assert!(ebb.is_over());
    }

    #[test]
    fn few_that_come_and_go_are_no_burst() {
        let mut ebb = Ebb::default();
        let rounds = [31, 0, 31, 10, 0, 1000, 600, 1000, 501].map(|connections| (connections, IDLE));
        assert_eq!(given(&mut ebb, rounds), [0_usize; 0]);
    }

    #[test]
    fn a_worker_that_was_busy_and_rests_gives_memory_back_once_however_few_its_connections_are() {
        let mut ebb = Ebb::default();
        let rounds =
            |busy: &[u64]| busy.iter().map(|busy| (1, Duration::from_millis(*busy))).collect::<Vec<_>>();
        assert_eq!(given(&mut ebb, rounds(&[1, 2, 3, 4, 5, 6, 7])), [0_usize; 0], "it was never busy");
        assert_eq!(given(&mut ebb, rounds(&[500, 0, 0, 0, 0, 500, 9, 0, 0])), [0_usize; 0]);
        assert!(!ebb.is_over());
        assert_eq!(given(&mut ebb, rounds(&[0, 0, 0, 0, 0, 0, 0])), [1]);
        assert!(ebb.is_over());
    }
}
