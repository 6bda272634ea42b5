//! The soak: all protocols at once through proxies whose routes, endpoints, control plane and neighbours change all the
//! time. What fails, what grows and what stays open is told, and makes the run fail.

mod churn;
mod ledger;
mod traffic;
mod vitals;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use anyhow::ensure;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::LocalSet,
    time::{Instant, sleep},
};

pub use self::vitals::{Look, Vitals};
use self::{
    churn::{COMING, Changes, MOVING, Scene, ready},
    ledger::{Failure, Failures, Ledger, Traffic},
    traffic::{Client, Expect},
};
use crate::{
    cli,
    machine::Machine,
    peers::{Fixed, KEY, Kind, PORT, start_fixed},
    process::Process,
    progress::Progress,
    report,
    stage::Stage,
};

/// Between two looks at processes.
const LOOK: Duration = Duration::from_secs(5);
/// After all traffic has ended, proxies have so long to close what clients left.
const SETTLE: Duration = Duration::from_secs(10);
/// How long clients may take to end.
const STOP: Duration = Duration::from_secs(45);

/// What a soak saw.
#[derive(Debug, Serialize)]
pub struct Soak {
    /// What it was made on.
    pub machine: Machine,
    /// How long traffic ran.
    pub minutes: f64,
    /// What went well, by traffic.
    pub well: BTreeMap<Traffic, u64>,
    /// What was refused unprocessed (GOAWAY) and asked again on another connection, by traffic.
    pub again: BTreeMap<Traffic, u64>,
    /// What failed.
    pub failed: Vec<(Traffic, Failure, Failures)>,
    /// What changed meanwhile.
    pub changes: Changes,
    /// Memory and descriptors of the proxies that ran all the time.
    pub vitals: Vec<Vitals>,
}

/// Runs and reports.
///
/// # Errors
/// Where something cannot be started; and, after the report, where anything failed or leaked.
pub async fn run(options: cli::Soak) -> anyhow::Result<()> {
    let stage = Stage::set(&options.common, true).await?;
    let machine = Machine::look(&[Kind::Bellhop]);
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let away = Duration::from_secs(options.away);
    let soak = LocalSet::new().run_until(Box::pin(soak(&stage, machine, time, away))).await?;
    let leaks: Vec<_> = soak.vitals.iter().flat_map(Vitals::leaks).collect();
    report::soaked::soak(&soak, &leaks, &options.common)?;
    let failed: u64 = soak.failed.iter().map(|(_, _, failures)| failures.count).sum();
    ensure!(failed == 0 && leaks.is_empty(), "{failed} failures, {} leaks: see above", leaks.len());
    Ok(())
}

/// A proxy that runs all the time.
struct Steady {
    process: Process,
    vitals: Vitals,
}

impl Steady {
    async fn start(
        scene: &Scene<'_>,
        name: &str,
        upstream: SocketAddr,
    ) -> anyhow::Result<(Self, SocketAddr)> {
        let fixed = Fixed::before(upstream)?;
        let process = ready(start_fixed(scene.stage, name, &fixed, &scene.follow())?, &fixed).await?;
        let vitals = Vitals::of(name, &process)?;
        Ok((Self { process, vitals }, fixed.listen))
    }
}

