//! What a proxy takes when it grows: memory idle, busy, with many sandboxes and with many connections; and how quickly
//! it is there.

mod idle;
mod start_up;

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::{
    cli,
    compare::select,
    install,
    machine::Machine,
    measure::{measure, memory, statistics::Summary},
    peers::{Kind, Peer, start_with_sandboxes},
    report,
    stage::Stage,
    verify,
    workload::Workload,
};

/// A process's memory is read this long after its last work.
const SETTLE: Duration = Duration::from_secs(2);
/// Length of the busy window.
const BUSY_SECONDS: u64 = 2;

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub struct Scaling {
    /// What it was made on.
    pub machine: Machine,
    /// Idle connections held.
    pub connections: usize,
    /// Sandboxes loaded.
    pub sandboxes: usize,
    /// Starts measured.
    pub starts: usize,
    /// By peer.
    pub peers: Vec<Scaled>,
}

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

/// Measures and reports.
///
/// # Errors
/// Where a peer does not start, routes wrongly, or a load fails.
pub async fn run(options: cli::Scale) -> anyhow::Result<()> {
    let kinds: Vec<_> =
        select(&options.common.peers).into_iter().filter(|kind| *kind != Kind::Direct).collect();
    let kinds = install::present(&kinds, options.common.install).await?;
    let mut scaling = Scaling {
        machine: Machine::look(&kinds),
        connections: options.connections,
        sandboxes: options.sandboxes,
        starts: options.starts,
        peers: Vec::new(),
    };
    let stage = Stage::set(&options.common, kinds.contains(&Kind::Bellhop)).await?;
    for kind in kinds {
        eprintln!("{}", kind.name());
        scaling.peers.push(scale(kind, &options, &stage).await?);
    }
    report::scaling(&scaling, options.common.json.as_deref())
}

async fn scale(kind: Kind, options: &cli::Scale, stage: &Stage) -> anyhow::Result<Scaled> {
    let peer = kind.start(stage).await?;
    verify::verify(&peer).await?;
    let idle_kib = settled(&peer).await?;
    let busy = measure(&peer, Workload::Http1x64, BUSY_SECONDS, stage).await?;
    drop(peer);

    let peer = kind.start(stage).await?;
    verify::verify(&peer).await?;
    let before = settled(&peer).await?;
    let held = idle::hold(peer.http1, options.connections).await?;
    let after = settled(&peer).await?;
    drop((held, peer));

    let loaded_kib = match kind {
        Kind::Bellhop => {
            let peer = start_with_sandboxes(stage, options.sandboxes).await?;
            verify::verify(&peer).await?;
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
