//! One point: a load runs, and in a window of it the measured process's CPU time is set against the requests that the
//! backend served.

pub mod memory;
pub mod processor;
pub mod statistics;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::{
    peers::Peer,
    process::pinned,
    stage::{Served, Stage},
    workload::Workload,
};

/// Load before the window, so that connection set-up and growth of pools stay outside.
const WARM_UP: Duration = Duration::from_millis(500);
/// Whole seconds of load beyond the window: wrk and h2load count in seconds.
const MARGIN_SECONDS: u64 = 1;
/// How much later than promised a load may end.
const LOAD_GRACE: Duration = Duration::from_secs(20);

/// What one window showed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// CPU time of the proxy per request, in µs; `None` where there is no proxy.
    pub cpu_us: Option<f64>,
    /// Requests per second.
    pub rate: f64,
    /// Median latency in µs (HTTP/2: the mean), over the whole load.
    pub latency_us: f64,
    /// 99th percentile of the latency in µs, where known.
    pub p99_us: Option<f64>,
    /// Proportional set size of the proxy at the end of the window, in KiB.
    pub pss_kib: Option<u64>,
    /// Failed requests.
    pub errors: u64,
}

#[derive(Debug)]
struct Instantaneous {
    at: Instant,
    cpu: Option<Duration>,
    served: Served,
}

async fn look(peer: &Peer, stage: &Stage) -> anyhow::Result<Instantaneous> {
    let cpu = peer.process.as_ref().map(|process| processor::time(process.pid())).transpose()?;
    Ok(Instantaneous { at: Instant::now(), cpu, served: stage.served().await? })
}

/// Measures `peer` under `workload` in a window of `seconds`.
///
/// # Errors
/// Where the load tool fails, nothing is served, or requests reach the wrong version.
pub async fn measure(peer: &Peer, workload: Workload, seconds: u64, stage: &Stage) -> anyhow::Result<Sample> {
    let load_seconds = seconds + MARGIN_SECONDS;
    let (program, args) = workload.command(workload.address(peer), load_seconds)?;
    let mut command = pinned(stage.load_core, &program);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    tokio::time::sleep(WARM_UP).await;
    let before = look(peer, stage).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = look(peer, stage).await?;
    let pss_kib = peer.process.as_ref().map(|process| memory::pss_kib(process.pid())).transpose()?;
    let deadline = Duration::from_secs(load_seconds) + LOAD_GRACE;
    let output =
        tokio::time::timeout(deadline, child.wait_with_output()).await.context("the load does not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{} failed: {text}{}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let said = workload.read(&text)?;
    let served = after.served.since(before.served);
    check_versions(peer, workload, served)?;
    Ok(Sample {
        cpu_us: after.cpu.zip(before.cpu).map(|(a, b)| micros(a.saturating_sub(b)) / count(served.total())),
        rate: count(served.total()) / (after.at - before.at).as_secs_f64(),
        latency_us: said.latency_us,
        p99_us: said.p99_us,
        pss_kib,
        errors: said.errors,
    })
}

/// Every request of the window must have reached the version that its key says.
fn check_versions(peer: &Peer, workload: Workload, served: Served) -> anyhow::Result<()> {
    if served.total() == 0 {
        bail!("{} served nothing under {}", peer.kind.name(), workload.name());
    }
    let wrong = if workload.keyed() || !peer.kind.routes() { served.baseline } else { served.sandbox };
    ensure!(
        wrong == 0,
        "{} sent {wrong} requests of {} to the wrong version",
        peer.kind.name(),
        workload.name()
    );
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Counts here stay far below 2^52.
fn count(n: u64) -> f64 {
    n as f64
}
