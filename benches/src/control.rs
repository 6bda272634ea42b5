//! A control process of the run, and its API as far as the runs use it.

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, ensure};
use bellhop_api::answers::InForce;
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    process::Process,
    seat::{Place, Seat},
};

/// How long control may take for one answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A control process.
#[derive(Debug)]
pub struct Control {
    /// The process.
    pub process: Process,
    /// Where its API is.
    pub address: SocketAddr,
    place: Place,
}

/// Where a control process keeps its objects.
#[derive(Debug, Clone, Copy)]
pub enum Keeps<'a> {
    /// In memory: thousands of sandboxes shall not wait for as many syncs of a disk that nobody measures.
    Memory,
    /// In a directory, so that it survives a restart.
    Directory(&'a Path),
}

impl Control {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start(seat: &Seat, program: &Path, keeps: Keeps<'_>, dir: &Path) -> anyhow::Result<Self> {
        let address = seat.place.free_port().await?;
        Self::start_at(seat, program, keeps, dir, address).await
    }

    /// Starts it at `address`.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start_at(
        seat: &Seat,
        program: &Path,
        keeps: Keeps<'_>,
        dir: &Path,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let args = match keeps {
            Keeps::Memory => ["--store".into(), "memory".into()],
            Keeps::Directory(data) => ["--data-dir".into(), data.into()],
        };
        Self::listen_at(seat, program, args.to_vec(), dir, address).await
    }

    /// Starts it on a free port with `args`.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start_with(
        seat: &Seat,
        program: &Path,
        args: Vec<OsString>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let address = seat.place.free_port().await?;
        Self::listen_at(seat, program, args, dir, address).await
    }

    async fn listen_at(
        seat: &Seat,
        program: &Path,
        mut args: Vec<OsString>,
        dir: &Path,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        args.extend(["--listen".into(), address.to_string().into()]);
        let name = format!("bellhop-control-{}", address.port());
        let mut process = Process::start(&name, seat, program, &args, dir)?;
        process.wait_listening(address).await?;
        Ok(Self { process, address, place: seat.place.clone() })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection to its API.
    ///
    /// # Errors
    /// Where it does not accept.
    pub async fn api(&self) -> anyhow::Result<Api> {
        Api::connect(&self.place, self.address).await
    }
}

/// A connection to the API.
#[derive(Debug)]
pub struct Api {
    sender: SendRequest<Full<Bytes>>,
    host: SocketAddr,
    token: Option<String>,
}

impl Api {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody accepts.
    pub async fn connect(place: &Place, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = place.connect(address).await.context("control does not accept")?;
        stream.set_nodelay(true)?;
        Self::over(stream, address, None).await
    }

    /// Speaks over a connection that stands; `token` says who it is.
    ///
    /// # Errors
    /// Where it is gone.
    pub async fn over<S>(stream: S, host: SocketAddr, token: Option<String>) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host, token })
    }

    /// One exchange; the answer's body.
    ///
    /// # Errors
    /// Where control is silent, gone, or says no.
    pub async fn send(&mut self, method: Method, path: &str, body: &Value) -> anyhow::Result<Bytes> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let mut request = http::Request::builder()
            .method(&method)
            .uri(path)
            .header("host", self.host.to_string())
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body))?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        let answered = tokio::time::timeout(DEADLINE, exchange).await;
        let (status, body) =
            answered.with_context(|| format!("control takes too long for {method} {path}"))??;
        ensure!(
            status.is_success(),
            "control answered {status} to {method} {path}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Applies a sandbox `name` that replaces `items:PORT` by `endpoint`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn sandbox(&mut self, name: &str, port: u16, endpoint: SocketAddr) -> anyhow::Result<()> {
        let manifest = json!({
            "apiVersion": "bellhop.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"overrides": [{"service": "items", "port": port, "endpoints": [endpoint.to_string()]}]},
        });
        let path = format!("/v1/namespaces/default/sandboxes/{name}");
        self.send(Method::PUT, &path, &manifest).await.map(drop)
    }

    /// Applies the service `items`, dialled at `address`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn service(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let manifest = json!({
            "apiVersion": "bellhop.dev/v1alpha1",
            "kind": "Service",
            "metadata": {"name": "items", "namespace": "default"},
            "spec": {"ports": [{"port": address.port()}], "addresses": [address.ip().to_string()]},
        });
        self.send(Method::PUT, "/v1/namespaces/default/services/items", &manifest).await.map(drop)
    }

    /// Deletes the sandbox `name`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn delete_sandbox(&mut self, name: &str) -> anyhow::Result<()> {
        let path = format!("/v1/namespaces/default/sandboxes/{name}");
        self.send(Method::DELETE, &path, &Value::Null).await.map(drop)
    }

    /// Whether `key` is in force.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn in_force(&mut self, key: &str) -> anyhow::Result<InForce> {
        let body = self.send(Method::GET, &format!("/v1/keys/{key}/in-force"), &Value::Null).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// The same, answered once it is, or after ten seconds.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn wait_in_force(&mut self, key: &str) -> anyhow::Result<InForce> {
        let path = format!("/v1/keys/{key}/in-force?waitSeconds=10");
        let body = self.send(Method::GET, &path, &Value::Null).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}
