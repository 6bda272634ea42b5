//! Keep-alive of HTTP/2 connections.

use std::time::Duration;

use serde::Serialize;

use super::{faults::Faults, limits};

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "HTTP/2")]
pub(super) struct Flags {
    /// Pings an HTTP/2 client that was silent for so long; one that does not answer in --ping-timeout is gone, and its
    /// streams are reset. Finds clients that vanished without a word; off, because it wakes those that sleep, and
    /// --idle-timeout ends them too [default: off]
    #[arg(long, env = "BELLHOP_CLIENT_PING_INTERVAL", hide_env_values = true, value_name = "TIME")]
    client_ping_interval: Option<String>,
    /// Pings an HTTP/2 upstream that has requests in flight and was silent for so long; one that does not answer in
    /// --ping-timeout has failed them. Off, because gRPC servers end connections that ping more often than they allow
    /// (5m by default) [default: off]
    #[arg(long, env = "BELLHOP_UPSTREAM_PING_INTERVAL", hide_env_values = true, value_name = "TIME")]
    upstream_ping_interval: Option<String>,
    /// Time for the answer to a ping, and for anything else to be heard [default: 20s]
    #[arg(long, env = "BELLHOP_PING_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    ping_timeout: Option<String>,
}

/// Keep-alive of HTTP/2 connections.
#[derive(Debug, Clone, Serialize)]
pub struct Http2 {
    /// How long a client may be silent before it is pinged; none is for ever.
    #[serde(serialize_with = "limits::in_words_or_off")]
    pub client_ping_interval: Option<Duration>,
    /// How long an upstream with requests in flight may be silent before it is pinged; none is for ever.
    #[serde(serialize_with = "limits::in_words_or_off")]
    pub upstream_ping_interval: Option<Duration>,
    /// Time for the answer to a ping.
    #[serde(serialize_with = "limits::in_words")]
    pub ping_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Flags::default().resolve(&mut Faults::default())
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Http2 {
        Http2 {
            client_ping_interval: faults.time_or_off("client-ping-interval", self.client_ping_interval),
            upstream_ping_interval: faults.time_or_off("upstream-ping-interval", self.upstream_ping_interval),
            ping_timeout: faults
                .time("ping-timeout", self.ping_timeout.as_ref())
                .unwrap_or(Duration::from_secs(20)),
        }
    }
}
