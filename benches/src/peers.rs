//! The peers: how each is configured, started and reached.

mod bellhop;
mod envoy;
mod haproxy;
mod nginx;
mod relay;

use std::{net::SocketAddr, sync::Arc};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{ground::Ground, process::Process, stage::Stage, workload::Workload};

pub use envoy::home as envoy_home;
pub(crate) use envoy::program as envoy_program;

/// The key that the load carries, and every routing peer routes by.
pub const KEY: &str = "pr-15";

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
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
    /// The same, with the access log that it writes unless told otherwise.
    BellhopLogged,
    /// bellhop-proxy intercepting, in a network of its own.
    BellhopIntercepted,
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
            Self::BellhopLogged => "bellhop-logged",
            Self::BellhopIntercepted => "bellhop-intercepted",
        }
    }

    /// Whether it routes by baggage; the others are floors and ceilings.
    #[must_use]
    pub fn routes(self) -> bool {
        !matches!(self, Self::Direct | Self::HaproxyTcp | Self::HyperRelay)
    }

    /// Whether it is a Bellhop.
    #[must_use]
    pub fn is_bellhop(self) -> bool {
        matches!(self, Self::Bellhop | Self::BellhopLogged | Self::BellhopIntercepted)
    }

    /// Why it cannot serve `workload`; `None` where it can.
    #[must_use]
    pub fn cannot(self, workload: Workload) -> Option<&'static str> {
        match (self, workload) {
            (Self::HyperRelay, Workload::WebSocket) => Some("it has no upgrades"),
            (Self::HyperRelay, Workload::Tcp) => Some("it speaks HTTP alone"),
            (Self::Haproxy, Workload::Tcp) => Some("a mode of its own: haproxy-tcp"),
            (Self::BellhopLogged, Workload::Tcp) => Some("opaque streams make no line of the access log"),
            (Self::Nginx, Workload::Tcp) => Some("needs the stream module, a package of its own"),
            _ => None,
        }
    }

    /// Starts it, or tells where it is reached if there is nothing to start.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start(self, stage: &Stage) -> anyhow::Result<Peer> {
        match self {
            Self::Direct => Ok(Peer::alone(stage)),
            Self::HaproxyTcp => haproxy::start_tcp(stage).await,
            Self::Haproxy => haproxy::start_http(stage).await,
            Self::HyperRelay => relay::start(stage).await,
            Self::Nginx => nginx::start(stage).await,
            Self::Envoy => envoy::start(stage).await,
            Self::Bellhop => bellhop::start(stage).await,
            Self::BellhopLogged => bellhop::start_logged(stage).await,
            Self::BellhopIntercepted => bellhop::start_intercepted(stage).await,
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
    /// Where opaque streams pass to the ground's sink.
    pub tcp: Option<SocketAddr>,
    /// The measured process; `None` for [`Kind::Direct`].
    pub process: Option<Process>,
    /// The process that is measured for opaque streams, where it is another one.
    pub tcp_process: Option<Process>,
    /// What it stands on.
    pub ground: Arc<Ground>,
    /// Processes that are not measured but must live as long (Bellhop's control plane).
    pub companions: Vec<Process>,
}

impl Peer {
    fn alone(stage: &Stage) -> Self {
        let ground = Arc::clone(&stage.ground);
        Self {
            kind: Kind::Direct,
            http1: ground.sandbox,
            http2: ground.sandbox,
            tcp: ground.sink,
            process: None,
            tcp_process: None,
            ground,
            companions: Vec::new(),
        }
    }

    /// `at`: where it serves HTTP/1 and HTTP/2.
    pub(crate) fn of(
        kind: Kind,
        process: Process,
        at: (SocketAddr, SocketAddr),
        ground: &Arc<Ground>,
    ) -> Self {
        Self {
            kind,
            http1: at.0,
            http2: at.1,
            tcp: None,
            process: Some(process),
            tcp_process: None,
            ground: Arc::clone(ground),
            companions: Vec::new(),
        }
    }

    /// The process that is measured under `workload`.
    #[must_use]
    pub fn measured(&self, workload: Workload) -> Option<&Process> {
        match workload {
            Workload::Tcp => self.tcp_process.as_ref().or(self.process.as_ref()),
            _ => self.process.as_ref(),
        }
    }
}

pub use bellhop::{Bellhop, Fixed, start_fixed, start_with_sandboxes};
pub(crate) use bellhop::{PORT, cannot_intercept, unix};
