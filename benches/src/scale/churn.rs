//! A thousand changes of the very route that a load uses: no request may fail.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::{
    peers::{Bellhop, Fixed, KEY, Kind, PORT, Peer},
    process,
    seat::{Place, Seat},
    stage::Stage,
    verify,
    workload::{Files, Workload},
};

/// Changes under each load.
const CHANGES: u64 = 1_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(4);
/// More than the changes take; the load is ended behind them.
const LASTING: Duration = Duration::from_secs(30);
/// How much longer a load may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Churned {
    /// Changes of the route.
    pub changes: u64,
    /// Requests meanwhile, HTTP/1.
    pub requests: u64,
    /// Of them those that each version answered.
    pub baseline: u64,
    /// See [`Self::baseline`].
    pub sandbox: u64,
    /// Failed ones.
    pub errors: u64,
}

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Churned> {
    let bellhop = Bellhop::control(stage, 0).await?;
    let fixed = Fixed::before(stage.ground.baseline)?;
    let mut process = bellhop.proxy(stage, "bellhop-churn", &fixed)?;
    process.wait_listening(fixed.listen).await?;
    let peer = Peer::of(Kind::Bellhop, process, (fixed.listen, fixed.listen), &stage.ground);
    verify::verify(&peer, &[Workload::Http1x64]).await?;
    let mut api = bellhop.control.api().await?;
    let files = Files::write(stage.dir())?;

    let load = Workload::Http1x64;
    let (program, args) = load.command(fixed.listen, LASTING, None, (&files, &stage.programs))?;
    let mut command = Seat::new(stage.load_core, &Place::Host).command(&program);
    let child = command.args(args).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
    let before = stage.ground.served().await?;
    for nth in 0..CHANGES {
        let endpoint = if nth % 2 == 0 { stage.ground.baseline } else { stage.ground.sandbox };
        api.sandbox(KEY, PORT, endpoint).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let served = stage.ground.served().await?.since(before);
    if let Some(pid) = child.id() {
        process::signal(pid, Signal::INT).ok();
    }
    let output =
        tokio::time::timeout(GRACE, child.wait_with_output()).await.context("the load does not end")??;
    let said = load.read(&String::from_utf8_lossy(&output.stdout))?;
    ensure!(served.baseline > 0 && served.sandbox > 0, "the changes changed nothing: {served:?}");
    Ok(Churned {
        changes: CHANGES,
        requests: served.total(),
        baseline: served.baseline,
        sandbox: served.sandbox,
        errors: said.errors,
    })
}
