//! The control plane comes, goes and changes its mind: rows F8 and F10.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::{Reply, TestApp, wait};
use libtest_mimic::Trial;

use crate::{
    apart,
    load::Load,
    stage::{PORT, Stage, manifest},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("f08_sixty_seconds_without_control_cost_no_request", outage),
        apart("f10_a_thousand_route_changes_under_load_cost_no_request", thousand_changes),
    ]
}

/// Longer than every time-out and back-off between proxy and control.
const OUTAGE: Duration = Duration::from_secs(60);
/// Within this a change is in force once control is back.
const CONVERGED: Duration = Duration::from_secs(5);

fn answered_by(version: &'static str) -> impl Fn(&Reply) -> Result<()> + Send + Sync {
    move |reply| {
        ensure!(reply.version()? == version, "wanted {version}: {reply:?}");
        Ok(())
    }
}

/// F8.
fn outage() -> Result<()> {
    let mut stage = Stage::set(&[])?;
    let (keyed, unkeyed) = loads(&stage);
    keyed.flows(10)?;
    stage.control.kill();
    let until = Instant::now() + OUTAGE;
    while Instant::now() < until {
        keyed.flows(10)?;
        unkeyed.flows(10)?;
    }
    stage.control.start_again()?;
    converges(&stage, "after-outage")?;

    // Flapping: up and down each second.
    for _ in 0..5 {
        let second = Instant::now() + Duration::from_secs(1);
        stage.control.kill();
        stage.control.start_again()?;
        thread::sleep(second.saturating_duration_since(Instant::now()));
    }
    converges(&stage, "after-flapping")?;
    keyed.stop()?;
    unkeyed.stop()?;
    Ok(())
}

fn loads(stage: &Stage) -> (Load, Load) {
    let (caller, to) = (stage.host("caller"), stage.baseline.v4());
    (
        Load::start(caller, to, 2, "pr", answered_by("pr")),
        Load::start(caller, to, 2, "none", answered_by("baseline")),
    )
}

/// A new sandbox is obeyed soon.
fn converges(stage: &Stage, key: &str) -> Result<()> {
    let from = Instant::now();
    stage
        .control
        .bellhop(&["apply", "-f", "-"], &manifest(key, "callee", &stage.sandbox.v4().to_string(), ""))?;
    wait::until(key, CONVERGED, || {
        let reply = stage.call(key)?;
        ensure!(reply.version()? == "pr", "{reply:?}");
        Ok(())
    })
    .with_context(|| format!("{:?} after control was back", from.elapsed()))
}

/// F10: a route swings between two endpoints; whoever asks is answered by one of them, never by the baseline.
fn thousand_changes() -> Result<()> {
    const CHANGES: usize = 1_000;
    let stage = Stage::with_hosts(&["other"], &[])?;
    let other = TestApp::http(stage.host("other"), PORT, "other")?;
    let endpoints = [stage.sandbox.v4().to_string(), other.v6().to_string()];
    let manifests = endpoints.map(|endpoint| manifest("swing", "callee", &endpoint, ""));
    stage.control.apply(&manifests[0])?;
    let check = |reply: &Reply| {
        let version = reply.version()?;
        ensure!(version == "pr" || version == "other", "{reply:?}");
        Ok(())
    };
    let load = Load::start(stage.host("caller"), stage.baseline.v4(), 16, "swing", check);
    load.flows(100)?;
    let before = (stage.sandbox.served(), other.served());
    for change in 1..=CHANGES {
        stage.control.bellhop(&["apply", "-f", "-"], &manifests[change % 2])?;
    }
    load.flows(100)?;
    // The last change is obeyed.
    stage.control.apply(&manifests[1])?;
    let reply = stage.call("swing")?;
    ensure!(reply.version()? == "other", "{reply:?}");
    load.stop()?;
    let met = (stage.sandbox.served() - before.0, other.served() - before.1);
    ensure!(met.0 > 50 && met.1 > 50, "the route hardly swung: {met:?}");
    ensure!(stage.baseline.served() == 0, "the baseline was asked {} times", stage.baseline.served());
    Ok(())
}
