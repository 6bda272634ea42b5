//! How long to wait before the next attempt.

use std::time::Duration;

/// The first wait, and the last. The cap is low on purpose: a proxy that waits longer than 2 s could not be back within
/// 5 s of control's return, and one attempt in 2 s costs control next to nothing.
const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(2);

/// Waits that double from one failure to the next, each spread over its upper half, so that the proxies of a control
/// plane that was away do not come back in one instant.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Control did what it should: the next wait is a short one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait; `asked` is what control itself asked for, obeyed up to the cap.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = FIRST.saturating_mul(1_u32 << self.failures.min(10)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default().min(CAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_spread_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        for full in [100, 200, 400, 800, 1600, 2000, 2000, 2000] {
            let wait = backoff.next(None);
            assert!(wait <= Duration::from_millis(full), "{wait:?} of {full}");
            assert!(wait >= Duration::from_millis(full / 2), "{wait:?} of {full}");
        }
        (0..100).for_each(|_| assert!(backoff.next(None) <= CAP));
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        assert!(backoff.next(Some(Duration::from_secs(3600))) <= CAP);
        assert!(Backoff::default().next(Some(Duration::from_secs(1))) >= Duration::from_secs(1));
        let mut some = Backoff { failures: 9 };
        let waits: std::collections::HashSet<_> = (0..20).map(|_| some.next(None)).collect();
        assert!(waits.len() > 10, "no two proxies wait alike: {waits:?}");
    }
}
