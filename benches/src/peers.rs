//! The peers: how each is configured, started and reached.

mod bellhop;
mod envoy;
mod haproxy;
mod nginx;
mod relay;

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::Serialize;

use crate::{process::Process, stage::Stage};

pub use envoy::home as envoy_home;
pub(crate) use envoy::program as envoy_program;

/// The key that the load carries, and every routing peer routes by.
pub const KEY: &str = "pr-15";

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No proxy: the load tool and the backend alone.
    Direct,
    /// HAProxy in TCP mode: an opaque relay.
    HaproxyTcp,
    /// A bare-hyper relay with Bellhop's worker shape: the floor.
    HyperRelay,
    /// nginx, routing by a `map` of `$http_baggage`.
    Nginx,
    /// HAProxy in HTTP mode, routing by an ACL on the baggage header.
    Haproxy,
    /// Envoy, routing by a header match.
    Envoy,
    /// bellhop-proxy in fixed-upstream mode.
    Bellhop,
}

impl Kind {
    /// Its name in tables and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaproxyTcp => "haproxy-tcp",
            Self::HyperRelay => "hyper-relay",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Bellhop => "bellhop",
        }
    }

    /// Whether it routes by baggage; the others are floors and ceilings.
    #[must_use]
    pub fn routes(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy | Self::Envoy | Self::Bellhop)
    }

    /// Starts it, or tells where it is reached if there is nothing to start.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start(self, stage: &Stage) -> anyhow::Result<Peer> {
        match self {
            Self::Direct => Ok(Peer::alone(self, stage.sandbox)),
            Self::HaproxyTcp => haproxy::start_tcp(stage).await,
            Self::Haproxy => haproxy::start_http(stage).await,
            Self::HyperRelay => relay::start(stage).await,
            Self::Nginx => nginx::start(stage).await,
            Self::Envoy => envoy::start(stage).await,
            Self::Bellhop => bellhop::start(stage).await,
        }
    }
}

/// A running peer. Dropped, its processes end.
#[derive(Debug)]
pub struct Peer {
    /// Which one.
    pub kind: Kind,
    /// Where it serves HTTP/1.
    pub http1: SocketAddr,
    /// Where it serves HTTP/2 with prior knowledge.
    pub http2: SocketAddr,
    /// The measured process; `None` for [`Kind::Direct`].
    pub process: Option<Process>,
    /// Processes that are not measured but must live as long (Bellhop's control plane).
    pub companions: Vec<Process>,
}

impl Peer {
    fn alone(kind: Kind, address: SocketAddr) -> Self {
        Self { kind, http1: address, http2: address, process: None, companions: Vec::new() }
    }

    fn of(kind: Kind, process: Process, http1: SocketAddr, http2: SocketAddr) -> Self {
        Self { kind, http1, http2, process: Some(process), companions: Vec::new() }
    }
}

pub use bellhop::{Bellhop, start_with_sandboxes};
