//! An intercepting `bellhop-proxy` on a host of the lab, under a user of its own.

use std::{net::SocketAddr, path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::{
    client,
    net::{Host, User},
    paths,
    process::Process,
    wait,
};

/// Health and metrics of every proxy of a lab, on loopback.
const STATUS: &str = "127.0.0.1:15020";
/// Within this a proxy is ready.
const START: Duration = Duration::from_secs(15);
/// Within this what happened shows in the metrics.
const COUNTED: Duration = Duration::from_secs(2);

/// A proxy that intercepts what its host sends, and what it is sent on some ports.
#[derive(Debug)]
pub struct TestProxy {
    host: Host,
    arguments: Vec<String>,
    process: Process,
}

impl TestProxy {
    /// Writes the packet filters and starts a proxy on `host`; calls to `inbound_ports` pass through it as well.
    /// `arguments` are put behind those that every proxy of a lab has.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn intercepting(host: &Host, inbound_ports: &[u16], arguments: &[&str]) -> Result<Self> {
        intercept(host, inbound_ports, &[])?;
        let mut all: Vec<String> =
            ["--intercepted", "--status-listen", STATUS, "--workload", &host.name].map(str::to_owned).into();
        if !inbound_ports.is_empty() {
            all.extend(["--inbound-ports".to_owned(), list(inbound_ports)]);
        }
        Self::start(host, all, arguments)
    }

    /// Starts a proxy on `host` that intercepts nothing.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn plain(host: &Host, arguments: &[&str]) -> Result<Self> {
        Self::start(host, vec!["--status-listen".to_owned(), STATUS.to_owned()], arguments)
    }

    fn start(host: &Host, mut all: Vec<String>, more: &[&str]) -> Result<Self> {
        all.extend(more.iter().map(|argument| (*argument).to_owned()));
        let process = spawn(host, &all)?;
        let mut proxy = Self { host: host.clone(), arguments: all, process };
        proxy.ready()?;
        Ok(proxy)
    }

    /// Starts another process in its place, with `arguments` behind the old ones.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn restart(&mut self, arguments: &[&str]) -> Result<()> {
        self.process.kill();
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.process = spawn(&self.host, &self.arguments)?;
        self.ready()
    }

    fn ready(&mut self) -> Result<()> {
        wait::until(&format!("the proxy of {}", self.host.name), START, || {
            self.process.alive()?;
            let status = self.status("/readyz")?;
            ensure!(status.status == 200, "{status:?}");
            Ok(())
        })
        .with_context(|| self.process.last_words())
    }

    /// What its status listener says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn status(&self, path: &str) -> Result<client::Reply> {
        client::get(&self.host, STATUS.parse()?, path, &[])
    }

    /// What its admin listener says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn admin(&self, path: &str) -> Result<client::Reply> {
        client::get(&self.host, "127.0.0.1:15000".parse()?, path, &[])
    }

    /// How often something was counted: the sum of all counters that have `label` as the value of one of their labels,
    /// which are closed sets.
    ///
    /// # Errors
    /// When the metrics cannot be read.
    pub fn counted(&self, label: &str) -> Result<f64> {
        let (text, label) = (self.status("/metrics")?.body, format!("=\"{label}\""));
        let counters = text.lines().filter(|line| {
            line.split('{').next().is_some_and(|name| name.ends_with("_total")) && line.contains(&label)
        });
        counters.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    }

    /// The sum of all series of a metric.
    ///
    /// # Errors
    /// When the metrics cannot be read.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.status("/metrics")?.body;
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    }

    /// Runs `work`, and fails unless something was counted under `label` meanwhile.
    ///
    /// # Errors
    /// When `work` fails, or nothing was counted.
    pub fn counts<T>(&self, label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.counted(label)?;
        let done = work()?;
        // A request is counted when it has ended, which may be after its last byte was seen.
        wait::until(&format!("{label} to be counted"), COUNTED, || {
            ensure!(
                self.counted(label)? > before,
                "{before} before, and still; all metrics:\n{}",
                self.status("/metrics")?.body
            );
            Ok(())
        })?;
        Ok(done)
    }

    /// How many series its metrics have.
    ///
    /// # Errors
    /// When the metrics cannot be read.
    pub fn series(&self) -> Result<usize> {
        Ok(self.status("/metrics")?.body.lines().filter(|line| !line.starts_with('#')).count())
    }

    /// How many descriptors it holds open.
    ///
    /// # Errors
    /// When it is gone.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().next().context("no number")?.parse()?)
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or_default()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Tells it to go (SIGTERM).
    ///
    /// # Errors
    /// When it is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.ended_within(limit)
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// When it has.
    pub fn alive(&mut self) -> Result<()> {
        self.process.alive()
    }

    /// Its output so far: its log and its access log.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where the inbound listener is reached from other hosts.
    #[must_use]
    pub fn inbound(&self) -> SocketAddr {
        (self.host.v4, 15006).into()
    }

    /// Where it may keep a snapshot.
    #[must_use]
    pub fn snapshot(host: &Host) -> PathBuf {
        host.directory().join(format!("{}-snapshot", host.name))
    }
}

/// `bellhop-proxy intercept` on a host, with the users of the lab.
///
/// # Errors
/// When it fails.
pub fn intercept(host: &Host, inbound_ports: &[u16], more: &[&str]) -> Result<String> {
    let user = User::Proxy.id().to_string();
    let ports = list(inbound_ports);
    let mut arguments =
        vec!["intercept", "--outbound-port", "15001", "--inbound-port", "15006", "--proxy-uid", &user];
    if !inbound_ports.is_empty() {
        arguments.extend(["--inbound-ports", &ports]);
    }
    arguments.extend(more);
    let program = paths::program("bellhop-proxy")?;
    host.run(&program.to_string_lossy(), &arguments, "")
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn spawn(host: &Host, arguments: &[String]) -> Result<Process> {
    let mut command = host.command(User::Proxy, paths::program("bellhop-proxy")?);
    command.args(arguments);
    Process::start(&format!("{}-proxy", host.name), command, host.directory())
}
