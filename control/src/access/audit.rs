//! The audit log: one JSON line for every attempt to write, refused ones too. Who, what, from where, with what outcome.
//!
//! It tells the path of a request and never its body, so that no secret can be in it. A thread writes it; an answer waits
//! until its line has a place among those that the thread will write. A program that is told to end waits until they are
//! written; one that is killed loses those that waited, `WAITING` at most. A line that cannot be written is told in the log,
//! and holds up nobody. What nobody knows who has asked for is written down now and then, and else counted: anybody could
//! fill the disk with it.

use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::rates::{Buckets, Rate};

/// Lines that wait for the disk; more, and writes wait for it.
const WAITING: usize = 1_024;

/// Lines of callers whom nobody knows: a probe is seen, and a flood fills no disk.
const STRANGERS: Rate = Rate { each_second: 1.0, at_once: 100.0 };

/// Where the audit log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// To the end of a file, which is made for its owner alone.
    File(PathBuf),
}

/// One line. Its fields are described in `control/OPERATING.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditRecord {
    pub(crate) time: Timestamp,
    /// `token:ID`, `certificate:NAME`, `review:USER` or `anonymous`; absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) who: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<SocketAddr>,
    pub(crate) method: String,
    /// The path, or where a new object can be found.
    pub(crate) what: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    /// Of the object as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_version: Option<String>,
    /// Attempts of callers whom nobody knows that were left out before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) omitted: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Done.
    Done,
    /// Not permitted: 401, 403, 429.
    Denied,
    /// Refused for what it says: other 4xx.
    Refused,
    /// The server could not.
    Failed,
}

impl Outcome {
    pub(crate) fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 | 429 => Self::Denied,
            400..=499 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Done,
        }
    }
}

pub(crate) enum Job {
    Line(Vec<u8>),
    Reopen,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    jobs: mpsc::Sender<Job>,
    off: bool,
    strangers: Arc<Strangers>,
}

/// The other end of an audit log.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is off: nothing comes.
    Nothing(mpsc::Receiver<Job>),
    /// The thread ends what it has, and with it this.
    ByThread(oneshot::Receiver<Infallible>),
}

impl Written {
    /// Returns when every [`Audit`] of this log is gone, and each of their lines is written.
    pub(crate) async fn all(&mut self) {
        match self {
            Self::Nothing(jobs) => while jobs.recv().await.is_some() {},
            Self::ByThread(ended) => drop(ended.await),
        }
    }
}

/// How much is written down of callers whom nobody knows.
#[derive(Debug)]
struct Strangers {
    lines: Buckets<()>,
    omitted: AtomicU64,
}

impl Strangers {
    /// Whether one more is written down, with how many were not before it.
    fn admit(&self, record: &mut AuditRecord) -> bool {
        if record.who.is_some() {
            return true;
        }
        if !self.lines.take(()) {
            self.omitted.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        record.omitted = Some(self.omitted.swap(0, Ordering::Relaxed)).filter(|omitted| *omitted > 0);
        true
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Audit {
    /// Opens the log; the other end tells when it is written.
    ///
    /// # Errors
    /// When the file cannot be opened, or there is no thread to be had.
    pub(crate) fn open(target: AuditTarget) -> io::Result<(Self, Written)> {
        let strangers = Arc::new(Strangers { lines: Buckets::new(STRANGERS), omitted: AtomicU64::new(0) });
        let (jobs, mut taken) = mpsc::channel(WAITING);
        let audit = Self { jobs, off: target == AuditTarget::Off, strangers };
        let mut out = match &target {
            AuditTarget::Off => return Ok((audit, Written::Nothing(taken))),
            AuditTarget::Stdout => None,
            AuditTarget::File(path) => Some(open(path)?),
        };
        let (ends, ended) = oneshot::channel();
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            while let Some(job) = taken.blocking_recv() {
                let done = match (job, &target) {
                    (Job::Reopen, AuditTarget::File(path)) => open(path).map(|file| out = Some(file)),
                    (Job::Reopen, _) => Ok(()),
                    (Job::Line(line), _) => match &mut out {
                        // one write a line: lines of several processes do not mingle
                        Some(file) => file.write_all(&line),
                        None => {
                            let mut out = io::stdout().lock();
                            out.write_all(&line).and_then(|()| out.flush())
                        }
                    },
                };
                if let Err(error) = done {
                    tracing::error!(%error, "the audit log cannot be written");
                }
            }
            drop(ends);
        })?;
        Ok((audit, Written::ByThread(ended)))
    }

    /// Writes a line, or leaves it out; says which.
    pub(crate) async fn write(&self, mut record: AuditRecord) -> bool {
        if self.off {
            return true;
        }
        if !self.strangers.admit(&mut record) {
            return false;
        }
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        if self.jobs.send(Job::Line(line)).await.is_err() {
            tracing::error!("the audit log has ended");
        }
        true
    }

    /// Opens the file anew, after somebody has moved the old one away.
    pub(crate) async fn reopen(&self) {
        if !self.off {
            // it has ended: the next line tells
            self.jobs.send(Job::Reopen).await.ok();
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
