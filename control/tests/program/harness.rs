//! The program in a process of its own, and a client of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Control {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Control {
    pub(crate) fn start(data: &Path) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_bellhop-control")), data)
    }

    /// Starts it where another one has listened.
    pub(crate) fn start_at(address: SocketAddr, data: &Path) -> Self {
        Self::run_at(address, Command::new(env!("CARGO_BIN_EXE_bellhop-control")), data)
    }

    /// Runs a command that becomes the program.
    pub(crate) fn run(command: Command, data: &Path) -> Self {
        Self::run_at(([127, 0, 0, 1], 0).into(), command, data)
    }

    fn run_at(address: SocketAddr, mut command: Command, data: &Path) -> Self {
        let mut child = command
            .arg(format!("--listen={address}"))
            .args(["--log=json", "--data-dir"])
            .arg(data)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        // read on to the end, so that the program never waits for its log to be taken
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = line["fields"]["address"].as_str() {
                    found.send(address.parse().unwrap()).ok();
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).expect("control listens");
        Self { child, address }
    }
}

impl Control {
    /// A size in KiB from the kernel's own account of the process, such as `VmHWM`: the most that it ever had.
    pub(crate) fn kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Sends one request; gives the whole answer, or nothing where the connection broke.
pub(crate) fn send(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("\r\n\r\n").then_some(answer)
}

pub(crate) fn put(address: SocketAddr, name: &str) -> Option<String> {
    let body = format!(
        r#"{{"apiVersion":"bellhop.dev/v1alpha1","kind":"Sandbox","metadata":{{"name":"{name}"}},
            "spec":{{"overrides":[{{"service":"route","port":80,"endpoints":["10.0.0.7"]}}]}}}}"#
    );
    let length = body.len();
    let head = format!(
        "PUT /v1/namespaces/default/sandboxes/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    send(address, &(head + &body))
}

/// All sandboxes.
pub(crate) fn list(address: SocketAddr) -> Vec<serde_json::Value> {
    let get = "GET /v1/sandboxes?limit=5000 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let answer = send(address, get).unwrap();
    let list: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// The names of all sandboxes.
pub(crate) fn names(address: SocketAddr) -> Vec<String> {
    list(address).iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
