//! One watcher: a connection that reads the watch, and acknowledges every put as a proxy does, by a report.
//!
//! It is as lean as a connection can be, since thousands share one thread: lines are searched, not parsed, and reports go
//! over a few shared connections.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use anyhow::{Context, ensure};
use bellhop_api::report::ProxyReport;
use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::door::{Door, Stream};

/// How long one watch may take until its list is complete.
const SYNCED: Duration = Duration::from_secs(60);
/// A proxy reports so often, also where nothing changes.
const EVERY: Duration = Duration::from_secs(10);
/// Its reports are spread over that time in so many parts.
const PARTS: u32 = 100;
/// The key whose puts are acknowledged.
pub(super) const KEY: &str = "watched";

/// What watchers have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each digest arrived, at how many watchers.
    pub(super) arrived: HashMap<String, Vec<Instant>>,
    /// What each of them holds.
    held: Vec<Option<Rc<str>>>,
    /// Watches that have ended.
    pub(super) ended: usize,
}

/// A report to be sent.
#[derive(Debug)]
pub(super) struct Report {
    id: usize,
    digest: Option<Rc<str>>,
}

/// What all watchers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) door: Door,
    pub(super) seen: Rc<RefCell<Seen>>,
    /// By connection: what one watcher says comes in the order in which it says it.
    pub(super) reports: Rc<[mpsc::UnboundedSender<Report>]>,
}

impl Shared {
    fn report(&self, id: usize, digest: Option<Rc<str>>) {
        if let Some(to) = self.reports.get(id % self.reports.len()) {
            // Whoever sends reports is gone when the measurement is over.
            let _ = to.send(Report { id, digest });
        }
    }
}

/// Opens a watch, waits for its list, and goes on in a task of its own until the connection ends.
pub(super) async fn open(shared: Shared, id: usize) -> anyhow::Result<()> {
    let mut stream = shared.door.connect().await?;
    let fields = shared.door.fields();
    let request = format!("GET /v1/routes?watch=true&proxy=watcher-{id} HTTP/1.1\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
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
    take(&mut input, id, &shared);
    tokio::task::spawn_local(follow(stream, input, id, shared));
    Ok(())
}

async fn follow(mut stream: Box<dyn Stream>, mut input: BytesMut, id: usize, shared: Shared) {
    while matches!(stream.read_buf(&mut input).await, Ok(n) if n > 0) {
        take(&mut input, id, &shared);
    }
    shared.seen.borrow_mut().ended += 1;
}

fn take(input: &mut BytesMut, id: usize, shared: &Shared) {
    while let Some(end) = memchr::memchr(b'\n', input) {
        if let Some(digest) = input.get(..end).and_then(digest_of) {
            let mut seen = shared.seen.borrow_mut();
            seen.arrived.entry(digest.clone()).or_default().push(Instant::now());
            let digest = Some(Rc::from(digest));
            if seen.held.len() <= id {
                seen.held.resize(id + 1, None);
            }
            if let Some(held) = seen.held.get_mut(id) {
                held.clone_from(&digest);
            }
            shared.report(id, digest);
        } else if input.get(..end).is_some_and(|line| memmem::find(line, b"\"ask\"").is_some()) {
            let held = shared.seen.borrow().held.get(id).cloned().flatten();
            shared.report(id, held);
        }
        input.advance(end + 1);
    }
    if input.is_empty() {
        // An idle watcher holds no buffer.
        *input = BytesMut::new();
    }
}

/// Has every watcher say what it holds now and then, as proxies do.
pub(super) async fn report_all(shared: Shared) {
    let mut ticks = interval(EVERY / PARTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for part in (0..PARTS as usize).cycle() {
        ticks.tick().await;
        let seen = shared.seen.borrow();
        let held = seen.held.iter().enumerate().skip(part).step_by(PARTS as usize);
        for (id, digest) in held.map(|(id, digest)| (id, digest.clone())) {
            shared.report(id, digest);
        }
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
    door: Door,
    mut reports: mpsc::UnboundedReceiver<Report>,
) -> anyhow::Result<()> {
    let mut stream = door.connect().await?;
    let fields = door.fields();
    let mut input = BytesMut::with_capacity(512);
    while let Some(Report { id, digest }) = reports.recv().await {
        let digest = digest.map(|digest| digest.to_string());
        let report = ProxyReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            table_digest: digest.clone().unwrap_or_default(),
            keys: 1,
            digests: [(KEY.parse()?, digest)].into(),
            ..ProxyReport::default()
        };
        let body = serde_json::to_string(&report)?;
        let request = format!(
            "POST /v1/proxies/watcher-{id} HTTP/1.1\r\n{fields}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        input.clear();
        while memmem::find(&input, b"\r\n\r\n").is_none() {
            ensure!(stream.read_buf(&mut input).await? > 0, "control closed the reports' connection");
        }
        ensure!(input.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&input));
    }
    Ok(())
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
