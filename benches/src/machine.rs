//! What a run was made on and with; numbers mean nothing without it.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::{peers::Kind, tools::Tool};

/// Machine and versions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Processors to be had.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Load average over the minute before the run: above 0.5 the figures are noisy.
    pub load_before: f64,
    /// First line of each program's version.
    pub versions: BTreeMap<String, String>,
    /// When, in UTC (RFC 3339).
    #[serde(default)]
    pub date: String,
}

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn look(peers: &[Kind]) -> Self {
        let mut versions = BTreeMap::new();
        let mut tell = |name: &str, program: Option<std::path::PathBuf>, flag| {
            if let Some(version) = program.and_then(|program| first_line(&program, flag)) {
                versions.insert(name.to_owned(), version);
            }
        };
        for (tool, flag) in [
            (Tool::Wrk, "-v"),
            (Tool::H2load, "--version"),
            (Tool::Oha, "--version"),
            (Tool::Ghz, "--version"),
            (Tool::Iperf3, "--version"),
        ] {
            tell(tool.name(), tool.program(), flag);
        }
        for kind in peers {
            match kind {
                Kind::Haproxy | Kind::HaproxyTcp => tell("haproxy", crate::process::find("haproxy"), "-v"),
                Kind::Nginx => tell("nginx", crate::process::find("nginx"), "-v"),
                Kind::Envoy => tell("envoy", crate::peers::envoy_program(), "--version"),
                Kind::Direct | Kind::HyperRelay => {}
                Kind::Bellhop | Kind::BellhopLogged | Kind::BellhopIntercepted => {}
            }
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
            versions,
            date: jiff::Timestamp::now()
                .round(jiff::Unit::Second)
                .map(|now| now.to_string())
                .unwrap_or_default(),
        }
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Some print their version to stderr, and wrk ends with a failure after it.
fn first_line(program: &std::path::Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_model() {
        assert_eq!(processor("processor : 0\nmodel name\t: A (R) B\n").as_deref(), Some("A (R) B"));
        assert_eq!(processor("x"), None);
    }
}
