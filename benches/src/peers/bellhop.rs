//! bellhop-proxy, its routes coming from a real control process: in fixed-upstream mode, and intercepting.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use super::{KEY, Kind, Peer};
use crate::{
    control::{Control, Keeps},
    process,
    process::Process,
    seat::{Place, Seat},
    stage::Stage,
};

/// The port that the proxy's upstream stands for in fixed-upstream mode.
pub(crate) const PORT: u16 = 8080;
/// The user that an intercepting proxy runs as: whose traffic is left alone.
const USER: u32 = 64_115;
/// Its outbound listener.
const OUTBOUND: u16 = 15001;
/// How long packet filters may take to be written.
const INTERCEPT_DEADLINE: Duration = Duration::from_secs(20);

/// A control plane and what a proxy needs to use it.
#[derive(Debug)]
pub struct Bellhop {
    /// The control process.
    pub control: Control,
    program: PathBuf,
}

impl Bellhop {
    /// Starts a control process with the sandbox [`KEY`], and `sandboxes` others.
    ///
    /// # Errors
    /// Where it does not start or refuses a sandbox.
    pub async fn control(stage: &Stage, sandboxes: usize) -> anyhow::Result<Self> {
        let (bellhop, endpoint) = (Self::bare(stage, &Place::Host).await?, stage.ground.sandbox);
        let mut api = bellhop.control.api().await?;
        api.sandbox(KEY, PORT, endpoint).await?;
        for n in 0..sandboxes {
            api.sandbox(&format!("sandbox-{n}"), PORT, endpoint).await?;
        }
        Ok(bellhop)
    }

    async fn bare(stage: &Stage, place: &Place) -> anyhow::Result<Self> {
        let program = stage.programs.control.as_ref().context("no bellhop-control")?;
        let seat = Seat::new(stage.load_core, place);
        let control = Control::start(&seat, program, Keeps::Memory, stage.dir()).await?;
        let program = stage.programs.bellhop.clone().context("no bellhop-proxy")?;
        Ok(Self { control, program })
    }

    /// Starts a proxy in fixed-upstream mode; `name` names its log.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn proxy(&self, stage: &Stage, name: &str, fixed: &Fixed) -> anyhow::Result<Process> {
        start_fixed(stage, name, fixed, &["--control".into(), self.control.url().into()])
    }

    /// The control process, for whoever keeps it alive.
    #[must_use]
    pub fn into_control(self) -> Process {
        self.control.process
    }
}

/// Starts a proxy in fixed-upstream mode, with `more` arguments; `name` names its log.
///
/// # Errors
/// Where it cannot be started.
pub fn start_fixed(stage: &Stage, name: &str, fixed: &Fixed, more: &[OsString]) -> anyhow::Result<Process> {
    let program = stage.programs.bellhop.as_ref().context("no bellhop-proxy")?;
    let mut args = fixed_flags(fixed);
    args.extend(unlogged());
    args.extend_from_slice(more);
    Process::start(name, &stage.proxy_seat(), program, &args, stage.dir())
}

fn fixed_flags(fixed: &Fixed) -> Vec<OsString> {
    let mut args = flags([
        ("--listen", fixed.listen.to_string()),
        ("--upstream", fixed.upstream.to_string()),
        ("--destination", format!("items.default:{PORT}")),
        ("--admin", fixed.admin_socket.as_ref().map_or_else(|| fixed.admin.to_string(), unix)),
    ]);
    args.extend(one_worker());
    args.push("--allow-loopback-endpoints".into());
    args
}

/// A Unix socket as `--admin` and `--take-over` take it.
#[expect(clippy::ptr_arg, reason = "an Option's own reference is mapped")]
pub(crate) fn unix(path: &PathBuf) -> String {
    format!("unix:{}", path.display())
}

fn one_worker() -> Vec<OsString> {
    flags([("--workers", "1".to_owned())])
}

/// No other peer logs requests either.
fn unlogged() -> Vec<OsString> {
    flags([("--access-log", "off".to_owned())])
}

/// The addresses of a proxy in fixed-upstream mode.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    /// Its admin listener where that is a Unix socket: a successor gets the sockets over it.
    pub admin_socket: Option<PathBuf>,
    /// Its upstream.
    pub upstream: SocketAddr,
}

impl Fixed {
    /// On free ports, before `upstream`.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn before(upstream: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { listen: process::free_port()?, admin: process::free_port()?, admin_socket: None, upstream })
    }
}

fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<OsString> {
    flags.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]).collect()
}

