//! bellhop-proxy in fixed-upstream mode, its routes coming from a real control process.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use super::{KEY, Kind, Peer};
use crate::{process, process::Process, stage::Stage};

/// The destination that the proxy's upstream stands for.
const DESTINATION: &str = "items.default:8080";
/// How long the control plane may take for one sandbox.
const APPLY_DEADLINE: Duration = Duration::from_secs(10);

/// A running control plane and what a proxy needs to use it.
#[derive(Debug)]
pub struct Bellhop {
    control: Process,
    control_address: SocketAddr,
    program: PathBuf,
}

impl Bellhop {
    /// Starts a control process with the sandbox [`KEY`], and `sandboxes` others.
    ///
    /// # Errors
    /// Where it does not start or refuses a sandbox.
    pub async fn control(stage: &Stage, sandboxes: usize) -> anyhow::Result<Self> {
        let program = stage.programs.control.as_ref().context("no bellhop-control")?;
        let address = process::free_port()?;
        // In memory: thousands of sandboxes shall not wait for as many syncs of a disk that nobody measures.
        let args = ["--listen", &address.to_string(), "--store", "memory"].map(OsString::from);
        let mut control = Process::start("bellhop-control", stage.load_core, program, &args, stage.dir())?;
        control.wait_listening(address).await?;
        let mut api = connect(address).await?;
        apply(&mut api, address, KEY, stage.sandbox).await?;
        for n in 0..sandboxes {
            apply(&mut api, address, &format!("sandbox-{n}"), stage.sandbox).await?;
        }
        let program = stage.programs.bellhop.clone().context("no bellhop-proxy")?;
        Ok(Self { control, control_address: address, program })
    }

    /// Starts a proxy on `listen`; `name` names its log.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn proxy(
        &self,
        stage: &Stage,
        name: &str,
        listen: SocketAddr,
        admin: SocketAddr,
    ) -> anyhow::Result<Process> {
        let args = [
            ("--listen", listen.to_string()),
            ("--upstream", stage.baseline.to_string()),
            ("--destination", DESTINATION.to_owned()),
            ("--control", format!("http://{}", self.control_address)),
            ("--admin", admin.to_string()),
            ("--workers", "1".to_owned()),
            // No peer logs requests either; README.md tells what the log costs.
            ("--access-log", "off".to_owned()),
        ];
        let mut args: Vec<OsString> =
            args.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]).collect();
        args.push("--allow-loopback-endpoints".into());
        Process::start(name, stage.proxy_core, &self.program, &args, stage.dir())
    }

    /// The control process, for whoever keeps it alive.
    #[must_use]
    pub fn into_control(self) -> Process {
        self.control
    }
}

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    start_with_sandboxes(stage, 0).await
}

/// Starts Bellhop with `sandboxes` besides the one that is used.
///
/// # Errors
/// Where a process does not start.
pub async fn start_with_sandboxes(stage: &Stage, sandboxes: usize) -> anyhow::Result<Peer> {
    let bellhop = Bellhop::control(stage, sandboxes).await?;
    let listen = process::free_port()?;
    let mut process = bellhop.proxy(stage, Kind::Bellhop.name(), listen, process::free_port()?)?;
    process.wait_listening(listen).await?;
    let mut peer = Peer::of(Kind::Bellhop, process, listen, listen);
    peer.companions.push(bellhop.into_control());
    Ok(peer)
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn apply(
    api: &mut SendRequest<Full<Bytes>>,
    host: SocketAddr,
    name: &str,
    endpoint: SocketAddr,
) -> anyhow::Result<()> {
    let manifest = json!({
        "apiVersion": "bellhop.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"overrides": [{"service": "items", "port": 8080, "endpoints": [endpoint.to_string()]}]},
    });
    let request = http::Request::put(format!("/v1/namespaces/default/sandboxes/{name}"))
        .header("host", host.to_string())
        .header("content-type", "application/json")
        .body(Full::from(serde_json::to_vec(&manifest)?))?;
    api.ready().await?;
    let response = tokio::time::timeout(APPLY_DEADLINE, api.send_request(request))
        .await
        .with_context(|| format!("control takes too long for sandbox {name}"))??;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success(),
        "control answered {status} to sandbox {name}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}
