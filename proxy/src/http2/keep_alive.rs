//! Finds a peer that vanished without a word: one that was silent is pinged, and one that stays silent is gone.
//!
//! Whatever the peer sends counts as a sign of life, so that a busy connection is never pinged, and a long queue before
//! the ping's answer is no death. Off unless asked for: the kernel finds most deaths, gRPC servers end connections that
//! ping too often, and a ping wakes who sleeps.

use std::{rc::Rc, time::Duration};

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use super::wire::Observed;
use crate::config::Http2;

/// When to ping, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// Silence before a ping.
    pub(crate) interval: Duration,
    /// Silence after it.
    pub(crate) timeout: Duration,
}

impl Http2 {
    /// How clients are pinged, if at all.
    pub(crate) fn client_rhythm(&self) -> Option<Rhythm> {
        self.client_ping_interval.map(|interval| Rhythm { interval, timeout: self.ping_timeout })
    }

    /// How upstreams are pinged, if at all.
    pub(crate) fn upstream_rhythm(&self) -> Option<Rhythm> {
        self.upstream_ping_interval.map(|interval| Rhythm { interval, timeout: self.ping_timeout })
    }
}

/// Ready when the peer is gone; never where the connection ends in another way. While `is_watched` says no, silence is
/// nothing to worry about.
pub(crate) async fn silence(
    rhythm: Rhythm,
    mut pings: PingPong,
    observed: Rc<Observed>,
    is_watched: impl Fn() -> bool,
) {
    loop {
        let heard = observed.heard();
        sleep(rhythm.interval).await;
        if observed.heard() != heard || !is_watched() {
            continue;
        }
        if pings.send_ping(Ping::opaque()).is_err() {
            return std::future::pending().await;
        }
        loop {
            let heard = observed.heard();
            let pong = std::future::poll_fn(|cx| pings.poll_pong(cx));
            match timeout(rhythm.timeout, pong).await {
                Ok(Ok(_)) => break,
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) if observed.heard() != heard => {}
                Err(_) => return,
            }
        }
    }
}
