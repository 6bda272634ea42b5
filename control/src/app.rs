//! The control plane as a whole: opens the store, starts the tasks, serves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    access::{
        Access, IdentityRule,
        audit::{Audit, Written},
        bootstrap::{BootstrapError, bootstrap},
    },
    api,
    author::Author,
    clock::Clock,
    config::{Config, StoreConfig},
    control::Control,
    descriptors, expiry,
    names::{Resolver, SystemLookup},
    replicas::{Alone, Replicas},
    server::{Phase, Server},
    store::{Embedded, OpenError, Store, StoreError},
    telemetry::spans,
    tls::{Tls, TlsError},
};

pub use crate::command::main_from;

/// Whoever shares out connections among replicas has noticed within this that `/readyz` says no.
const HAND_OVER: Duration = Duration::from_secs(3);
/// Connections that are still open this long after the end was asked for are cut.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// What is left of spans and of the audit log is told within this.
const FAREWELL: Duration = Duration::from_secs(1);

/// The other replicas know of this one within this, or it serves what it can without.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// The control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log: {0}")]
    Audit(std::io::Error),
    /// Spans cannot be exported as OpenTelemetry's own variables ask for it.
    #[error("cannot export spans")]
    Spans(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The first token cannot be made.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The program was built without it.
    #[cfg(not(feature = "etcd"))]
    #[error("this program was built without etcd")]
    NoEtcd,
    /// A task died of a fault in the program.
    #[error("cannot open the store: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A control plane that serves. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    control: Arc<Control>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    audit: Option<Audit>,
    written: Written,
    tls: Option<Arc<Tls>>,
    replicas: Arc<dyn Replicas>,
    serving: JoinHandle<()>,
    spans: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What it serves from.
    #[cfg(test)]
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Takes files anew that somebody has changed or moved away.
    pub async fn reload(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen().await;
        }
        if let Some(tls) = &self.tls {
            tls.refresh().await;
        }
    }

    /// Ends watches, lets requests in flight end, also writes whose callers have hung up, and returns when the audit log is
    /// written and the store is closed. Where there are other replicas,
    /// it goes on accepting for a moment, so that nobody who is sent here meanwhile is refused.
    pub async fn shutdown(mut self) {
        self.phase.send_replace(Phase::Leaving);
        if !self.control.fleet.last_known().is_empty() {
            tokio::time::sleep(HAND_OVER).await;
        }
        self.phase.send_replace(Phase::Closed);
        let end = Instant::now() + GRACE;
        if timeout_at(end, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        // each write that goes on, with a connection or without, can write a line of the log until it has
        drop(self.audit.take());
        if timeout_at(end.max(Instant::now() + FAREWELL), self.written.all()).await.is_err() {
            tracing::warn!("a write takes too long: it may be done, and not be in the audit log");
        }
        if let Some(spans) = &mut self.spans
            && timeout(FAREWELL, spans).await.is_err()
        {
            tracing::warn!("the last spans are lost: their receiver takes too long");
        }
        self.tasks.shutdown().await;
        self.replicas.leave().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Closed);
        self.serving.abort();
        if let Some(spans) = &self.spans {
            spans.abort();
        }
    }
}

/// Starts a control plane in this runtime; returns when it listens and can answer.
///
/// # Errors
/// When the store or the address cannot be used.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let listen = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (store, replicas) = open(config.store.clone(), address).await?;
    let control = Control::new(
        store,
        Clock::System,
        config.endpoint_networks.clone(),
        Box::new(SystemLookup),
        replicas,
    );
    serve(config, listener, Arc::new(control.await?)).await
}

/// A store, and who shares it.
type Opened = (Arc<dyn Store>, Arc<dyn Replicas>);

/// Opens the store, for a replica that listens there.
#[cfg_attr(
    not(feature = "etcd"),
    expect(unused_variables, reason = "only a shared store tells others where this one is")
)]
async fn open(store: StoreConfig, address: SocketAddr) -> Result<Opened, StartError> {
    // it reads the disk, and may have to mend a file that was cut by a power failure
    let open: Box<dyn FnOnce() -> _ + Send> = match store {
        StoreConfig::Embedded(directory) => Box::new(move || Embedded::open(&directory)),
        StoreConfig::Memory => Box::new(Embedded::in_memory),
        #[cfg(feature = "etcd")]
        StoreConfig::Etcd(config) => return Ok(Box::pin(open_etcd(*config, address)).await?),
        #[cfg(not(feature = "etcd"))]
        StoreConfig::Etcd(_) => return Err(StartError::NoEtcd),
    };
    Ok((Arc::new(tokio::task::spawn_blocking(open).await??), Arc::new(Alone::default())))
}

#[cfg(feature = "etcd")]
async fn open_etcd(config: crate::config::EtcdConfig, address: SocketAddr) -> Result<Opened, StoreError> {
    let store = Arc::new(crate::store::Etcd::open(config.clone()).await?);
    let presence = crate::store::etcd::Presence::new(Arc::clone(&store), config, address).await?;
    Ok((store, Arc::new(presence)))
}

async fn serve(config: Config, listener: TcpListener, control: Arc<Control>) -> Result<Running, StartError> {
    let (audit, written) = Audit::open(config.access.audit).map_err(StartError::Audit)?;
    let tls = config.tls.map(|tls| Tls::load(tls, control.clock)).transpose()?.map(Arc::new);
    // who has a certificate of an admin needs no first token
    let admins = config.access.identities.iter().any(IdentityRule::is_admin);
    let access = Access::new(!config.access.required, config.access.identities, None);
    if config.access.required && !admins {
        bootstrap(&*control.store, &control.tokens, &config.data_dir, control.clock.now()).await?;
    }
    let address =
        listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
    let replicas = Arc::clone(control.fleet.replicas());
    let resolver = Arc::new(Resolver::default());
    let author = Author { control: Arc::clone(&control), resolver: Arc::clone(&resolver) };
    let (phase, now) = watch::channel(Phase::Serving);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&control).follow());
    tasks.spawn(expiry::run(Arc::clone(&control)));
    if let Some(tls) = &tls {
        tasks.spawn(Arc::clone(tls).run());
    }
    tasks.spawn(Arc::clone(&control).watch_others());
    tasks.spawn(resolver.run(Arc::clone(&control), config.resolve_interval));
    tasks.spawn(Arc::clone(&replicas).run());
    // proxies that came before the others know of this replica would have to be sent away
    timeout(KNOWN_WITHIN, replicas.standing().begun()).await.ok();
    let (queue, exporter) = spans::queue(&config.spans, &control.telemetry.spans)
        .map_err(|error| StartError::Spans(error.into()))?;
    let loopback = address.ip().to_canonical().is_loopback();
    let door = api::Door { loopback, access, audit: audit.clone(), spans: queue.into() };
    let router = api::router(author, door, now.clone());
    let server = Server {
        tls: tls.clone(),
        router,
        limits: config.limits,
        descriptors: descriptors::raise(),
        count: control.telemetry.connections.clone(),
    };
    let serving = tokio::spawn(server.serve(listener, now));
    let spans = exporter.map(|exporter| tokio::spawn(exporter.run()));
    tracing::info!(%address, "control listens");
    let audit = Some(audit);
    Ok(Running { address, control, phase, tasks, audit, written, tls, replicas, serving, spans })
}
