//! How many connections there may be, and how long a peer may take.

use std::time::Duration;

use clap::Args;

use crate::descriptors;

/// Connections at once: proxies hold one or two each.
const CONNECTIONS: usize = 25_000;

/// Flags of this section.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Connections held at once; the next one waits. Proxies hold one or two each. The soft descriptor limit is raised to
    /// the hard one at the start [default: 25000, or the descriptor limit less 100 if that is less]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), env = "BELLHOP_MAX_CONNECTIONS")]
    max_connections: Option<u32>,

    /// Connections of one address (of IPv6: of its /64); further ones are closed at once, so that nobody takes the place of
    /// all others. Raise it where proxies come through one address, such as a load balancer's [default: three
    /// quarters of all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), env = "BELLHOP_MAX_CONNECTIONS_PER_ADDRESS")]
    max_connections_per_address: Option<u32>,
}

/// How many connections there may be, and how long a peer may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; none: what the descriptor limit allows.
    pub connections: Option<usize>,
    /// Connections of one address; none: three quarters of all.
    pub connections_per_address: Option<usize>,
    /// TLS must be spoken within this time.
    pub handshake: Duration,
    /// The whole head of a connection's first request must be there within this time.
    pub head: Duration,
    /// Of HTTP/1: that of each further request, from the end of the answer before.
    pub idle: Duration,
    /// A connection on which no request was served for so long, and none is, is ended.
    pub unused: Duration,
    /// A body must be there within this time.
    pub body: Duration,
    /// How long a peer that speaks HTTP/2 may be silent until it is asked whether it is still there, and then until it
    /// has answered.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            connections_per_address: None,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            unused: Duration::from_secs(300),
            body: Duration::from_secs(30),
            silence: Duration::from_secs(20),
        }
    }
}

impl Flags {
    pub(super) fn resolve(self) -> Limits {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Limits {
            connections: self.max_connections.map(count),
            connections_per_address: self.max_connections_per_address.map(count),
            ..Limits::default()
        }
    }
}

impl Limits {
    /// Connections at once under a descriptor limit, and those of one address.
    pub(crate) fn counts(&self, limit: Option<u64>) -> (usize, usize) {
        let fit = descriptors::fit(limit);
        let all = match self.connections {
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
        };
        (all, self.connections_per_address.unwrap_or((all / 4 * 3).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_under_the_descriptor_limit_and_one_address_gets_three_quarters() {
        let default = Limits::default();
        assert_eq!(default.counts(None), (25_000, 18_750));
        assert_eq!(default.counts(Some(1_024)), (924, 693));
        assert_eq!(default.counts(Some(50)), (1, 1));
        let told = Limits { connections: Some(50_000), connections_per_address: Some(7), ..default };
        assert_eq!(told.counts(Some(1_024)), (50_000, 7));
    }
}
