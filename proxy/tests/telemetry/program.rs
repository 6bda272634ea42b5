//! `bellhop-proxy` as a process, with its access log in a file.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::Command,
};

use tempfile::NamedTempFile;

use crate::{
    harness::Conn,
    process::{PROGRAM, Proxy, until, unused},
};

/// A running program; killed when dropped.
pub(crate) struct Program {
    pub(crate) process: Proxy,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: NamedTempFile,
}

impl Program {
    pub(crate) fn before(upstream: SocketAddr, flags: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        // An address that was free a moment ago: the process tells where it serves, not where its admin listener is.
        let admin = unused();
        let mut command = Command::new(PROGRAM);
        command.args(["--listen", "127.0.0.1:0", "--destination", "app:80", "--workers", "1"]);
        command.args(["--upstream", &upstream.to_string(), "--admin", &admin.to_string()]);
        command.args(flags).env("BELLHOP_LOG_FORMAT", "json");
        let stdout = File::options().append(true).open(log.path()).unwrap();
        let mut process = Proxy::from_command(command.stdout(stdout));
        process.forget_log();
        Self { address: process.addresses[0], process, admin, log }
    }

    /// The lines of its access log so far.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.log.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its first line for this path.
    pub(crate) fn line(&self, path: &str) -> serde_json::Value {
        until("a line", || self.lines().into_iter().find(|line| line["path"] == path))
    }

    pub(crate) fn metrics(&self) -> String {
        let mut admin = Conn::connect(self.admin);
        admin.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        admin.message().unwrap().text()
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}
