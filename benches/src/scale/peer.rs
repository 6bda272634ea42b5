//! One peer: memory idle, busy, loaded and for each idle connection; start-up; size.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::{idle, start_up};
use crate::{
    cli,
    measure::{Method, memory, statistics::Summary},
    peers::{Kind, Peer, start_with_sandboxes},
    stage::Stage,
    verify,
    workload::{Files, Workload},
};

/// A process's memory is read this long after its last work.
const SETTLE: Duration = Duration::from_secs(2);
/// Length of the busy window.
const BUSY: Duration = Duration::from_secs(2);

/// One peer's.
#[derive(Debug, Serialize)]
pub struct Scaled {
    /// Which one.
    pub kind: Kind,
    /// PSS after a handful of requests.
    pub idle_kib: u64,
    /// PSS under 64 busy HTTP/1 connections.
    pub busy_kib: u64,
    /// PSS with the sandboxes loaded; Bellhop alone.
    pub loaded_kib: Option<u64>,
    /// PSS for each idle HTTP/1 connection that has served a request.
    pub connection_kib: f64,
    /// From the start of the process until it is ready (Bellhop: `/readyz`, its routes loaded), or accepts.
    pub start_ms: Summary,
    /// Size of the program; `None` where it shares libraries with the system.
    pub binary_kib: Option<u64>,
}

pub(super) async fn scale(kind: Kind, options: &cli::Scale, stage: &Stage) -> anyhow::Result<Scaled> {
    let files = Files::write(stage.dir())?;
    let method = Method { stage, files: &files, window: BUSY };
    let peer = start(kind, stage).await?;
    let idle_kib = settled(&peer).await?;
    let busy = method.measure(&peer, Workload::Http1x64, None).await?;
    drop(peer);

    let peer = start(kind, stage).await?;
    let before = settled(&peer).await?;
    let held = idle::hold(peer.http1, options.connections).await?;
    let after = settled(&peer).await?;
    drop((held, peer));

    let loaded_kib = match kind {
        Kind::Bellhop => {
            let peer = start_with_sandboxes(stage, options.sandboxes).await?;
            verify::verify(&peer, &[Workload::Http1x64]).await?;
            Some(settled(&peer).await?)
        }
        _ => None,
    };
    Ok(Scaled {
        kind,
        idle_kib,
        busy_kib: busy.pss_kib.context("no process")?,
        loaded_kib,
        connection_kib: idle::each(before, after, options.connections),
        start_ms: start_up::measure(kind, options.starts, stage).await?,
        binary_kib: binary_kib(kind, stage),
    })
}

async fn start(kind: Kind, stage: &Stage) -> anyhow::Result<Peer> {
    let peer = kind.start(stage).await?;
    verify::verify(&peer, &[Workload::Http1x64]).await?;
    Ok(peer)
}

async fn settled(peer: &Peer) -> anyhow::Result<u64> {
    tokio::time::sleep(SETTLE).await;
    memory::pss_kib(peer.process.as_ref().context("no process")?.pid())
}

/// Only of programs that bring everything along.
fn binary_kib(kind: Kind, stage: &Stage) -> Option<u64> {
    let program = match kind {
        Kind::Bellhop => stage.programs.bellhop.clone()?,
        Kind::HyperRelay => stage.programs.relay().to_owned(),
        Kind::Envoy => crate::peers::envoy_program()?,
        _ => return None,
    };
    Some(std::fs::metadata(program).ok()?.len() / 1024)
}
