//! A small service of the demo: it says who it is, calls the next one in the chain, and passes `baggage` on, as
//! OpenTelemetry's context propagation would.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinHandle};

/// Longest answer that one service reads from the next, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// What a service says of itself, and of those it called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Name of the service.
    pub(crate) service: String,
    /// Its version: `baseline`, or the name of a sandbox.
    pub(crate) version: String,
    /// The call that it made to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) called: Option<Box<Call>>,
}

/// One call to another service, as its caller saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Status code.
    pub(crate) status: u16,
    /// What the proxy says of its decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_status: Option<String>,
    /// What the service said; absent where the answer was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
}

/// Who a service is, and whom it calls.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// Name of the service.
    pub(crate) service: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Where the next service's proxy listens.
    pub(crate) next: Option<SocketAddr>,
}

/// A running service; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Service {
    /// Starts a service on a free port of the loopback address.
    ///
    /// # Errors
    /// When no port can be had.
    pub(crate) async fn start(role: Role) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let worker = Arc::new(Worker { role, caller: Caller::new() });
        let accepting = tokio::spawn(async move {
            // A failed accept (a caller that has left already) is that caller's matter.
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, worker.clone()));
                }
            }
        });
        Ok(Self { address, accepting })
    }
}

struct Worker {
    role: Role,
    caller: Caller,
}

async fn serve(stream: tokio::net::TcpStream, worker: Arc<Worker>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let worker = worker.clone();
        async move { Ok::<_, Infallible>(worker.answer(request.headers()).await) }
    });
    // A connection that breaks has nobody left to tell.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

impl Worker {
    async fn answer(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let called = match self.role.next {
            Some(next) => Some(Box::new(self.caller.call(next, asked.get_all("baggage")).await)),
            None => None,
        };
        let answer =
            Answer { service: self.role.service.to_owned(), version: self.role.version.to_owned(), called };
        let body = serde_json::to_vec_pretty(&answer).unwrap_or_default();
        let mut response = Response::new(Full::new([&body[..], b"\n"].concat().into()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// Calls a service through its proxy.
#[derive(Debug)]
pub(crate) struct Caller(Client<HttpConnector, Full<Bytes>>);

impl Caller {
    /// Makes a caller with connections of its own.
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Calls whoever listens at `address`, and passes the caller's baggage on.
    pub(crate) async fn call<'a>(
        &self,
        address: SocketAddr,
        baggage: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Call {
        tokio::time::timeout(Duration::from_secs(10), self.try_call(address, baggage))
            .await
            .ok()
            .flatten()
            .unwrap_or(Call { status: StatusCode::BAD_GATEWAY.as_u16(), proxy_status: None, answer: None })
    }

    async fn try_call<'a>(
        &self,
        address: SocketAddr,
        baggage: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Option<Call> {
        let mut request = Request::get(format!("http://{address}/")).body(Full::default()).ok()?;
        for value in baggage {
            request.headers_mut().append("baggage", value.clone());
        }
        let response = self.0.request(request).await.ok()?;
        let status = response.status().as_u16();
        let proxy_status =
            response.headers().get("proxy-status").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.ok()?.to_bytes();
        Some(Call { status, proxy_status, answer: serde_json::from_slice(&body).ok() })
    }
}
