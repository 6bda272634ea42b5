//! One watcher: a connection that reads the watch, and acknowledges every put as a proxy does, by a report.
//!
//! It is as lean as a connection can be, since thousands share one thread: lines are searched, not parsed, and reports go
//! over a few shared connections.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use bellhop_api::report::ProxyReport;
use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};

/// How long one watch may take until its list is complete.
const SYNCED: Duration = Duration::from_secs(60);
/// The key whose puts are acknowledged.
pub(super) const KEY: &str = "watched";

/// When the newest digest arrived, at how many watchers.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) by_digest: HashMap<String, Vec<Instant>>,
}

/// A report to be sent.
#[derive(Debug)]
pub(super) struct Report {
    id: usize,
    digest: String,
}

/// Opens a watch, waits for its list, and goes on in a task of its own until the connection ends.
pub(super) async fn open(
    control: SocketAddr,
    id: usize,
    arrivals: Rc<RefCell<Arrivals>>,
    reports: mpsc::UnboundedSender<Report>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(control).await?;
    let request = format!("GET /v1/routes?watch=true&proxy=watcher-{id} HTTP/1.1\r\nHost: {control}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut input = BytesMut::with_capacity(512);
    let synced = async {
        loop {
            ensure!(stream.read_buf(&mut input).await? > 0, "control closed the watch");
            if memmem::find(&input, b"\"synced\"").is_some() {
                return Ok(());
            }
        }
    };
    timeout(SYNCED, synced).await.with_context(|| format!("watcher {id} got no list"))??;
    ensure!(input.starts_with(b"HTTP/1.1 200"), "control refused a watch");
    // What the list held of the key is what was there before the first change.
    input = BytesMut::new();
    tokio::task::spawn_local(async move {
        while matches!(stream.read_buf(&mut input).await, Ok(n) if n > 0) {
            take(&mut input, id, &arrivals, &reports);
        }
    });
    Ok(())
}

fn take(
    input: &mut BytesMut,
    id: usize,
    arrivals: &RefCell<Arrivals>,
    reports: &mpsc::UnboundedSender<Report>,
) {
    while let Some(end) = memchr::memchr(b'\n', input) {
        if let Some(digest) = input.get(..end).and_then(digest_of) {
            arrivals.borrow_mut().by_digest.entry(digest.clone()).or_default().push(Instant::now());
            // Whoever sends reports is gone when the measurement is over.
            let _ = reports.send(Report { id, digest });
        }
        input.advance(end + 1);
    }
    if input.is_empty() {
        // An idle watcher holds no buffer.
        *input = BytesMut::new();
    }
}

/// The digest, where the line puts the watched key.
fn digest_of(line: &[u8]) -> Option<String> {
    memmem::find(line, b"\"put\"")?;
    memmem::find(line, b"\"key\":\"watched\"")?;
    let at = memmem::find(line, b"\"digest\":\"")? + b"\"digest\":\"".len();
    let rest = line.get(at..)?;
    let digest = rest.get(..memchr::memchr(b'"', rest)?)?;
    Some(std::str::from_utf8(digest).ok()?.to_owned())
}

/// Sends reports over one connection, in order, until there are none to come.
pub(super) async fn send_reports(
    control: SocketAddr,
    reports: Rc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Report>>>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(control).await?;
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(512);
    loop {
        let next = reports.lock().await.recv().await;
        let Some(Report { id, digest }) = next else { return Ok(()) };
        let report = ProxyReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            table_digest: digest.clone(),
            keys: 1,
            digests: [(KEY.parse()?, Some(digest))].into(),
            ..ProxyReport::default()
        };
        let body = serde_json::to_string(&report)?;
        let request = format!(
            "POST /v1/proxies/watcher-{id} HTTP/1.1\r\nHost: {control}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        input.clear();
        while memmem::find(&input, b"\r\n\r\n").is_none() {
            ensure!(stream.read_buf(&mut input).await? > 0, "control closed the reports' connection");
        }
        ensure!(input.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&input));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watched_keys_puts_are_found_and_no_other_line_is() {
        let put = br#"{"type":"put","unit":{"key":{"key":"watched","routes":[],"digest":"00ff"}}}"#;
        assert_eq!(digest_of(put).as_deref(), Some("00ff"));
        assert_eq!(digest_of(br#"{"type":"put","unit":{"key":{"key":"other","digest":"00ff"}}}"#), None);
        assert_eq!(digest_of(br#"{"type":"bookmark","token":"x"}"#), None);
        assert_eq!(digest_of(b"4f\r"), None);
    }
}
