//! A control plane in a host of the lab, and the command that speaks to it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    client,
    net::{Host, User},
    paths,
    process::Process,
    wait,
};

const PORT: u16 = 7070;
/// Within this a control plane serves.
const START: Duration = Duration::from_secs(15);

/// A running control plane, on the host's own addresses and loopback. Its store outlives a restart.
#[derive(Debug)]
pub struct TestControl {
    host: Host,
    data: PathBuf,
    more: Vec<String>,
    process: Option<Process>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl TestControl {
    /// Starts a control plane and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_with(host, &[])
    }

    /// The same with more arguments.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_with(host: &Host, arguments: &[&str]) -> Result<Self> {
        let data = host.directory().join(format!("{}-data", host.name));
        let more = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut control = Self { host: host.clone(), data, more, process: None };
        control.start_again()?;
        Ok(control)
    }

    /// Starts it again on the same store.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = self.host.command(User::Root, paths::program("bellhop-control")?);
        command.args(["--listen", &format!("[::]:{PORT}"), "--insecure", "--data-dir"]).arg(&self.data);
        command.args(&self.more);
        let mut process = Process::start(&self.host.name, command, self.host.directory())?;
        wait::until("the control plane", START, || {
            process.alive()?;
            let reply = client::get(&self.host, (self.host.v4, PORT).into(), "/v1/proxies", &[])?;
            ensure!(reply.status == 200, "{reply:?}");
            Ok(())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where proxies reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.host.v4)
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs `bellhop` on the control plane's host.
    ///
    /// # Errors
    /// When it cannot be run; what it exits with is in the answer.
    pub fn command(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let mut command = self.host.command(User::Root, paths::program("bellhop")?);
        command.env("BELLHOP_SERVER", self.url()).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().context("no stdin")?.write_all(input.as_bytes());
        let output = child.wait_with_output()?;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `bellhop` and expects it to succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn bellhop(&self, arguments: &[&str], input: &str) -> Result<String> {
        let said = self.command(arguments, input)?;
        ensure!(said.code == Some(0), "bellhop {} on:\n{input}\n{said:#?}", arguments.join(" "));
        Ok(said.out)
    }

    /// `bellhop apply -f - --wait`: returns when every proxy has what was applied.
    ///
    /// # Errors
    /// When the manifest is refused or does not come in force.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.bellhop(&["apply", "-f", "-", "--wait"], manifest)
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Where its store is.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }
}
