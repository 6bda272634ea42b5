//! What a run stands on: the backend, the cores, a directory for configurations and logs, and our own programs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    cli::Common,
    ground::Ground,
    seat::{Place, Seat},
};

/// How long building our own programs may take.
const BUILD_DEADLINE: Duration = Duration::from_secs(1800);

/// The stage of one run. Dropped, it takes the backend with it.
#[derive(Debug)]
pub struct Stage {
    /// The ground of all peers but those that need one of their own.
    pub ground: Arc<Ground>,
    /// The core of the measured proxy.
    pub proxy_core: usize,
    /// The core of load and backend.
    pub load_core: usize,
    /// Our own programs.
    pub programs: Programs,
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
    load: PathBuf,
}

impl Programs {
    /// The bare-hyper relay.
    #[must_use]
    pub fn relay(&self) -> &Path {
        &self.relay
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Path {
        &self.backend
    }

    /// Our own load.
    #[must_use]
    pub fn load(&self) -> &Path {
        &self.load
    }

    /// Builds what is not given.
    ///
    /// # Errors
    /// Where cargo fails.
    pub async fn build(common: &Common, with_bellhop: bool) -> anyhow::Result<Self> {
        if let Some(dir) = &common.programs {
            return Self::beside(dir, common, with_bellhop);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("benches/ has no parent")?;
        let mut command = Command::new(cargo);
        command.current_dir(workspace).args([
            "build",
            "--profile",
            &common.profile,
            "--message-format",
            "json",
        ]);
        command.args([
            "-p",
            "bellhop-bench",
            "--bin",
            "bench-relay",
            "--bin",
            "bench-backend",
            "--bin",
            "bench-load",
        ]);
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
            load: built("bench-load")?,
        })
    }

    /// Takes what is there.
    fn beside(dir: &Path, common: &Common, with_bellhop: bool) -> anyhow::Result<Self> {
        let found = |path: PathBuf| path.canonicalize().with_context(|| format!("no {}", path.display()));
        let ours = |given: &Option<PathBuf>, name: &str| {
            let path = given.clone().unwrap_or_else(|| dir.join(name));
            with_bellhop.then(|| found(path)).transpose()
        };
        Ok(Self {
            bellhop: ours(&common.bellhop, "bellhop-proxy")?,
            control: ours(&common.control, "bellhop-control")?,
            relay: found(dir.join("bench-relay"))?,
            backend: found(dir.join("bench-backend"))?,
            load: found(dir.join("bench-load"))?,
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
        // A proxy that runs as another user finds its program in here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
        let ground = Ground::lay(Place::Host, common.load_core, &programs.backend, dir.path()).await?;
        Ok(Self {
            ground: Arc::new(ground),
            proxy_core: common.proxy_core,
            load_core: common.load_core,
            programs,
            dir,
        })
    }

    /// Lays another ground, in a network of its own.
    ///
    /// # Errors
    /// Where the network or the backend cannot be had.
    pub async fn inner_ground(&self) -> anyhow::Result<Arc<Ground>> {
        let place = Place::inner().await?;
        Ok(Arc::new(Ground::lay(place, self.load_core, &self.programs.backend, self.dir()).await?))
    }

    /// The seat of measured proxies on this host's network.
    #[must_use]
    pub fn proxy_seat(&self) -> Seat {
        Seat::new(self.proxy_core, &Place::Host)
    }

    /// Where configurations and logs go.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_what_cargo_says() {
        let output = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":null}\n\
                      {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":\"/x/a\"}\nnoise\n";
        assert_eq!(executable(output, "a"), Some(PathBuf::from("/x/a")));
        assert_eq!(executable(output, "b"), None);
    }
}
