//! A control plane that does what a test says.

use std::net::SocketAddr;

use bellhop_api::report::ProxyReport;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet, spawn_local},
    time::timeout,
};

use super::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts connections; hands watches to the test, and takes reports.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    watches: mpsc::UnboundedReceiver<Stream>,
    reports: mpsc::UnboundedReceiver<ProxyReport>,
    accepting: JoinHandle<()>,
}

/// One watch, its head answered.
pub(super) struct Stream {
    /// The request's target.
    pub(super) target: String,
    socket: TcpStream,
}

impl Peer {
    pub(super) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// One at an address, where another one was.
    pub(super) async fn at(address: SocketAddr) -> Self {
        let begun = Instant::now();
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // The one before lets go at its next turn.
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        let address = listener.local_addr().unwrap();
        let (to_watches, watches) = mpsc::unbounded_channel();
        let (to_reports, reports) = mpsc::unbounded_channel();
        let accepting = spawn_local(async move {
            // Ends with its connections, as a process does.
            let mut serving = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                serving.spawn_local(serve(socket, to_watches.clone(), to_reports.clone()));
            }
        });
        Self { address, watches, reports, accepting }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next watch that is asked for.
    pub(super) async fn watch(&mut self) -> Stream {
        timeout(PATIENCE, self.watches.recv()).await.expect("a watch").unwrap()
    }

    /// The next report.
    pub(super) async fn report(&mut self) -> ProxyReport {
        timeout(PATIENCE, self.reports.recv()).await.expect("a report").unwrap()
    }

    /// Whether a report has come.
    pub(super) fn reported(&mut self) -> bool {
        self.reports.try_recv().is_ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Stream {
    pub(super) async fn line(&mut self, line: &str) {
        self.bytes(line.as_bytes()).await;
        self.bytes(b"\n").await;
    }

    /// Sends what fits; a peer that has hung up is the test's business.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.socket.write_all(bytes)).await.expect("room");
    }

    pub(super) fn close(self) {}
}

async fn serve(
    mut socket: TcpStream,
    watches: mpsc::UnboundedSender<Stream>,
    reports: mpsc::UnboundedSender<ProxyReport>,
) {
    let mut read = Vec::new();
    loop {
        let Some(head) = read.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
            match socket.read_buf(&mut read).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        let text = String::from_utf8(read[..head].to_vec()).unwrap();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap().to_owned());
        if method == "GET" {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n";
            socket.write_all(answer).await.unwrap();
            let _ = watches.send(Stream { target, socket });
            return;
        }
        assert_eq!(target, "/v1/proxies/p%2D1");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let end = head + length.parse::<usize>().unwrap();
        while read.len() < end {
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let _ = reports.send(serde_json::from_slice(&read[head..end]).unwrap());
        read.drain(..end);
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    }
}
