//! What all threads of one proxy share.

use std::{io, sync::Arc, time::Instant};

use bellhop_api::DnsLabel;
use bellhop_route::Carriers;

use crate::{
    config::Config,
    connection::Arrival,
    counters::Counters,
    dial::OwnDials,
    drain::{Drain, Phase},
    handover::Succession,
    listen::{OwnAddresses, Places},
    overload::Overload,
    routes::Tables,
    telemetry::Telemetry,
};

/// Everything that outlives a connection. Requests read from it and never wait for it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The effective configuration.
    pub(crate) config: Config,
    /// Where a routing key rides.
    pub(crate) carriers: Carriers,
    /// The addresses that this proxy itself listens on: never dialled.
    pub(crate) own: OwnAddresses,
    /// What it dialled of late, where that could be led back to it.
    pub(crate) own_dials: Option<OwnDials>,
    /// What happened to connections.
    pub(crate) counters: Counters,
    /// The routes in force.
    pub(crate) tables: Tables,
    /// What is counted and logged of requests.
    pub(crate) telemetry: Telemetry,
    /// Whether memory runs short.
    pub(crate) overload: Overload,
    /// When it began.
    pub(crate) started: Instant,
    /// How far the end of the proxy has come.
    pub(crate) drain: Drain,
    /// Who comes before and after this proxy.
    pub(crate) succession: Succession,
    /// How many connections are held.
    pub(crate) places: Arc<Places>,
}

/// A handle on [`Shared`]; a worker holds one, and lends it to its connections.
pub(crate) type SharedRef = Arc<Shared>;

impl Shared {
    /// The state of a proxy that serves nobody yet. One that `follows` another waits until it is told to open.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn new(config: Config, follows: bool) -> io::Result<Self> {
        let places = Places::new(config.limits.max_connections.unwrap_or(usize::MAX))?;
        let namespace = config.routing.namespace.parse().unwrap_or_else(|_| DnsLabel::default_namespace());
        let telemetry = Telemetry::new(&config, io::stdout());
        Ok(Self {
            carriers: carriers(&config),
            overload: Overload::new(config.limits.max_memory),
            own_dials: (!config.listeners.outbound.is_empty()).then(OwnDials::new),
            config,
            own: OwnAddresses::default(),
            counters: Counters::default(),
            tables: Tables::new(namespace),
            telemetry,
            started: Instant::now(),
            drain: Drain::default(),
            succession: Succession::new(!follows),
            places: Arc::new(places),
        })
    }

    /// Begins to drain, or ends at once; SIGTERM, `POST /drain` and [`Running`](crate::app::Running) come here.
    pub(crate) fn advance(&self, phase: Phase) {
        if self.drain.advance(phase) {
            tracing::info!(?phase, connections = self.places.held(), "the proxy's end draws nearer");
        }
        self.places.ring();
    }

    /// Begins to accept.
    pub(crate) fn open(&self) {
        self.succession.open();
        self.places.ring();
    }

    /// Whether a keyed request on such a connection could reach a sandbox.
    pub(crate) fn has_route(&self, arrival: &Arrival) -> bool {
        arrival.place().is_some_and(|place| self.tables.current().standing(&place).is_some())
    }
}

/// The configuration has checked them.
fn carriers(config: &Config) -> Carriers {
    let limits = &config.limits;
    Carriers::new(config.routing.carriers.iter().filter_map(|carrier| carrier.parse().ok()))
        .with_limits(limits.max_baggage_bytes, limits.max_baggage_members)
}
