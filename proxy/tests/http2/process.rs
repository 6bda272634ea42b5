//! The proxy as a process of its own, where its memory is what is asked about.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::peer::{DEADLINE, sum};

/// A running proxy with one fixed upstream; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Process {
    /// Starts it and waits until it serves.
    pub(crate) fn before(upstream: SocketAddr, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let admin = format!("unix:{}", directory.path().join("admin").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop-proxy"));
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--log-format",
            "json",
            "--admin",
            &admin,
        ]);
        command.args(["--upstream", &upstream.to_string()]).args(flags);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next().expect("it serves").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving" {
                let addresses = line["addresses"].as_str().unwrap().trim_matches(['[', ']']);
                break addresses.parse().unwrap();
            }
        };
        // Whoever reads no further makes a writer wait.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address, directory }
    }

    /// The sum of a metric's series that hold all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut socket = UnixStream::connect(self.directory.path().join("admin")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        sum(&text, name, labels)
    }

    /// Waits until a metric is at least `least`.
    pub(crate) fn counts(&self, name: &str, labels: &[(&str, &str)], least: f64) {
        let end = Instant::now() + DEADLINE;
        while self.metric(name, labels) < least {
            assert!(Instant::now() < end, "{name} {labels:?}: {} of {least}", self.metric(name, labels));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Most memory that it had resident since [`forget_peak`](Self::forget_peak), in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory that it has resident, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The peak is what is resident now (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
