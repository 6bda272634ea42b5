//! The control plane as a whole: opens the store, starts the tasks, serves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    access::{
        Access, IdentityRule,
        audit::Audit,
        bootstrap::{BootstrapError, bootstrap},
    },
    api,
    author::Author,
    clock::Clock,
    config::{Config, StoreConfig},
    control::Control,
    expiry,
    names::{Resolver, SystemLookup},
    server,
    store::{Embedded, OpenError, Store, StoreError},
    tls::{Tls, TlsError},
};

pub use crate::command::main_from;

/// Connections that are still open this long after the end was asked for are cut.
const GRACE: Duration = Duration::from_secs(5);

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
    closing: watch::Sender<bool>,
    tasks: JoinSet<()>,
    audit: Audit,
    tls: Option<Arc<Tls>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes files anew that somebody has changed or moved away.
    pub async fn reload(&self) {
        self.audit.reopen().await;
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
    }

    /// Ends watches, lets requests in flight end, and returns when the store is closed.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        if tokio::time::timeout(GRACE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        self.tasks.shutdown().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.serving.abort();
    }
}

/// Starts a control plane in this runtime; returns when it listens and can answer.
///
/// # Errors
/// When the store or the address cannot be used.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let store = open(config.store.clone()).await?;
    start_with(config, store, Clock::System).await
}

async fn open(store: StoreConfig) -> Result<Arc<dyn Store>, StartError> {
    // it reads the disk, and may have to mend a file that was cut by a power failure
    let open: Box<dyn FnOnce() -> _ + Send> = match store {
        StoreConfig::Embedded(directory) => Box::new(move || Embedded::open(&directory)),
        StoreConfig::Memory => Box::new(Embedded::in_memory),
        #[cfg(feature = "etcd")]
        StoreConfig::Etcd(config) => return Ok(Arc::new(Box::pin(crate::store::Etcd::open(config)).await?)),
        #[cfg(not(feature = "etcd"))]
        StoreConfig::Etcd(_) => return Err(StartError::NoEtcd),
    };
    Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
}

pub(crate) async fn start_with(
    config: Config,
    store: Arc<dyn Store>,
    clock: Clock,
) -> Result<Running, StartError> {
    let control = Control::new(store, clock, config.endpoint_networks, Box::new(SystemLookup)).await?;
    let control = Arc::new(control);
    let audit = Audit::open(config.access.audit).map_err(StartError::Audit)?;
    let tls = config.tls.map(|tls| Tls::load(tls, clock)).transpose()?.map(Arc::new);
    // who has a certificate of an admin needs no first token
    let admins = config.access.identities.iter().any(IdentityRule::is_admin);
    let access = Access::new(!config.access.required, config.access.identities, None);
    if config.access.required && !admins {
        bootstrap(&*control.store, &control.tokens, &config.data_dir, clock.now()).await?;
    }
    let listen = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let resolver = Arc::new(Resolver::default());
    let author = Author { control: Arc::clone(&control), resolver: Arc::clone(&resolver) };
    let (closing, closed) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&control).follow());
    tasks.spawn(expiry::run(Arc::clone(&control)));
    if let Some(tls) = &tls {
        tasks.spawn(Arc::clone(tls).run());
    }
    tasks.spawn(resolver.run(control, config.resolve_interval));
    let door =
        api::Door { loopback: address.ip().to_canonical().is_loopback(), access, audit: audit.clone() };
    let router = api::router(author, door, closed.clone());
    let serving = tokio::spawn(server::serve(listener, tls.clone(), router, closed));
    tracing::info!(%address, "control listens");
    Ok(Running { address, closing, tasks, audit, tls, serving })
}
