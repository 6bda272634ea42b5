//! Route tables of growing size: what a decision costs, and what a table weighs, alone and in a real proxy.

use std::{
    hint::black_box,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bellhop_route::{Keys, Place, RouteTable, Verdict, decide};
use serde::{Deserialize, Serialize};

use crate::{
    measure::{Method, memory, statistics::Summary},
    peers::{Fixed, Kind, Peer, start_fixed},
    process, routes,
    seat::{Place as Network, Seat},
    stage::Stage,
    verify,
    workload::{Files, Workload},
};

/// How long a table alone may take to be built and asked.
const ALONE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a proxy may take to read a snapshot.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// Decisions timed at once, and how often.
const DECISIONS: usize = 20_000;
const TIMES: usize = 15;
/// Decisions are not timed before so long: a core that was idle is slow at first, and a small table is asked at once.
const WARM: Duration = Duration::from_millis(200);
/// Random keys asked in turn: more than caches hold.
const RANDOM: usize = 1 << 16;
/// A process's memory is read this long after its last work.
const SETTLE: Duration = Duration::from_secs(1);
/// Length of the window of a real proxy.
const WINDOW: Duration = Duration::from_secs(1);

/// What a table of this size costs.
#[derive(Debug, Serialize)]
pub struct TableSize {
    /// Routes in it, each of a key of its own.
    pub routes: usize,
    /// In a process that holds nothing else.
    pub alone: Alone,
    /// A proxy's CPU per request, 64 HTTP/1 connections, always the same key.
    pub cpu_us: f64,
    /// The proxy's PSS then.
    pub pss_kib: u64,
    /// From its start until it is ready, the snapshot read.
    pub ready_ms: f64,
    /// Size of the snapshot file.
    pub snapshot_kib: u64,
}

/// A table alone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Alone {
    /// One decision, the same key each time.
    pub hot: Summary,
    /// One decision, random keys.
    pub random: Summary,
    /// What the table weighs.
    pub table_kib: u64,
}

/// Measures a table of `keys` in this process, and prints what [`Alone`] holds as JSON.
///
/// # Errors
/// Where a key is not found.
pub fn alone(keys: usize) -> anyhow::Result<()> {
    let before = memory::pss_kib(std::process::id())?;
    let table = routes::table(keys, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))?;
    let table_kib = memory::pss_kib(std::process::id())?.saturating_sub(before);
    let hot = [Keys::from_iter([routes::key(0)])];
    let random: Vec<_> =
        (0..RANDOM).map(|_| Keys::from_iter([routes::key(fastrand::usize(..keys.max(1)))])).collect();
    let alone = Alone { hot: nanoseconds(&table, &hot)?, random: nanoseconds(&table, &random)?, table_kib };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&alone)?)?)
}

fn nanoseconds(table: &RouteTable, keys: &[Keys]) -> anyhow::Result<Summary> {
    let destination = routes::DESTINATION.parse()?;
    let place = Place::Named(&destination);
    let mut asked = keys.iter().cycle();
    let mut times = Vec::new();
    let warm = Instant::now();
    while times.len() < TIMES {
        let begin = Instant::now();
        let mut found = 0;
        for keys in asked.by_ref().take(DECISIONS) {
            let decision = decide(table, black_box(keys), &place, std::iter::empty::<&[u8]>());
            found += usize::from(matches!(decision.verdict, Verdict::Sandbox(_)));
        }
        ensure!(found == DECISIONS, "{found} of {DECISIONS} keys have a route");
        if begin.duration_since(warm) >= WARM {
            times.push(begin.elapsed().as_secs_f64() * 1e9 / DECISIONS as f64);
        }
    }
    Summary::of(times).context("no times")
}

pub(super) async fn measure(stage: &Stage, keys: usize) -> anyhow::Result<TableSize> {
    let mut command = Seat::new(stage.proxy_core, &Network::Host).command(&std::env::current_exe()?);
    command.args(["table", "--keys", &keys.to_string()]);
    let said = process::run(command, ALONE_DEADLINE).await?;
    let alone = serde_json::from_str(&said).with_context(|| format!("no table's figures: {said}"))?;

    let file = stage.dir().join("snapshot");
    routes::snapshot(&file, keys, stage.ground.sandbox)?;
    let snapshot_kib = std::fs::metadata(&file)?.len() / 1024;
    let begin = Instant::now();
    let peer = start(stage, &file).await?;
    let ready_ms = begin.elapsed().as_secs_f64() * 1e3;
    verify::verify(&peer, &[Workload::Http1x64]).await?;
    let files = Files::write(stage.dir())?;
    let sample =
        Method { stage, files: &files, window: WINDOW }.measure(&peer, Workload::Http1x64, None).await?;
    tokio::time::sleep(SETTLE).await;
    let process = peer.process.as_ref().context("no process")?;
    let pss_kib = memory::pss_kib(process.pid())?;
    std::fs::remove_file(&file)?;
    Ok(TableSize {
        routes: keys,
        alone,
        cpu_us: sample.cpu_us.context("no process")?,
        pss_kib,
        ready_ms,
        snapshot_kib,
    })
}

/// A proxy whose routes come from a snapshot: its control plane is nowhere.
async fn start(stage: &Stage, snapshot: &Path) -> anyhow::Result<Peer> {
    let fixed = Fixed::before(stage.ground.baseline)?;
    let nowhere = process::free_port()?;
    let more = ["--snapshot".into(), snapshot.into(), "--control".into(), format!("http://{nowhere}").into()];
    let mut process = start_fixed(stage, "bellhop-table", &fixed, &more)?;
    process.wait_listening(fixed.listen).await?;
    let begin = Instant::now();
    while !super::is_ready(fixed.admin) {
        ensure!(begin.elapsed() < READY_DEADLINE, "the proxy is not ready");
        process.alive()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Peer::of(Kind::Bellhop, process, (fixed.listen, fixed.listen), &stage.ground))
}