async fn soak(stage: &Stage, machine: Machine, time: Duration, away: Duration) -> anyhow::Result<Soak> {
    let data = tempfile::tempdir()?;
    let ledger = Rc::new(Ledger::default());
    let scene = Scene::set(stage, data.path(), &ledger, away).await?;
    let endpoint = scene.ground().await?;
    let mut api = scene.api().await?;
    api.sandbox(KEY, PORT, stage.ground.sandbox).await?;
    drop(api);

    let (steady, http) = Steady::start(&scene, "bellhop-steady", stage.ground.baseline).await?;
    let (tunnel, opaque) = Steady::start(&scene, "bellhop-tunnel", echo().await?).await?;
    let socket = Some(stage.dir().join("replaced.sock"));
    let fixed = Fixed { admin_socket: socket, ..Fixed::before(stage.ground.baseline)? };
    let mut replaced = start_fixed(stage, "bellhop-replaced", &fixed, &scene.follow_and_keep())?;
    replaced.wait_listening(fixed.listen).await?;
    // In force means that all three have their routes.
    scene.moves(endpoint.sandbox).await?;

    let clients = clients([http, fixed.listen, opaque], &ledger);
    let mut steady = [steady, tunnel];
    let begin = Instant::now();
    let outcome = tokio::try_join!(
        async {
            scene.routes().await;
            anyhow::Ok(())
        },
        scene.endpoints(endpoint),
        scene.control(),
        scene.proxies(replaced, &fixed),
        watch(&mut steady, &ledger, time),
    );
    ledger.stop();
    for client in clients {
        if tokio::time::timeout(STOP, client).await.is_err() {
            ledger.failed(Traffic::Http1, Failure::Late, "a client does not end");
        }
    }
    // Only now: what clients used had to live as long as they.
    drop(outcome?);
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    sleep(SETTLE).await;
    for Steady { process, vitals } in &mut steady {
        vitals.end(process)?;
    }
    let changes = scene.changes.borrow().clone();
    Ok(Soak {
        machine,
        minutes,
        well: ledger.counts(),
        again: ledger.repeats(),
        failed: ledger.failures(),
        changes,
        vitals: steady.into_iter().map(|steady| steady.vitals).collect(),
    })
}

/// Looks at the steady proxies until the time is over.
async fn watch(steady: &mut [Steady], ledger: &Ledger, time: Duration) -> anyhow::Result<()> {
    let looks = (time.as_secs_f64() / LOOK.as_secs_f64()).ceil() as usize;
    let progress = Progress::new(looks)?;
    let begin = Instant::now();
    while begin.elapsed() < time {
        sleep(LOOK.min(time)).await;
        for Steady { process, vitals } in &mut *steady {
            process.alive()?;
            vitals.look(process, begin.elapsed().as_secs_f64())?;
        }
        progress.at(&format!("{} failures", ledger.total_failed()));
        progress.step();
    }
    progress.end();
    ledger.stop();
    Ok(())
}

type Task = tokio::task::JoinHandle<()>;

/// HTTP to the steady proxy and to the one that is replaced; opaque streams to the third.
fn clients([steady, replaced, opaque]: [SocketAddr; 3], ledger: &Rc<Ledger>) -> Vec<Task> {
    let http = [Traffic::Http1, Traffic::Http2, Traffic::Grpc, Traffic::WebSocket];
    let mut tasks = Vec::new();
    let mut start = |target: SocketAddr, traffic, key: Option<String>, expect| {
        let client = Client { target, key, expect, ledger: Rc::clone(ledger) };
        tasks.push(tokio::task::spawn_local(client.run(traffic)));
    };
    for target in [steady, replaced] {
        for traffic in http {
            start(target, traffic, None, Expect::Version("baseline"));
            start(target, traffic, Some(KEY.to_owned()), Expect::Version("sandbox"));
        }
        for traffic in [Traffic::Http1, Traffic::Http2, Traffic::Grpc] {
            start(target, traffic, Some(MOVING.to_owned()), Expect::Version("sandbox"));
        }
        for n in 0..4 {
            let key = format!("coming-{}", n * COMING / 4);
            start(target, Traffic::Http1, Some(key.clone()), Expect::Either);
            start(target, Traffic::Http2, Some(key), Expect::Either);
        }
    }
    for _ in 0..4 {
        start(opaque, Traffic::Opaque, None, Expect::Either);
    }
    tasks
}

/// What opaque streams come back from.
async fn echo() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut piece = vec![0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut piece).await {
                    if stream.write_all(piece.get(..n).unwrap_or_default()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}
