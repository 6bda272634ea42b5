//! How long a change takes until every watcher has it and has said so, and what watchers cost control.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    task::LocalSet,
    time::{Instant, sleep},
};

use super::{
    door,
    watcher::{self, Seen, Shared},
};
use crate::{
    control::Api,
    measure::{memory, statistics::quantile},
    peers::{Bellhop, Fixed, PORT},
    process::Process,
    seat::Place,
    stage::Stage,
};

/// Changes made with a thousand watchers, and with ten times as many.
const CHANGES: usize = 100;
const CHANGES_OF_MANY: usize = 5;
const MANY: usize = 5_000;
/// Connections that carry the watchers' reports.
const REPORTERS: usize = 16;
/// Watches that are opened at once.
const OPENED_AT_ONCE: usize = 64;
/// How long one change may take until it is in force.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two changes: a proxy reports five times a second at most.
const REST: Duration = Duration::from_millis(300);
/// A proxy may report at once again after so long, however much it said before.
const AT_REST: Duration = Duration::from_secs(1);
/// Real proxies, and changes made with them.
const PROXIES: usize = 10;
const CHANGES_OF_REAL: usize = 40;

/// Times in ms.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// Half of them are shorter.
    pub p50_ms: f64,
    /// All but one in a hundred.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

impl Times {
    pub(super) fn of(mut ms: Vec<f64>) -> Option<Self> {
        ms.sort_by(f64::total_cmp);
        Some(Self { p50_ms: quantile(&ms, 0.5)?, p99_ms: quantile(&ms, 0.99)?, max_ms: quantile(&ms, 1.0)? })
    }
}

/// Watchers on one control process.
#[derive(Debug, Serialize)]
pub struct Watched {
    /// How many.
    pub watchers: usize,
    /// Whether control speaks TLS.
    pub tls: bool,
    /// Changes made.
    pub changes: usize,
    /// From the request that changes a route until a watcher has it: all watchers, all changes.
    pub distributed: Times,
    /// From that request until control answers that it is in force everywhere.
    pub in_force: Times,
    /// Control's PSS before the first watcher.
    pub before_kib: u64,
    /// With all of them, after the changes.
    pub pss_kib: u64,
    /// How long it took to open them all.
    pub opened_ms: f64,
}

/// Real proxies on one control process.
#[derive(Debug, Serialize)]
pub struct Real {
    /// How many.
    pub proxies: usize,
    /// Changes made.
    pub changes: usize,
    /// From the request that changes a route until control answers that it is in force everywhere.
    pub in_force: Times,
}

pub(super) async fn measure(stage: &Stage, count: usize, tls: bool) -> anyhow::Result<Watched> {
    LocalSet::new().run_until(watchers(stage, count, tls)).await
}

async fn watchers(stage: &Stage, count: usize, tls: bool) -> anyhow::Result<Watched> {
    let (control, door) = door::start(stage, tls).await?;
    let mut api = door.api().await?;
    api.sandbox(watcher::KEY, PORT, stage.ground.sandbox).await?;
    let before_kib = memory::pss_kib(control.process.pid())?;
    let (reports, receivers): (Vec<_>, Vec<_>) = (0..REPORTERS).map(|_| mpsc::unbounded_channel()).unzip();
    let shared =
        Shared { door: door.clone(), seen: Rc::new(RefCell::new(Seen::default())), reports: reports.into() };
    let send = |receiver| tokio::task::spawn_local(watcher::send_reports(door.clone(), receiver));
    let reporters: Vec<_> = receivers.into_iter().map(send).collect();
    tokio::task::spawn_local(watcher::report_all(shared.clone()));
    let begin = Instant::now();
    open(&shared, count).await?;
    let opened_ms = begin.elapsed().as_secs_f64() * 1e3;
    // the connection of before may have been idle for too long
    let (mut api, seen) = (door.api().await?, &shared.seen);
    settle(&mut api, count).await?;

    let changes = if count > MANY { CHANGES_OF_MANY } else { CHANGES };
    let (mut in_force, mut distributed) = (Vec::new(), Vec::new());
    for nth in 0..changes {
        let begin = Instant::now();
        let digest = change(&mut api, nth, watcher::KEY, count).await?;
        in_force.push(begin.elapsed().as_secs_f64() * 1e3);
        let seen = seen.borrow_mut().arrived.remove(&digest).unwrap_or_default();
        ensure!(seen.len() == count, "{} of {count} watchers got a change", seen.len());
        distributed.extend(seen.into_iter().map(|at| at.duration_since(begin).as_secs_f64() * 1e3));
        ensure!(!reporters.iter().any(tokio::task::JoinHandle::is_finished), "a reporter ended");
        sleep(REST).await;
    }
    ensure!(seen.borrow().ended == 0, "{} watches ended", seen.borrow().ended);
    Ok(Watched {
        watchers: count,
        tls,
        changes,
        distributed: Times::of(distributed).context("no watchers")?,
        in_force: Times::of(in_force).context("no changes")?,
        before_kib,
        pss_kib: memory::pss_kib(control.process.pid())?,
        opened_ms,
    })
}

