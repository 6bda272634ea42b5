//! The access log: one JSON object a line for each request that is worth one.
//!
//! A worker hands a line to a bounded channel and goes on; a thread of its own writes. Where that thread cannot keep up
//! lines are dropped and counted, and no request waits. Everything outside printable ASCII is escaped, so that a line
//! is always one line whatever a peer sent.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::config::AccessLog as LogRequests;

/// Lines that may wait for the writer: at 300 bytes each about a megabyte.
const WAITING_LINES: usize = 4096;
/// Bytes of one foreign field; the rest is cut and an ellipsis says so.
const FIELD_BYTES: usize = 1024;

/// One line of the access log. Absent fields are not written.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// When the request ended, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub(super) time: SystemTime,
    /// `outbound`, `inbound`, `explicit` or `fixed`.
    pub(super) listener: &'static str,
    /// `http1`, `http2` or `grpc`.
    pub(super) protocol: &'static str,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<std::net::SocketAddr>,
    /// The request's method.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub(crate) method: Foreign,
    /// `Host` or `:authority`, as it came.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub(crate) authority: Foreign,
    /// The path without its query, which may hold secrets.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub(crate) path: Foreign,
    /// The key that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// What the application meant to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<String>,
    /// `sandbox`, `baseline`, `refused`, or `undecided` where it did not come to that.
    pub(super) decision: &'static str,
    /// Why; see the reasons in the README.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    /// Part of the baggage could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) malformed: bool,
    /// Control had not been heard for 15 s.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stale: bool,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    /// The status that the client was sent; 0 where none was.
    pub(super) status: u16,
    /// From the request's head to the end of the answer.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub(super) duration: Duration,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            time: SystemTime::UNIX_EPOCH,
            listener: "",
            protocol: "",
            peer: None,
            method: Foreign::default(),
            authority: Foreign::default(),
            path: Foreign::default(),
            key: None,
            destination: None,
            decision: "",
            reason: None,
            malformed: false,
            stale: false,
            endpoint: None,
            status: 0,
            duration: Duration::ZERO,
        }
    }
}

/// Bytes that a peer sent, bounded, read as UTF-8 with U+FFFD where they are not.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Foreign(String);

impl Foreign {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Foreign {
    fn from(bytes: &[u8]) -> Self {
        match bytes.get(..FIELD_BYTES) {
            Some(start) if bytes.len() > FIELD_BYTES => {
                Self(String::from_utf8_lossy(start).into_owned() + "…")
            }
            _ => Self(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let time = jiff::Timestamp::try_from(*time).unwrap_or_default();
    to.collect_str(&format_args!("{time:.6}"))
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// JSON in printable ASCII alone: controls, line separators and direction marks of Unicode stay escapes.
struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        for char in fragment.chars() {
            if matches!(char, ' '..='~') {
                to.write_all(&[char as u8])?;
            } else {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(to, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// A handle for one worker.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    requests: LogRequests,
    lines: Option<SyncSender<Box<Line>>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log that writes to `to` on a thread of its own, until every handle is dropped.
    pub(crate) fn start(requests: LogRequests, to: impl Write + Send + 'static) -> Self {
        let dropped = Arc::<AtomicU64>::default();
        if requests == LogRequests::Off {
            return Self { requests, lines: None, dropped };
        }
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let lost = Arc::clone(&dropped);
        let spawned = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&waiting, to, &lost));
        if let Err(error) = &spawned {
            tracing::error!(%error, "the access log has no thread and stays empty");
        }
        Self { requests, lines: spawned.is_ok().then_some(lines), dropped }
    }

    pub(super) fn requests(&self) -> LogRequests {
        self.requests
    }

    /// Lines that nobody will read.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(super) fn write(&self, line: Box<Line>) {
        if self.lines.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Writes what comes; flushes when nothing waits, so that a line is never held back.
fn write_lines(waiting: &Receiver<Box<Line>>, to: impl Write, lost: &AtomicU64) {
    let mut to = io::BufWriter::with_capacity(64 * 1024, to);
    let mut buffer = Vec::with_capacity(512);
    loop {
        let line = match waiting.recv_timeout(Duration::ZERO) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = to.flush();
                match waiting.recv() {
                    Ok(line) => line,
                    Err(_) => break,
                }
            }
        };
        buffer.clear();
        let encoded = line.serialize(&mut serde_json::Serializer::with_formatter(&mut buffer, Ascii));
        buffer.push(b'\n');
        if encoded.is_err() || to.write_all(&buffer).is_err() {
            lost.fetch_add(1, Relaxed);
        }
    }
    let _ = to.flush();
}
