//! The way to etcd: one endpoint at a time, proven before it is used; the next one where it fails.
//!
//! A client of one endpoint, rather than one that spreads its requests: a member that is cut off from its leader answers
//! slowly or with errors, and must not meet every third request.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Error, GetOptions, Identity, KvClient, TlsOptions};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::error::Fault;
use crate::config::EtcdConfig;

const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// A connection is proven within this, or the next endpoint is tried.
const PROVEN_WITHIN: Duration = Duration::from_secs(2);
/// A quiet connection is looked after; etcd takes more than one ping in 5 s for an attack.
const PING: Duration = Duration::from_secs(6);
const PONG: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// A page of a list, or what one commit did, is smaller.
const LARGEST_ANSWER: usize = 1 << 30;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    config: EtcdConfig,
    proven: Mutex<Option<Proven>>,
    /// Which endpoint is tried next.
    next: AtomicUsize,
    /// Counts connections; who holds an older one should leave it.
    turn: watch::Sender<u64>,
}

/// A connection that has answered.
#[derive(Clone)]
pub(super) struct Proven {
    pub(super) client: Client,
    pub(super) endpoint: Arc<str>,
    pub(super) turn: u64,
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proven").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A client for requests that may be answered with much.
pub(super) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_ANSWER)
}

impl Link {
    pub(super) fn new(config: EtcdConfig) -> Result<Self, Fault> {
        let link =
            Self { config, proven: Mutex::default(), next: AtomicUsize::new(0), turn: watch::Sender::new(0) };
        // what is wrong with a file is told at the start
        link.options()?;
        Ok(link)
    }

    /// Wakes when another connection has taken the place of an older one.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.turn.subscribe()
    }

    /// A connection that has answered once.
    ///
    /// # Errors
    /// When this try failed; the next one goes to the next endpoint.
    pub(super) async fn proven(&self) -> Result<Proven, Fault> {
        let mut held = self.proven.lock().await;
        if let Some(proven) = &*held {
            return Ok(proven.clone());
        }
        let endpoints = &self.config.endpoints;
        let at = self.next.load(Ordering::Relaxed) % endpoints.len().max(1);
        let endpoint = endpoints.get(at).cloned().unwrap_or_default();
        match timeout(PROVEN_WITHIN, Box::pin(self.prove(&endpoint))).await {
            Ok(Ok(client)) => {
                let turn = *self.turn.borrow() + 1;
                let proven = Proven { client, endpoint: endpoint.into(), turn };
                *held = Some(proven.clone());
                self.turn.send_replace(turn);
                tracing::debug!(endpoint = %proven.endpoint, "etcd answers");
                Ok(proven)
            }
            Ok(Err(fault)) => {
                self.next.fetch_add(1, Ordering::Relaxed);
                Err(fault)
            }
            Err(_) => {
                self.next.fetch_add(1, Ordering::Relaxed);
                Err(Fault::Silent { endpoint, within: PROVEN_WITHIN })
            }
        }
    }

    /// Connects, authenticates, and reads something that only a member with a leader can answer.
    async fn prove(&self, endpoint: &str) -> Result<Client, Fault> {
        let options = self.options()?;
        let failed = |source| Fault::call(endpoint, source);
        let client = Client::connect([endpoint], Some(options)).await.map_err(failed)?;
        let look = GetOptions::new().with_count_only();
        client
            .kv_client()
            .get(super::Keys::new(&self.config.prefix).head(), Some(look))
            .await
            .map_err(failed)?;
        Ok(client)
    }

    fn options(&self) -> Result<ConnectOptions, Fault> {
        let read = |path: &std::path::Path| {
            let failed = |source| Fault::File { path: path.display().to_string(), source };
            std::fs::read(path).map_err(failed)
        };
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECTS_WITHIN)
            .with_keep_alive(PING, PONG)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if self.config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            let mut tls = TlsOptions::new();
            tls = match &self.config.ca_file {
                Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
                None => tls.with_native_roots(),
            };
            if let Some((cert, key)) = &self.config.identity {
                tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
            }
            options = options.with_tls(tls);
        }
        if let Some((user, path)) = &self.config.user {
            let password = String::from_utf8_lossy(&read(path)?).trim_end().to_owned();
            options = options.with_user(user, password);
        }
        Ok(options)
    }

    /// This connection failed; the next one goes to the next endpoint.
    pub(super) async fn failed(&self, proven: &Proven) {
        let mut held = self.proven.lock().await;
        if held.as_ref().is_some_and(|held| held.turn == proven.turn) {
            *held = None;
            self.next.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(endpoint = %proven.endpoint, "leaving this etcd endpoint");
        }
    }

    /// Asks something that may be asked twice, until it is answered or `within` is over.
    pub(super) async fn ask<T, F>(&self, within: Duration, call: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.until(within, call, |_| true).await
    }

    /// Tells something that must be done once: tried again only where it was certainly not done.
    pub(super) async fn tell<T, F>(&self, within: Duration, call: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.until(within, call, Fault::is_certain).await
    }

    async fn until<T, F>(
        &self,
        within: Duration,
        call: impl Fn(Client) -> F,
        again: impl Fn(&Fault) -> bool,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + within;
        let mut last = None;
        loop {
            let fault = match timeout_at(deadline, self.proven()).await {
                Ok(Ok(proven)) => {
                    let outcome = match timeout_at(deadline, Box::pin(call(proven.client.clone()))).await {
                        Ok(outcome) => outcome.map_err(|source| Fault::call(&proven.endpoint, source)),
                        Err(_) => Err(Fault::Silent { endpoint: proven.endpoint.to_string(), within }),
                    };
                    let Err(fault) = outcome else { return outcome };
                    if fault.is_passing() {
                        self.failed(&proven).await;
                    }
                    if !fault.is_passing() || !again(&fault) {
                        return Err(fault);
                    }
                    fault
                }
                // nothing was sent yet
                Ok(Err(fault)) if fault.is_passing() => fault,
                Ok(Err(fault)) => return Err(fault),
                Err(_) => {
                    let endpoint = self.config.endpoints.join(", ");
                    return Err(last.unwrap_or(Fault::Silent { endpoint, within }));
                }
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(fault);
            }
            last = Some(fault);
            sleep(PAUSE).await;
        }
    }
}