pub(super) async fn start(stage: &Stage) -> anyhow::Result<Peer> {
    start_with_sandboxes(stage, 0).await
}

/// Starts Bellhop with `sandboxes` besides the one that is used.
///
/// # Errors
/// Where a process does not start.
pub async fn start_with_sandboxes(stage: &Stage, sandboxes: usize) -> anyhow::Result<Peer> {
    let bellhop = Bellhop::control(stage, sandboxes).await?;
    let fixed = Fixed::before(stage.ground.baseline)?;
    let mut process = bellhop.proxy(stage, Kind::Bellhop.name(), &fixed)?;
    process.wait_listening(fixed.listen).await?;
    let mut peer = Peer::of(Kind::Bellhop, process, (fixed.listen, fixed.listen), &stage.ground);
    if let Some(sink) = stage.ground.sink {
        let opaque = Fixed::before(sink)?;
        let mut process = bellhop.proxy(stage, "bellhop-opaque", &opaque)?;
        process.wait_listening(opaque.listen).await?;
        (peer.tcp, peer.tcp_process) = (Some(opaque.listen), Some(process));
    }
    peer.companions.push(bellhop.into_control());
    Ok(peer)
}

/// Starts a proxy with the access log that it has unless told otherwise: a line for each keyed request. Nobody keeps
/// them: a run writes gigabytes.
pub(super) async fn start_logged(stage: &Stage) -> anyhow::Result<Peer> {
    let bellhop = Bellhop::control(stage, 0).await?;
    let fixed = Fixed::before(stage.ground.baseline)?;
    let mut args: Vec<OsString> = ["-c", "exec \"$0\" \"$@\" >/dev/null"].map(OsString::from).into();
    args.push(bellhop.program.clone().into());
    args.extend(fixed_flags(&fixed));
    args.extend(flags([("--control", bellhop.control.url()), ("--access-log", "keyed".to_owned())]));
    let kind = Kind::BellhopLogged;
    let mut process = Process::start(kind.name(), &stage.proxy_seat(), Path::new("sh"), &args, stage.dir())?;
    process.wait_listening(fixed.listen).await?;
    let mut peer = Peer::of(kind, process, (fixed.listen, fixed.listen), &stage.ground);
    peer.companions.push(bellhop.into_control());
    Ok(peer)
}

/// Starts an intercepting proxy in a network of its own: the load dials the baseline's own address there, and the packet
/// filters of `bellhop-proxy intercept` lead it through.
pub(super) async fn start_intercepted(stage: &Stage) -> anyhow::Result<Peer> {
    let ground = stage.inner_ground().await?;
    let place = &ground.place;
    let bellhop = Bellhop::bare(stage, place).await?;
    let mut api = bellhop.control.api().await?;
    api.service(ground.baseline).await?;
    api.sandbox(KEY, ground.baseline.port(), ground.sandbox).await?;

    // Its user may not look into the directories that the program was built in.
    let program = stage.dir().join("bellhop-proxy-intercepted");
    std::fs::copy(&bellhop.program, &program).context("cannot copy bellhop-proxy")?;
    let mut command = Seat { core: None, place: place.clone(), user: None }.command(&program);
    command.args(["intercept", "--proxy-uid", &USER.to_string()]);
    process::run(command, INTERCEPT_DEADLINE).await.context("bellhop-proxy intercept")?;

    let seat = Seat { user: Some(USER), ..Seat::new(stage.proxy_core, place) };
    let admin = place.free_port().await?.to_string();
    let mut args = flags([("--admin", admin), ("--control", bellhop.control.url())]);
    args.push("--intercepted".into());
    args.extend(one_worker().into_iter().chain(unlogged()));
    let kind = Kind::BellhopIntercepted;
    let mut process = Process::start(kind.name(), &seat, &program, &args, stage.dir())?;
    process.wait_listening(SocketAddr::from(([127, 0, 0, 1], OUTBOUND))).await?;
    let mut peer = Peer::of(kind, process, (ground.baseline, ground.baseline), &ground);
    peer.tcp = ground.sink;
    peer.companions.push(bellhop.into_control());
    Ok(peer)
}

/// Why the intercepting proxy cannot run here.
pub(crate) fn cannot_intercept() -> Option<&'static str> {
    if !crate::seat::is_root() {
        return Some("needs root for a network of its own: run the comparison as root");
    }
    let missing = ["nft", "ip", "nsenter", "unshare"].into_iter().find(|tool| process::find(tool).is_none());
    missing.map(|_| "needs nft, ip, nsenter and unshare: apt-get install -y --no-install-recommends nftables iproute2 util-linux")
}
