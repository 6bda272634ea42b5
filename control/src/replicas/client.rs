//! How one replica speaks to another: the one place that knows by what it is recognised.
//!
//! Where this replica is reached over TLS, so must the others be: the secret is not sent in the clear to one that was told
//! otherwise.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bellhop_client::{BaseUrl, BaseUrlError, Credentials, Reach, SendError, Source, Timing};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::de::DeserializeOwned;

use super::Replica;
use crate::config::PeerTrust;

/// What replicas ask each other begins so.
pub(crate) const PATH: &str = "/internal/v1";
/// The field that carries the secret which all replicas of a store know.
pub(crate) const SECRET: &str = "bellhop-replica-secret";
/// 100,000 proxies take less.
const LARGEST_ANSWER: usize = 256 << 20;
const TIMING: Timing = Timing { connect: Duration::from_secs(1), idle: Duration::from_secs(30) };

/// Asks other replicas.
#[derive(Debug)]
pub(crate) struct PeerClient {
    peers: PeerTrust,
    /// By URL.
    reaches: Mutex<HashMap<String, Arc<Reach>>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Its address is none.
    #[error("{0:?} is no address of a replica; {1}")]
    Address(String, BaseUrlError),
    /// It is reached in another way than this one.
    #[error("it is reached by {0}, and this replica by another scheme: it is not asked")]
    Scheme(BaseUrl),
    /// No request can be made of this.
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// No connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] SendError),
    /// It does not want to, or cannot.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The answer broke off, or is too long.
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The answer is none.
    #[error("the answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

impl PeerClient {
    pub(super) fn new(peers: PeerTrust) -> Self {
        Self { peers, reaches: Mutex::default() }
    }

    fn reaches(&self) -> MutexGuard<'_, HashMap<String, Arc<Reach>>> {
        self.reaches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets connections go to replicas that are there no more.
    pub(super) fn keep(&self, living: &[Replica]) {
        self.reaches().retain(|url, _| living.iter().any(|replica| replica.url == *url));
    }

    fn reach(&self, url: &str) -> Result<Arc<Reach>, PeerError> {
        let mut reaches = self.reaches();
        if let Some(reach) = reaches.get(url) {
            return Ok(Arc::clone(reach));
        }
        let base: BaseUrl = url.parse().map_err(|error| PeerError::Address(url.to_owned(), error))?;
        let ca = match &self.peers {
            PeerTrust::Plain if base.is_tls() => return Err(PeerError::Scheme(base)),
            PeerTrust::Tls(_) if !base.is_tls() => return Err(PeerError::Scheme(base)),
            PeerTrust::Plain => None,
            PeerTrust::Tls(ca) => ca.clone(),
        };
        let credentials = Credentials { ca: ca.map(Source::File), ..Credentials::default() };
        let reach = Arc::new(Reach::new(base, credentials, TIMING));
        reaches.insert(url.to_owned(), Arc::clone(&reach));
        Ok(reach)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        path: &str,
        secret: &str,
    ) -> Result<T, PeerError> {
        let reach = self.reach(url)?;
        let request = Request::get(format!("{}{path}", reach.url()))
            .header(SECRET, secret)
            .header(header::USER_AGENT, concat!("bellhop-control/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())?;
        let response = reach.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(PeerError::Status(response.status()));
        }
        let body =
            Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(PeerError::Body)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}
