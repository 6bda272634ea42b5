//! The process's descriptor limit, and how many connections fit under it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections held at once unless told.
const CONNECTIONS: usize = 10_000;
/// Descriptors for everything else: listeners, event queues, the watch, files, the pipe that each worker may have.
const RESERVE: u64 = 100;
/// A connection may take one for its client, one to the baseline and one to a sandbox.
const EACH: u64 = 3;

/// Raises the soft limit as far as it goes; answers with what holds then, `None` for no limit.
pub(super) fn raise() -> Option<u64> {
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

/// How many connections to hold: as asked, else what the limit allows.
pub(super) fn connections(asked: Option<usize>, limit: Option<u64>) -> usize {
    let fit = limit.map(|limit| limit.saturating_sub(RESERVE) / EACH);
    let fit = fit.map_or(usize::MAX, |fit| usize::try_from(fit).unwrap_or(usize::MAX)).max(1);
    match asked {
        Some(asked) => {
            if asked > fit {
                tracing::warn!(
                    asked,
                    fit,
                    "--max-connections is more than the descriptor limit allows; accepting will pause"
                );
            }
            asked
        }
        None => fit.min(CONNECTIONS),
    }
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_fit_under_the_descriptor_limit() {
        assert_eq!(connections(None, None), 10_000);
        assert_eq!(connections(None, Some(1_000_000)), 10_000);
        assert_eq!(connections(None, Some(1024)), 308);
        assert_eq!(connections(None, Some(50)), 1);
        assert_eq!(connections(Some(20_000), Some(1024)), 20_000);
    }
}
