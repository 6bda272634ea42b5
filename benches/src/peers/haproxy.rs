//! HAProxy, in HTTP mode with an ACL, and in TCP mode.

use std::{fs, net::SocketAddr};

use anyhow::Context;

use super::{KEY, Kind, Peer};
use crate::{process, process::Process, stage::Stage};

const GLOBAL: &str = "global
  nbthread 1
  maxconn 9900
defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
";

pub(super) async fn start_http(stage: &Stage) -> anyhow::Result<Peer> {
    let (http1, http2) = (process::free_port()?, process::free_port()?);
    let (baseline, sandbox) = (stage.ground.baseline, stage.ground.sandbox);
    // `hdr` looks at each comma-separated member: the exact and cheapest match that HAProxy has for this.
    let side = |name: &str, listen: SocketAddr, proto: &str| {
        format!(
            "frontend {name}
  bind {listen} {proto}
  use_backend {name}-sandbox if {{ req.hdr(baggage) -m str routing-key={KEY} }}
  default_backend {name}-baseline
backend {name}-baseline
  server s {baseline} {proto}
backend {name}-sandbox
  server s {sandbox} {proto}
"
        )
    };
    let config =
        format!("{GLOBAL}  mode http\n{}{}", side("http1", http1, ""), side("http2", http2, "proto h2"));
    start(stage, Kind::Haproxy, &config, (http1, http2)).await
}

pub(super) async fn start_tcp(stage: &Stage) -> anyhow::Result<Peer> {
    let listen = process::free_port()?;
    let listener =
        |name: &str, at: SocketAddr, to: SocketAddr| format!("listen {name}\n  bind {at}\n  server s {to}\n");
    let mut config = format!("{GLOBAL}  mode tcp\n{}", listener("l", listen, stage.ground.sandbox));
    let mut tcp = None;
    if let Some(sink) = stage.ground.sink {
        let at = process::free_port()?;
        config.push_str(&listener("opaque", at, sink));
        tcp = Some(at);
    }
    let mut peer = start(stage, Kind::HaproxyTcp, &config, (listen, listen)).await?;
    peer.tcp = tcp;
    Ok(peer)
}

async fn start(
    stage: &Stage,
    kind: Kind,
    config: &str,
    at: (SocketAddr, SocketAddr),
) -> anyhow::Result<Peer> {
    let program = process::find("haproxy").context("haproxy is not installed")?;
    let file = stage.dir().join(format!("{}.cfg", kind.name()));
    fs::write(&file, config)?;
    let args = ["-db".into(), "-f".into(), file.into_os_string()];
    let mut process = Process::start(kind.name(), &stage.proxy_seat(), &program, &args, stage.dir())?;
    process.wait_listening(at.0).await?;
    process.wait_listening(at.1).await?;
    Ok(Peer::of(kind, process, at, &stage.ground))
}
