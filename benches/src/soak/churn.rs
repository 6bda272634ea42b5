//! What changes meanwhile: routes, endpoints, the control plane, a proxy.

use std::{cell::RefCell, net::SocketAddr, path::Path, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use crate::{
    control::{Api, Control, Keeps},
    ground::Ground,
    peers::{Fixed, PORT, start_fixed, unix},
    process::{self, Process},
    seat::{Place, Seat},
    stage::Stage,
};

/// The key whose endpoint is another process every while.
pub(super) const MOVING: &str = "moving";
/// Keys that come and go.
pub(super) const COMING: u32 = 100;
/// Between two changes of routes.
const CHANGE: Duration = Duration::from_millis(50);
/// Between two replacements of the endpoint, of control, of the proxy.
const ENDPOINT: Duration = Duration::from_secs(25);
const CONTROL: Duration = Duration::from_secs(40);
const PROXY: Duration = Duration::from_secs(45);
/// How long a change may take until it is in force, besides the time that control is away.
const IN_FORCE: Duration = Duration::from_secs(60);
/// How long an endpoint that no route names any more still serves what has begun.
const LINGER: Duration = Duration::from_secs(12);
/// How long a proxy drains, and a bit.
const DRAIN: Duration = Duration::from_secs(40);

/// What was changed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Changes {
    /// Routes put and deleted.
    pub routes: u64,
    /// Endpoints replaced.
    pub endpoints: u64,
    /// Restarts of control.
    pub control_restarts: u64,
    /// Proxies replaced.
    pub proxy_restarts: u64,
}

/// What the churn works on.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub stage: &'a Stage,
    pub data: &'a Path,
    pub address: SocketAddr,
    pub control: RefCell<Option<Control>>,
    pub ledger: Rc<Ledger>,
    pub changes: RefCell<Changes>,
    /// How long control stays away when it is restarted.
    pub away: Duration,
}

impl<'a> Scene<'a> {
    /// With control started on a store of its own.
    pub(super) async fn set(
        stage: &'a Stage,
        data: &'a Path,
        ledger: &Rc<Ledger>,
        away: Duration,
    ) -> anyhow::Result<Self> {
        let address = process::free_port()?;
        let scene = Self {
            stage,
            data,
            address,
            control: RefCell::new(None),
            ledger: Rc::clone(ledger),
            changes: RefCell::new(Changes::default()),
            away,
        };
        scene.start_control().await?;
        Ok(scene)
    }

    async fn start_control(&self) -> anyhow::Result<()> {
        let program = self.stage.programs.control.as_ref().context("no bellhop-control")?;
        let seat = Seat::new(self.stage.load_core, &Place::Host);
        let keeps = Keeps::Directory(self.data);
        let control = Control::start_at(&seat, program, keeps, self.stage.dir(), self.address).await?;
        *self.control.borrow_mut() = Some(control);
        Ok(())
    }

    /// The arguments that make a proxy follow this control.
    pub(super) fn follow(&self) -> [std::ffi::OsString; 2] {
        ["--control".into(), format!("http://{}", self.address).into()]
    }

    /// The same, with a snapshot: control may be away just when a successor starts.
    pub(super) fn follow_and_keep(&self) -> Vec<std::ffi::OsString> {
        let snapshot = self.stage.dir().join("replaced.snapshot");
        self.follow().into_iter().chain(["--snapshot".into(), snapshot.into()]).collect()
    }

    pub(super) async fn api(&self) -> anyhow::Result<Api> {
        Api::connect(&Place::Host, self.address).await
    }

    /// Puts and deletes keys that come and go. Control may be away; then the next round tries again.
    pub(super) async fn routes(&self) {
        let endpoints = [self.stage.ground.sandbox, self.stage.ground.baseline];
        while !self.ledger.stopping() {
            let round = async {
                let mut api = self.api().await?;
                while !self.ledger.stopping() {
                    let name = format!("coming-{}", fastrand::u32(..COMING));
                    if fastrand::u8(..4) == 0 {
                        // It may not be there.
                        api.delete_sandbox(&name).await.ok();
                    } else {
                        let endpoint =
                            endpoints.get(fastrand::usize(..2)).copied().context("two endpoints")?;
                        api.sandbox(&name, PORT, endpoint).await?;
                    }
                    self.changes.borrow_mut().routes += 1;
                    sleep(CHANGE).await;
                }
                anyhow::Ok(())
            };
            if round.await.is_err() {
                sleep(10 * CHANGE).await;
            }
        }
    }

