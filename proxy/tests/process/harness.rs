//! A proxy as a process, and peers for it.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_bellhop-proxy");
/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    pub(crate) child: Child,
    log: BufReader<Box<dyn Read + Send>>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Proxy {
    /// Runs `line` in a shell, in which `$PROXY` is the program, and waits until it serves.
    pub(crate) fn start(line: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).env("PROXY", PROGRAM).env("BELLHOP_LOG_FORMAT", "json");
        command.env("BELLHOP_ADMIN", "off").env("BELLHOP_LISTEN", "127.0.0.1:0");
        Self::from_command(command.stdout(Stdio::null()))
    }

    /// Runs a command that becomes a proxy, and waits until it serves.
    pub(crate) fn from_command(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log: BufReader<Box<dyn Read + Send>> = BufReader::new(Box::new(child.stderr.take().unwrap()));
        let mut told = String::new();
        let addresses = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended: {told}");
            told.push_str(&line);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving" {
                let addresses = line["addresses"].as_str().unwrap().trim_matches(['[', ']']).split(", ");
                break addresses.map(|address| address.parse().unwrap()).collect();
            }
        };
        Self { child, log, addresses }
    }

    pub(crate) fn before(upstream: SocketAddr, flags: &str) -> Self {
        Self::start(&format!("exec $PROXY --upstream {upstream} {flags}"))
    }

    pub(crate) fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect(self.addresses[0]).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It fails where the process has ended.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads the log up to the line with this message.
    pub(crate) fn tells(&mut self, message: &str) {
        let mut told = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended: {told}");
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            if parsed["message"] == message {
                return;
            }
            told.push_str(&line);
        }
    }

    /// Lets it go on writing a log that nobody reads.
    #[allow(dead_code, reason = "for the tests of telemetry, which share this file")]
    pub(crate) fn forget_log(&mut self) {
        let mut log = std::mem::replace(&mut self.log, BufReader::new(Box::new(std::io::empty())));
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    }

    pub(crate) fn rest_of_log(&mut self) -> String {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        log
    }

    /// Memory that is this process's alone, and its share of what it has with others, in KiB.
    pub(crate) fn pss_kib(&self) -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// User and system time so far, in clock ticks (proc(5)).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that nobody else takes until it is listened on: calls on loopback come from ports of 127.0.0.1.
pub(crate) fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap()
}

pub(crate) fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut read = vec![0; bytes.len()];
    to.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

/// Asks until `found` has something; nothing else ends a wait but the deadline.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
