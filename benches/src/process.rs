//! Processes of a run: each on its core, and none outlives the harness.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::seat::{Place, Seat};

/// How long a process may take until it listens.
pub const START_DEADLINE: Duration = Duration::from_secs(60);

/// A child process; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
    place: Place,
}

/// Descriptors that the largest run needs.
const DESCRIPTORS: u64 = 65_536;
/// Lines of a log that an error quotes.
const LOG_TAIL_LINES: usize = 8;

impl Process {
    /// Starts `program`, its output going to a log in `dir`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(
        name: &str,
        seat: &Seat,
        program: &Path,
        args: &[OsString],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = seat.command(program);
        command.args(args).stdout(file.try_clone()?).stderr(file);
        let child =
            command.spawn().with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name: name.to_owned(), child, pid, log, place: seat.place.clone() })
    }

    /// Starts `program` and gives the first line that it prints.
    ///
    /// # Errors
    /// Where it cannot be started or prints nothing within [`START_DEADLINE`].
    pub async fn start_and_read_line(
        name: &str,
        seat: &Seat,
        program: &Path,
        args: &[OsString],
        dir: &Path,
    ) -> anyhow::Result<(Self, String)> {
        let log = dir.join(format!("{name}.log"));
        let mut command = seat.command(program);
        command.args(args).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        let out = child.stdout.take().with_context(|| format!("{name} has no output"))?;
        let mut process = Self { name: name.to_owned(), child, pid, log, place: seat.place.clone() };
        let mut line = String::new();
        let read = tokio::time::timeout(START_DEADLINE, BufReader::new(out).read_line(&mut line)).await;
        match read {
            Ok(Ok(n)) if n > 0 => Ok((process, line)),
            _ => Err(process.failure("told no ports")),
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it accepts connections at `address` (`HOST:PORT`).
    ///
    /// # Errors
    /// Where it ends, or [`START_DEADLINE`] passes, before that.
    pub async fn wait_listening(&mut self, address: std::net::SocketAddr) -> anyhow::Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START_DEADLINE {
            if self.place.connect(address).await.is_ok() {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                return Err(self.failure("ended"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(self.failure(&format!("does not listen at {address}")))
    }

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot end {}", self.name))
    }

    /// Tells it to end (SIGTERM).
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        signal(self.pid, Signal::TERM).with_context(|| format!("cannot end {}", self.name))
    }

    /// Waits for its end, within `limit`.
    ///
    /// # Errors
    /// Where it still runs then.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<std::process::ExitStatus> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => Err(self.failure(&format!("has not ended within {limit:?}"))),
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// Where it has ended; its last words are told.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("ended with {status}"))),
        }
    }

    fn failure(&mut self, what: &str) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default().join("\n");
        anyhow::anyhow!("{} {what}; its last words:\n{tail}", self.name)
    }
}

/// Sends a signal to one process.
///
/// # Errors
/// Where it is gone.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no such process")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// A port of 127.0.0.1 that was free a moment ago, for programs that cannot be asked which port they got.
///
/// # Errors
/// Where none is free.
pub fn free_port() -> anyhow::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Raises the soft descriptor limit to the hard one; children inherit it.
///
/// # Errors
/// Where the kernel refuses.
pub fn raise_descriptor_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Root may go beyond the hard limit, and 10,000 watchers need it.
    let beyond = limit.maximum.map(|hard| hard.max(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: beyond, maximum: beyond })
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }))
        .context("cannot raise the descriptor limit")
}

/// Where `program` is on the PATH, or in the places where Debian keeps daemons.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Where this harness keeps what it installs: a directory of its own under the user's cache.
///
/// # Errors
/// Where there is neither `XDG_CACHE_HOME` nor `HOME`.
pub fn cache() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("bellhop-bench"))
}

/// Runs a command to its end; its output where it succeeded.
///
/// # Errors
/// Where it cannot be started, fails or outlasts `deadline`.
pub async fn run(mut command: Command, deadline: Duration) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let output = tokio::time::timeout(deadline, command.output())
        .await
        .with_context(|| format!("{shown} did not end within {deadline:?}"))?
        .with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