async fn open(shared: &Shared, count: usize) -> anyhow::Result<()> {
    let mut opened = 0;
    while opened < count {
        let some = (opened..count.min(opened + OPENED_AT_ONCE)).map(|id| watcher::open(shared.clone(), id));
        for watcher in futures_util::future::join_all(some).await {
            watcher?;
            opened += 1;
        }
    }
    Ok(())
}

/// Waits until what was there before the first change is in force on `proxies`.
async fn settle(api: &mut Api, proxies: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let state = api.wait_in_force(watcher::KEY).await?;
        if state.in_force && state.proxies >= proxies as u64 {
            return Ok(());
        }
        ensure!(begin.elapsed() < DEADLINE, "{} of {proxies} proxies are known", state.proxies);
        sleep(REST).await;
    }
}

/// Leads `key` elsewhere, waits until `proxies` hold that, and gives the digest of the new form.
async fn change(api: &mut Api, nth: usize, key: &str, proxies: usize) -> anyhow::Result<String> {
    // An endpoint that differs from all before: no digest is seen twice.
    let port = 20_000 + u16::try_from(nth)?;
    let begin = Instant::now();
    api.sandbox(key, PORT, SocketAddr::from(([127, 0, 0, 1], port))).await?;
    loop {
        let state = api.wait_in_force(key).await?;
        if state.in_force {
            ensure!(state.proxies == proxies as u64, "{} proxies count, not {proxies}", state.proxies);
            return Ok(state.digest);
        }
        ensure!(begin.elapsed() < DEADLINE, "not in force: {} are waited for", state.waiting_for.len());
    }
}

pub(super) async fn real(stage: &Stage) -> anyhow::Result<Real> {
    let bellhop = Bellhop::control(stage, 0).await?;
    let mut proxies: Vec<Process> = Vec::new();
    for nth in 0..PROXIES {
        let fixed = Fixed::before(stage.ground.baseline)?;
        let mut process = bellhop.proxy(stage, &format!("bellhop-real-{nth}"), &fixed)?;
        process.wait_listening(fixed.listen).await?;
        proxies.push(process);
    }
    let mut api = Api::connect(&Place::Host, bellhop.control.address).await?;
    let known = Instant::now();
    api.sandbox(watcher::KEY, PORT, stage.ground.sandbox).await?;
    while api.in_force(watcher::KEY).await?.proxies < PROXIES as u64 {
        ensure!(known.elapsed() < DEADLINE, "control does not know all proxies");
        sleep(REST).await;
    }
    // They have just started and said so: what a fleet at rest takes is measured.
    sleep(AT_REST).await;
    let mut times = Vec::new();
    for nth in 0..CHANGES_OF_REAL {
        sleep(REST).await;
        let begin = Instant::now();
        change(&mut api, nth, watcher::KEY, PROXIES).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    drop(proxies);
    Ok(Real { proxies: PROXIES, changes: CHANGES_OF_REAL, in_force: Times::of(times).context("no changes")? })
}
