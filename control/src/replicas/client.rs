//! How one replica speaks to another: the one place that knows by what it is recognised.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;

/// What replicas ask each other begins so.
pub(crate) const PATH: &str = "/internal/v1";
/// The field that carries the secret which all replicas of a store know.
pub(crate) const SECRET: &str = "bellhop-replica-secret";
/// 100,000 proxies take less.
const LARGEST_ANSWER: usize = 256 << 20;

/// Asks other replicas.
#[derive(Debug)]
pub(crate) struct PeerClient(Client<HttpConnector, Empty<Bytes>>);

impl Default for PeerClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self(client)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No request can be made of this.
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// No connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
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
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        path: &str,
        secret: &str,
    ) -> Result<T, PeerError> {
        let request = Request::get(format!("{url}{path}"))
            .header(SECRET, secret)
            .header(header::USER_AGENT, concat!("bellhop-control/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        let response = self.0.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(PeerError::Status(response.status()));
        }
        let body =
            Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.map_err(PeerError::Body)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}
