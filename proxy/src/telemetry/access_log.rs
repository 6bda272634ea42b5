//! The access log: one JSON object a line for each request that is worth one.
//!
//! A worker hands a line to a bounded channel and goes on; a thread of its own writes. Where that thread cannot keep up
//! lines are dropped and counted, and no request waits. It gathers lines for a few milliseconds: to wake it for each one
//! would cost a worker more than the line itself. Everything outside printable ASCII is escaped, so that a line is always
//! one line whatever a peer sent.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;

use super::account::Account;
use crate::config::AccessLog as LogRequests;

/// Lines that may wait for the writer: at 300 bytes each about a megabyte.
const WAITING_LINES: usize = 4096;
/// How long lines are gathered: nobody who reads a log notices, and 4096 of them are 800,000 a second.
const GATHER: Duration = Duration::from_millis(5);

/// JSON in printable ASCII alone: controls, line separators and direction marks of Unicode stay escapes.
struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return to.write_all(fragment.as_bytes());
        }
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

/// The log of one proxy, and its writer.
#[derive(Debug)]
pub(super) struct AccessLog {
    dropped: Arc<AtomicU64>,
    /// Disconnected once the writer has ended.
    writing: Mutex<Receiver<()>>,
}

/// A handle for one worker.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    requests: LogRequests,
    to: Option<SyncSender<Box<Account>>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// A log that writes to `to` on a thread of its own, until every handle is dropped.
    pub(super) fn start(requests: LogRequests, to: impl Write + Send + 'static) -> (Self, Lines) {
        let dropped = Arc::<AtomicU64>::default();
        let (ends, writing) = channel();
        let sender = (requests != LogRequests::Off).then(|| spawn(to, Arc::clone(&dropped), ends)).flatten();
        let lines = Lines { requests, to: sender, dropped: Arc::clone(&dropped) };
        (Self { dropped, writing: Mutex::new(writing) }, lines)
    }

    /// Lines that nobody will read.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until everything is written, for `limit` at most: a reader may have stopped to read.
    pub(super) fn finish(&self, limit: Duration) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the end of the access log is lost: nobody reads it");
        }
    }
}

fn spawn(
    to: impl Write + Send + 'static,
    lost: Arc<AtomicU64>,
    ends: Sender<()>,
) -> Option<SyncSender<Box<Account>>> {
    let (lines, waiting) = sync_channel(WAITING_LINES);
    let spawned = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        write_lines(&waiting, to, &lost);
        drop(ends);
    });
    match spawned {
        Ok(_) => Some(lines),
        Err(error) => {
            tracing::error!(%error, "the access log has no thread and stays empty");
            None
        }
    }
}

impl Lines {
    /// Those of a log that does not exist.
    pub(super) fn none() -> Self {
        Self { requests: LogRequests::Off, to: None, dropped: Arc::default() }
    }

    /// Whether a request makes a line.
    #[inline]
    pub(super) fn wants(&self, keyed: bool) -> bool {
        match self.requests {
            LogRequests::Off => false,
            LogRequests::Keyed => keyed,
            LogRequests::All => true,
        }
    }

    /// Hands a line over, or drops it.
    pub(super) fn write(&self, line: Box<Account>) {
        if self.to.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Writes what comes, gathered. It waits to be woken only after a while in which nothing came, so that under load nobody
/// has to wake it.
fn write_lines(waiting: &Receiver<Box<Account>>, to: impl Write, lost: &AtomicU64) {
    let mut to = Writer { to: io::BufWriter::with_capacity(64 * 1024, to), line: Vec::new(), lost };
    while let Ok(first) = waiting.recv() {
        to.write(&first);
        let mut came = true;
        while came {
            thread::sleep(GATHER);
            came = false;
            loop {
                match waiting.try_recv() {
                    Ok(line) => to.write(&line),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return to.flush(),
                }
                came = true;
            }
            to.flush();
        }
    }
}

struct Writer<'a, W: Write> {
    to: io::BufWriter<W>,
    line: Vec<u8>,
    lost: &'a AtomicU64,
}

impl<W: Write> Writer<'_, W> {
    fn write(&mut self, account: &Account) {
        self.line.clear();
        let encoded = account.serialize(&mut serde_json::Serializer::with_formatter(&mut self.line, Ascii));
        self.line.push(b'\n');
        if encoded.is_err() || self.to.write_all(&self.line).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    fn flush(&mut self) {
        // It fails where the reader has gone; each line that is written after it is counted as lost.
        let _ = self.to.flush();
    }
}
