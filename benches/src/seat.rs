//! Where a process of a run sits: on which core, in which network, as which user.
//!
//! A network of its own (Linux network namespace) is held by one process and by nothing else: no name, no file. With that
//! process it is gone, and its packet filters with it, however the harness ends.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::process;

/// The address of a network of its own that is not loopback's, so that `bellhop-proxy intercept` leads it through.
pub const INNER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// How long a network may take to come up.
const DEADLINE: Duration = Duration::from_secs(10);

/// A network.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// This host's.
    #[default]
    Host,
    /// One of the run's own.
    Inner(Arc<Inner>),
}

/// A network namespace. Dropped, it is gone.
#[derive(Debug)]
pub struct Inner {
    path: PathBuf,
    file: Arc<File>,
    _holder: Child,
}

impl Place {
    /// A network of its own, with loopback up and [`INNER`] on it. Needs root.
    ///
    /// # Errors
    /// Where the kernel or `unshare`, `nsenter`, `ip` refuse.
    pub async fn inner() -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sleep", "infinity"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let holder = command.spawn().context("cannot start unshare")?;
        let pid = holder.id().context("unshare ended at once")?;
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let begin = Instant::now();
        while std::fs::read_link(&path).with_context(|| "no network of its own: unshare failed")? == ours {
            ensure!(begin.elapsed() < DEADLINE, "no network of its own within {DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let file = Arc::new(File::open(&path)?);
        let place = Self::Inner(Arc::new(Inner { path, file, _holder: holder }));
        // A closed connection is remembered for two minutes otherwise, and a load makes thousands in a second.
        let script = format!(
            "ip link set lo up && ip address add {INNER}/32 dev lo
             echo 5 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait 2>/dev/null || true"
        );
        let mut command = Seat { core: None, place: place.clone(), user: None }.command(Path::new("sh"));
        command.args(["-c", &script]);
        process::run(command, DEADLINE).await.context("cannot set up a network")?;
        Ok(place)
    }

    /// The address that services have here.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Host => Ipv4Addr::LOCALHOST.into(),
            Self::Inner(_) => INNER.into(),
        }
    }

    /// Connects from here.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = match self {
            Self::Host => return TcpStream::connect(address).await,
            Self::Inner(_) => self.within(move || std::net::TcpStream::connect(address)).await?,
        };
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    /// A port of 127.0.0.1 that is free here.
    ///
    /// # Errors
    /// Where none is.
    pub async fn free_port(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Self::Host => process::free_port(),
            Self::Inner(_) => {
                let bound = self.within(|| std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()).await;
                Ok(bound.context("no free port")?)
            }
        }
    }

    /// Runs `work` here, on a thread of its own: sockets stay in the network that they were made in.
    async fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Self::Inner(inner) = self else { return work() };
        let file = Arc::clone(&inner.file);
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let outcome =
                move_into_link_name_space(rustix::fd::AsFd::as_fd(&*file), Some(LinkNameSpaceType::Network))
                    .map_err(io::Error::from)
                    .and_then(|()| work());
            // Who asked may be gone.
            let _ = tell.send(outcome);
        });
        told.await.map_err(|_| io::Error::other("the thread ended"))?
    }
}

/// A seat.
#[derive(Debug, Clone, Default)]
pub struct Seat {
    /// The only core; any where there is none.
    pub core: Option<usize>,
    /// The network.
    pub place: Place,
    /// The user and group; the harness's own where there is none.
    pub user: Option<u32>,
}

impl Seat {
    /// On `core`, in `place`, as the harness's own user.
    #[must_use]
    pub fn new(core: usize, place: &Place) -> Self {
        Self { core: Some(core), place: place.clone(), user: None }
    }

    /// A command that sits here and dies with the harness. All wrappers exec, so the child's pid is the program's.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Place::Inner(inner) = &self.place {
            command.arg("nsenter").arg(format!("--net={}", inner.path.display())).arg("--");
        }
        if let Some(core) = self.core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        if let Some(user) = self.user {
            let user = user.to_string();
            // A change of user takes the signal away; it is set again behind it.
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
            command.args(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        command.arg(program).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Whether the harness may make networks.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
