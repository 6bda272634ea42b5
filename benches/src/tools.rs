//! The load tools: where they are, and the line that installs each.

use std::path::PathBuf;

use crate::process::{cache, find};

/// Where cargo and go put what this harness has them install.
const BIN: &str = "bin";

/// A load tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// HTTP/1, closed loop.
    Wrk,
    /// HTTP/2, closed loop.
    H2load,
    /// HTTP/1, open loop: a rate, with the time that a request waited for its turn counted as latency.
    Oha,
    /// gRPC streams.
    Ghz,
    /// Opaque streams.
    Iperf3,
    /// Ours, for what none of them does: WebSocket echo.
    Own,
}

impl Tool {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Oha => "oha",
            Self::Ghz => "ghz",
            Self::Iperf3 => "iperf3",
            Self::Own => "bench-load",
        }
    }

    /// Where it is; `None` where it is not installed. Our own is built by each run and is not asked for here.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let cached = || Some(cache().ok()?.join(BIN).join(self.name())).filter(|file| file.is_file());
        find(self.name()).or_else(cached)
    }

    /// The line that installs it; `None` for our own.
    ///
    /// # Errors
    /// Where there is no directory to install into.
    pub fn line(self) -> anyhow::Result<Option<String>> {
        let package = |name: &str| format!("apt-get install -y --no-install-recommends {name}");
        Ok(Some(match self {
            Self::Own => return Ok(None),
            Self::Wrk => package("wrk"),
            Self::H2load => package("nghttp2-client"),
            Self::Iperf3 => package("iperf3"),
            Self::Oha => format!("cargo install oha --locked --root {}", cache()?.display()),
            Self::Ghz => {
                let bin = cache()?.join(BIN);
                format!("GOBIN={} go install github.com/bojand/ghz/cmd/ghz@v0.121.0", bin.display())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_foreign_tool_has_a_line_that_names_it_or_its_package() {
        for tool in [Tool::Wrk, Tool::H2load, Tool::Oha, Tool::Ghz, Tool::Iperf3] {
            let line = tool.line().unwrap().unwrap();
            assert!(line.contains(tool.name()) || line.contains("nghttp2-client"), "{line}");
        }
        assert_eq!(Tool::Own.line().unwrap(), None);
    }
}
