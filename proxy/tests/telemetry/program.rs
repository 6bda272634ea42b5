//! `bellhop-proxy` as a process, with its access log in a file.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::harness::{Conn, DEADLINE};

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: NamedTempFile,
}

impl Program {
    pub(crate) fn before(upstream: SocketAddr, flags: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        // An address that was free a moment ago: the process tells where it serves, not where its admin listener is.
        let admin = crate::harness::refusing();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop-proxy"));
        command.args(["--listen", "127.0.0.1:0", "--destination", "app:80", "--workers", "1"]);
        command.args(["--upstream", &upstream.to_string(), "--admin", &admin.to_string()]);
        command.args(flags).env("BELLHOP_LOG_FORMAT", "json");
        let stdout = File::options().append(true).open(log.path()).unwrap();
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(told.read_line(&mut line).unwrap(), 0, "it ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving" {
                break line["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
            }
        };
        // So that it can go on writing.
        thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        Self { child, address, admin, log }
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The lines of its access log so far.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.log.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its first line for this path.
    pub(crate) fn line(&self, path: &str) -> serde_json::Value {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.lines().into_iter().find(|line| line["path"] == path) {
                return line;
            }
            assert!(Instant::now() < end, "no line for {path}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut admin = Conn::connect(self.admin);
        admin.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        admin.message().unwrap().text()
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
