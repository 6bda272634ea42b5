//! The process's descriptor limit, and how many connections fit under it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: the store, logs, questions to other replicas, names to be resolved.
const RESERVE: u64 = 100;

/// Raises the soft limit as far as it goes: a connection takes a descriptor, and proxies hold one or two each. Answers
/// with what holds then, `None` for no limit.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, ?maximum, "cannot raise the descriptor limit");
            current
        }
    }
}

/// How many connections fit under a limit: at least one.
pub(crate) fn fit(limit: Option<u64>) -> usize {
    let fit = limit.map(|limit| usize::try_from(limit.saturating_sub(RESERVE)).unwrap_or(usize::MAX));
    fit.unwrap_or(usize::MAX).max(1)
}
