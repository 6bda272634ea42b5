//! The ground that peers stand on: a network with both versions of the backend in it, and a sink for opaque streams.

use std::{ffi::OsString, net::SocketAddr, path::Path};

use anyhow::Context;
use tokio::io::AsyncReadExt;

use crate::{
    process::Process,
    seat::{Place, Seat},
    tools::Tool,
};

/// A ground. Dropped, its processes end.
#[derive(Debug)]
pub struct Ground {
    /// Its network.
    pub place: Place,
    /// The baseline version.
    pub baseline: SocketAddr,
    /// The sandbox version.
    pub sandbox: SocketAddr,
    /// Where iperf3 takes opaque streams; `None` where it is not installed.
    pub sink: Option<SocketAddr>,
    counts: SocketAddr,
    backend: Process,
    _sink: Option<Process>,
}

impl Ground {
    /// Starts the backend (`program`) in `place`, on `core`; logs go to `dir`.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn lay(place: Place, core: usize, program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let seat = Seat::new(core, &place);
        let inner = if matches!(place, Place::Host) { "" } else { "-inner" };
        let address: OsString = place.address().to_string().into();
        let name = format!("backend{inner}");
        let (backend, line) = Process::start_and_read_line(&name, &seat, program, &[address], dir).await?;
        let [baseline, sandbox, counts] = ports(&line)
            .context("the backend told no three ports")?
            .map(|port| SocketAddr::new(place.address(), port));
        let (sink, process) = match Tool::Iperf3.program() {
            None => (None, None),
            Some(program) => {
                let sink = SocketAddr::new(place.address(), place.free_port().await?.port());
                let args = ["-s", "-B", &sink.ip().to_string(), "-p", &sink.port().to_string()];
                let args = args.map(OsString::from);
                let mut process = Process::start(&format!("iperf3{inner}"), &seat, &program, &args, dir)?;
                process.wait_listening(sink).await?;
                (Some(sink), Some(process))
            }
        };
        Ok(Self { place, baseline, sandbox, sink, counts, backend, _sink: process })
    }

    /// How much each version has served.
    ///
    /// # Errors
    /// Where the backend does not answer.
    pub async fn served(&self) -> anyhow::Result<Served> {
        let mut text = String::new();
        let mut stream = self
            .place
            .connect(self.counts)
            .await
            .with_context(|| format!("the backend (pid {}) is gone", self.backend.pid()))?;
        stream.read_to_string(&mut text).await?;
        Served::parse(&text).with_context(|| format!("the backend's counts are unreadable: {text:?}"))
    }
}

/// Requests and messages served, by version.
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

/// Ports as our programs print them, on one line.
#[must_use]
pub fn ports<const N: usize>(line: &str) -> Option<[u16; N]> {
    let ports: Option<Vec<_>> = line.split_whitespace().map(|port| port.parse().ok()).collect();
    ports?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_counts_are_read_or_refused() {
        assert_eq!(ports::<2>("80 81\n"), Some([80, 81]));
        assert_eq!(ports::<3>("80 81\n"), None);
        assert_eq!(ports::<1>("x"), None);
        assert_eq!(Served::parse("3 4"), Some(Served { baseline: 3, sandbox: 4 }));
        assert_eq!(Served::parse("3"), None);
    }
}
