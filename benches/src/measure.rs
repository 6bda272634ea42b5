//! One point: a load runs, and in a window of it the measured process's CPU time is set against the requests that the
//! backend served.

pub mod memory;
pub mod processor;
pub mod statistics;

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    ground::Served,
    peers::Peer,
    process,
    seat::Seat,
    stage::Stage,
    workload::{Files, Load, Said, Unit, Workload},
};

/// Load before the window, so that connection set-up and growth of pools stay outside.
const WARM_UP: Duration = Duration::from_millis(300);
/// Load behind the window: looking at a process takes a moment.
const MARGIN: Duration = Duration::from_millis(150);
/// Between two looks where nothing has been served yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How much later than promised a load may end.
const LOAD_GRACE: Duration = Duration::from_secs(20);

/// What one window showed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// CPU time of the proxy per unit (request, message, MiB), in µs; `None` where there is no proxy.
    pub cpu_us: Option<f64>,
    /// Units per second.
    pub rate: f64,
    /// Median latency in µs (HTTP/2: the mean), over the whole load; `None` where the tool knows none.
    pub latency_us: Option<f64>,
    /// 99th percentile of the latency in µs, where known.
    pub p99_us: Option<f64>,
    /// Proportional set size of the proxy at the end of the window, in KiB.
    pub pss_kib: Option<u64>,
    /// Failed requests.
    pub errors: u64,
}

/// How to measure.
#[derive(Debug)]
pub struct Method<'a> {
    /// Where.
    pub stage: &'a Stage,
    /// What the tools need.
    pub files: &'a Files,
    /// Length of the window.
    pub window: Duration,
}

#[derive(Debug)]
struct Instantaneous {
    at: Instant,
    cpu: Option<Duration>,
    served: Served,
}

/// A load that runs.
struct Running {
    child: tokio::process::Child,
    deadline: Duration,
    workload: Workload,
}

impl Running {
    /// Ends it where it does not end by itself soon, and reads what it says.
    async fn end(self) -> anyhow::Result<Said> {
        // wrk counts in whole seconds; told to end, it reports all the same.
        if let (Load::Wrk { .. }, Some(pid)) = (self.workload.load(), self.child.id()) {
            process::signal(pid, Signal::INT).ok();
        }
        let output = tokio::time::timeout(self.deadline, self.child.wait_with_output())
            .await
            .context("the load does not end")??;
        said(self.workload, &output)
    }
}

fn said(workload: Workload, output: &Output) -> anyhow::Result<Said> {
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{} failed: {text}{}",
        workload.tool().name(),
        String::from_utf8_lossy(&output.stderr)
    );
    workload.read(&text)
}

impl Method<'_> {
    fn start(&self, peer: &Peer, workload: Workload, rate: Option<f64>) -> anyhow::Result<Running> {
        let lasting = WARM_UP + self.window + workload.patience() + MARGIN;
        let target = workload.address(peer).with_context(|| format!("no address for {}", workload.name()))?;
        let (program, args) = workload.command(target, lasting, rate, (self.files, &self.stage.programs))?;
        let mut command = Seat::new(self.stage.load_core, &peer.ground.place).command(&program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Running { child, deadline: lasting + LOAD_GRACE, workload })
    }

    /// Measures `peer` under `workload`; `rate` for an open loop.
    ///
    /// # Errors
    /// Where the load tool fails, nothing is served, or requests reach the wrong version.
    pub async fn measure(
        &self,
        peer: &Peer,
        workload: Workload,
        rate: Option<f64>,
    ) -> anyhow::Result<Sample> {
        match workload.unit() {
            Unit::Request | Unit::Message => self.window(peer, workload, rate).await,
            Unit::Mebibyte => self.whole(peer, workload).await,
        }
    }

    async fn window(&self, peer: &Peer, workload: Workload, rate: Option<f64>) -> anyhow::Result<Sample> {
        let load = self.start(peer, workload, rate)?;
        tokio::time::sleep(WARM_UP).await;
        let before = look(peer, workload).await?;
        tokio::time::sleep(self.window).await;
        let mut after = look(peer, workload).await?;
        let longest = self.window + workload.patience();
        while after.served == before.served && after.at - before.at < longest {
            tokio::time::sleep(LOOK_AGAIN).await;
            after = look(peer, workload).await?;
        }
        let pss_kib = pss(peer, workload)?;
        let said = load.end().await?;
        let served = after.served.since(before.served);
        check_versions(peer, workload, served)?;
        Ok(Sample {
            cpu_us: spent(&before, &after).map(|cpu| micros(cpu) / count(served.total())),
            rate: count(served.total()) / (after.at - before.at).as_secs_f64(),
            latency_us: said.latency_us,
            p99_us: said.p99_us,
            pss_kib,
            errors: said.errors,
        })
    }

    /// Over the whole load: what the backend does not count, its tool tells at its end.
    async fn whole(&self, peer: &Peer, workload: Workload) -> anyhow::Result<Sample> {
        let before = look(peer, workload).await?;
        let load = self.start(peer, workload, None)?;
        tokio::time::sleep(self.window).await;
        let pss_kib = pss(peer, workload)?;
        let said = load.end().await?;
        let after = look(peer, workload).await?;
        let counted = said.counted.context("the load tool counted nothing")?;
        Ok(Sample {
            cpu_us: spent(&before, &after).map(|cpu| micros(cpu) / counted),
            rate: counted / (after.at - before.at).as_secs_f64(),
            latency_us: said.latency_us,
            p99_us: said.p99_us,
            pss_kib,
            errors: said.errors,
        })
    }

    /// Requests per second that `peer` gives to the open loop's tool when that does not hold back.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub async fn saturation(&self, peer: &Peer, workload: Workload) -> anyhow::Result<f64> {
        Ok(self.window(peer, workload, None).await?.rate)
    }
}

async fn look(peer: &Peer, workload: Workload) -> anyhow::Result<Instantaneous> {
    let cpu = peer.measured(workload).map(|process| processor::time(process.pid())).transpose()?;
    Ok(Instantaneous { at: Instant::now(), cpu, served: peer.ground.served().await? })
}

fn pss(peer: &Peer, workload: Workload) -> anyhow::Result<Option<u64>> {
    peer.measured(workload).map(|process| memory::pss_kib(process.pid())).transpose()
}

fn spent(before: &Instantaneous, after: &Instantaneous) -> Option<Duration> {
    after.cpu.zip(before.cpu).map(|(after, before)| after.saturating_sub(before))
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