    /// Leads [`MOVING`] to another process every while, and ends the old one once nobody can be sent there. Gives the last.
    pub(super) async fn endpoints(&self, mut serving: Ground) -> anyhow::Result<Ground> {
        while self.waits(ENDPOINT).await {
            // A machine that does not give our own backend its turn says nothing of the proxies.
            let Ok(next) = self.ground().await else { continue };
            self.moves(next.sandbox).await?;
            sleep(LINGER).await;
            drop(std::mem::replace(&mut serving, next));
            self.changes.borrow_mut().endpoints += 1;
        }
        Ok(serving)
    }

    pub(super) async fn ground(&self) -> anyhow::Result<Ground> {
        let stage = self.stage;
        Ground::lay(Place::Host, stage.load_core, stage.programs.backend(), stage.dir()).await
    }

    /// Leads [`MOVING`] to `endpoint`, and returns once that is in force.
    pub(super) async fn moves(&self, endpoint: SocketAddr) -> anyhow::Result<()> {
        let (begin, limit) = (Instant::now(), IN_FORCE + self.away);
        loop {
            let attempt = async {
                let mut api = self.api().await?;
                api.sandbox(MOVING, PORT, endpoint).await?;
                loop {
                    if api.in_force(MOVING).await?.in_force {
                        return anyhow::Ok(());
                    }
                    ensure!(begin.elapsed() < limit, "{:?}", api.in_force(MOVING).await?);
                    sleep(CHANGE).await;
                }
            };
            match attempt.await {
                Ok(()) => return Ok(()),
                Err(error) if begin.elapsed() > limit => return Err(error.context("not in force")),
                Err(_) => sleep(10 * CHANGE).await,
            }
        }
    }

    /// Restarts control every while; it is away for a moment.
    pub(super) async fn control(&self) -> anyhow::Result<()> {
        while self.waits(CONTROL).await {
            let control = self.control.borrow_mut().take();
            if let Some(mut control) = control {
                control.process.terminate()?;
                control.process.ended(DRAIN).await?;
            }
            self.waits(self.away).await;
            self.start_control().await?;
            self.changes.borrow_mut().control_restarts += 1;
        }
        Ok(())
    }

    /// Replaces a proxy every while: a successor takes the sockets over once it is ready, and the old one drains and ends.
    /// Gives the last.
    pub(super) async fn proxies(&self, mut serving: Process, fixed: &Fixed) -> anyhow::Result<Process> {
        let socket = fixed.admin_socket.as_ref().context("no socket to take over by")?;
        let mut more = self.follow_and_keep();
        more.extend(["--take-over".into(), unix(socket).into()]);
        for nth in 1.. {
            if !self.waits(PROXY).await {
                break;
            }
            let name = format!("bellhop-successor-{nth}");
            let mut successor = start_fixed(self.stage, &name, fixed, &more)?;
            let status = tokio::select! {
                status = serving.ended(DRAIN) => status?,
                ended = successor.ended(DRAIN) => anyhow::bail!("the successor ended: {ended:?}"),
            };
            ensure!(status.success(), "the proxy that was replaced ended with {status}");
            serving = successor;
            self.changes.borrow_mut().proxy_restarts += 1;
        }
        Ok(serving)
    }

    /// Waits; false where the soak ends meanwhile.
    async fn waits(&self, time: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < time {
            if self.ledger.stopping() {
                return false;
            }
            sleep(CHANGE).await;
        }
        !self.ledger.stopping()
    }
}

/// A proxy once it is ready: it accepts, and has its routes.
pub(super) async fn ready(mut process: Process, fixed: &Fixed) -> anyhow::Result<Process> {
    process.wait_listening(fixed.listen).await?;
    let begin = Instant::now();
    while !crate::scale::is_ready(fixed.admin) {
        ensure!(begin.elapsed() < process::START_DEADLINE, "a proxy is not ready");
        process.alive()?;
        sleep(Duration::from_millis(5)).await;
    }
    Ok(process)
}
