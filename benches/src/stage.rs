//! What a run stands on: the backend, the cores, a directory for configurations and logs, and our own programs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream, process::Command};

use crate::{cli::Common, process::Process};

/// How long building our own programs may take.
const BUILD_DEADLINE: Duration = Duration::from_secs(1800);

/// The stage of one run. Dropped, it takes the backend with it.
#[derive(Debug)]
pub struct Stage {
    /// The baseline version.
    pub baseline: SocketAddr,
    /// The sandbox version.
    pub sandbox: SocketAddr,
    counts: SocketAddr,
    /// The core of the measured proxy.
    pub proxy_core: usize,
    /// The core of load and backend.
    pub load_core: usize,
    /// Our own programs.
    pub programs: Programs,
    backend: Process,
    dir: TempDir,
}

/// Where our own programs are.
#[derive(Debug)]
pub struct Programs {
    /// `bellhop-proxy`; `None` where Bellhop does not take part.
    pub bellhop: Option<PathBuf>,
    /// `bellhop-control`; `None` where Bellhop does not take part.
    pub control: Option<PathBuf>,
    relay: PathBuf,
    backend: PathBuf,
}

impl Programs {
    /// The bare-hyper relay.
    #[must_use]
    pub fn relay(&self) -> &Path {
        &self.relay
    }

    /// Builds what is not given, with the profile `dist`.
    ///
    /// # Errors
    /// Where cargo fails.
    pub async fn build(common: &Common, with_bellhop: bool) -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("benches/ has no parent")?;
        let mut command = Command::new(cargo);
        command.current_dir(workspace).args(["build", "--profile", "dist", "--message-format", "json"]);
        command.args(["-p", "bellhop-bench", "--bin", "bench-relay", "--bin", "bench-backend"]);
        if with_bellhop && common.bellhop.is_none() {
            command.args(["-p", "bellhop-proxy", "--bin", "bellhop-proxy"]);
        }
        if with_bellhop && common.control.is_none() {
            command.args(["-p", "bellhop-control", "--bin", "bellhop-control"]);
        }
        command.stderr(std::process::Stdio::inherit());
        let output = crate::process::run(command, BUILD_DEADLINE).await?;
        let built = |name: &str| executable(&output, name).with_context(|| format!("cargo built no {name}"));
        let ours = |given: &Option<PathBuf>, name: &str| match given {
            _ if !with_bellhop => Ok(None),
            Some(path) => path.canonicalize().with_context(|| format!("no {}", path.display())).map(Some),
            None => built(name).map(Some),
        };
        Ok(Self {
            bellhop: ours(&common.bellhop, "bellhop-proxy")?,
            control: ours(&common.control, "bellhop-control")?,
            relay: built("bench-relay")?,
            backend: built("bench-backend")?,
        })
    }
}

/// The executable called `name` in what cargo said (`--message-format json`).
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(|v| v.as_str()) == Some(name))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

/// Requests served, by version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// By the baseline.
    pub baseline: u64,
    /// By the sandbox.
    pub sandbox: u64,
}

impl Served {
    /// By both.
    #[must_use]
    pub fn total(self) -> u64 {
        self.baseline + self.sandbox
    }

    /// What came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { baseline: self.baseline - earlier.baseline, sandbox: self.sandbox - earlier.sandbox }
    }

    fn parse(text: &str) -> Option<Self> {
        let (baseline, sandbox) = text.trim().split_once(' ')?;
        Some(Self { baseline: baseline.parse().ok()?, sandbox: sandbox.parse().ok()? })
    }
}

impl Stage {
    /// Builds our programs and starts the backend.
    ///
    /// # Errors
    /// Where building or starting fails, or a core does not exist.
    pub async fn set(common: &Common, with_bellhop: bool) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        if common.proxy_core >= cores || common.load_core >= cores || common.proxy_core == common.load_core {
            bail!(
                "--proxy-core {} and --load-core {}: two different cores of 0 to {} are needed",
                common.proxy_core,
                common.load_core,
                cores - 1
            );
        }
        let programs = Programs::build(common, with_bellhop).await?;
        let dir = tempfile::Builder::new().prefix("bellhop-bench-").tempdir()?;
        let (backend, line) =
            Process::start_and_read_line("backend", common.load_core, &programs.backend, &[], dir.path())
                .await?;
        let [baseline, sandbox, counts] = ports(&line).context("the backend told no three ports")?;
        Ok(Self {
            baseline,
            sandbox,
            counts,
            proxy_core: common.proxy_core,
            load_core: common.load_core,
            programs,
            backend,
            dir,
        })
    }

    /// Where configurations and logs go.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How many requests each version has served.
    ///
    /// # Errors
    /// Where the backend does not answer.
    pub async fn served(&self) -> anyhow::Result<Served> {
        let mut text = String::new();
        let mut stream = TcpStream::connect(self.counts)
            .await
            .with_context(|| format!("the backend (pid {}) is gone", self.backend.pid()))?;
        stream.read_to_string(&mut text).await?;
        Served::parse(&text).with_context(|| format!("the backend's counts are unreadable: {text:?}"))
    }
}

/// Ports of 127.0.0.1 as our programs print them, on one line.
#[must_use]
pub fn ports<const N: usize>(line: &str) -> Option<[SocketAddr; N]> {
    let ports: Option<Vec<_>> = line
        .split_whitespace()
        .map(|p| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, p.parse().ok()?))))
        .collect();
    ports?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_counts_are_read_or_refused() {
        assert_eq!(ports::<2>("80 81\n").unwrap()[1], "127.0.0.1:81".parse().unwrap());
        assert_eq!(ports::<3>("80 81\n"), None);
        assert_eq!(ports::<1>("x"), None);
        assert_eq!(Served::parse("3 4"), Some(Served { baseline: 3, sandbox: 4 }));
        assert_eq!(Served::parse("3"), None);
    }

    #[test]
    fn a_program_is_found_in_what_cargo_says() {
        let output = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":null}\n\
                      {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":\"/x/a\"}\nnoise\n";
        assert_eq!(executable(output, "a"), Some(PathBuf::from("/x/a")));
        assert_eq!(executable(output, "b"), None);
    }
}
