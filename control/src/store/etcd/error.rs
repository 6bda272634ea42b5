//! What goes wrong with etcd, and whether a write may have happened nevertheless.

use std::time::Duration;

use etcd_client::Error;

use crate::store::{MOST_WRITES, SchemaError, StoreError};

/// Code `UNAVAILABLE` of gRPC.
const UNAVAILABLE: i32 = 14;
/// Code `OUT_OF_RANGE` of gRPC.
const OUT_OF_RANGE: i32 = 11;
/// Code `PERMISSION_DENIED` of gRPC.
const PERMISSION_DENIED: i32 = 7;
/// Code `RESOURCE_EXHAUSTED` of gRPC.
const RESOURCE_EXHAUSTED: i32 = 8;
/// Code `UNAUTHENTICATED` of gRPC.
const UNAUTHENTICATED: i32 = 16;
/// Code `INVALID_ARGUMENT` of gRPC, by which etcd speaks of passwords, and of requests that nobody could do.
const INVALID_ARGUMENT: i32 = 3;
/// What it says where it speaks of passwords and of tokens made by them.
const OF_PASSWORDS: [&str; 3] =
    ["authentication failed", "revision of auth store is old", "user name is empty"];
/// What is exhausted for good: the room in a request, and that in the database.
const FOR_GOOD: [&str; 2] = ["larger than max", "database space exceeded"];

/// Why etcd did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It answers with an error, or the connection broke.
    #[error("etcd at {endpoint}: {source}")]
    Call {
        /// Who was asked.
        endpoint: String,
        /// What came of it.
        source: Error,
    },
    /// No endpoint has a leader: etcd has lost its quorum, or is just choosing.
    #[error("etcd has no leader, so that nothing can be written ({endpoint}: {source})")]
    NoLeader {
        /// Who was asked last.
        endpoint: String,
        /// What it said.
        source: Error,
    },
    /// No answer in time.
    #[error("etcd at {endpoint} did not answer within {}", humantime::format_duration(*.within))]
    Silent {
        /// Who was asked last.
        endpoint: String,
        /// For how long.
        within: Duration,
    },
    /// A file of the configuration.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was watched for is not kept any more.
    #[error("what came next is not kept by etcd any more")]
    Compacted,
    /// An answer without what every answer has.
    #[error("etcd gave an answer that says nothing")]
    Empty,
    /// The store was put back, or brought into another form, since it was listed.
    #[error("the store was put back, or brought into another form, just now")]
    Replaced,
    /// Nothing was ever written there.
    #[error("etcd holds no store below {0}")]
    NoStore(String),
    /// Others than replicas wrote it.
    #[error("{0} in etcd is not what replicas write there: delete that key, then start all replicas anew")]
    Foreign(String),
    /// A later version wrote it.
    #[error(transparent)]
    Form(#[from] SchemaError),
    /// More than a transaction holds.
    #[error("more than {MOST_WRITES} writes at once")]
    TooMany,
}

impl Fault {
    pub(super) fn call(endpoint: &str, source: Error) -> Self {
        let endpoint = endpoint.to_owned();
        if no_leader(&source) { Self::NoLeader { endpoint, source } } else { Self::Call { endpoint, source } }
    }

    /// Whether a write that met this has certainly not been done.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            // refused by the member that was asked, before it told any other
            Self::NoLeader { .. } => true,
            // the connection that is made next reads the password again
            Self::Call { source: Error::GRpcStatus(status), .. } => {
                let (code, text) = (status.code() as i32, status.message());
                is_of_this_user(code, text) || is_of_this_request(code, text)
            }
            Self::Call { .. } | Self::Silent { .. } => false,
            Self::File { .. }
            | Self::Compacted
            | Self::Empty
            | Self::TooMany
            | Self::Replaced
            | Self::NoStore(_)
            | Self::Foreign(_)
            | Self::Form(_) => true,
        }
    }

    /// Whether another endpoint, or the same one later, may do better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoLeader { .. } | Self::Silent { .. } => true,
            // every member would say the same
            Self::Call { source: Error::LeaseKeepAliveError(_), .. } => false,
            Self::Call { source: Error::GRpcStatus(status), .. } => {
                let code = status.code() as i32;
                ![OUT_OF_RANGE, PERMISSION_DENIED].contains(&code)
                    && !is_of_this_request(code, status.message())
            }
            Self::Call { .. } => true,
            Self::File { .. } => true,
            Self::Compacted
            | Self::Empty
            | Self::TooMany
            | Self::Replaced
            | Self::NoStore(_)
            | Self::Foreign(_)
            | Self::Form(_) => false,
        }
    }
}

/// Whether a refusal speaks of who asks.
fn is_of_this_user(code: i32, text: &str) -> bool {
    code == UNAUTHENTICATED || code == INVALID_ARGUMENT && OF_PASSWORDS.iter().any(|what| text.contains(what))
}

/// Whether a refusal speaks of the request, which no member would do.
fn is_of_this_request(code: i32, text: &str) -> bool {
    match code {
        INVALID_ARGUMENT => !is_of_this_user(code, text),
        RESOURCE_EXHAUSTED => FOR_GOOD.iter().any(|what| text.contains(what)),
        _ => false,
    }
}

fn no_leader(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    status.code() as i32 == UNAVAILABLE && status.message().contains("no leader")
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Compacted => Self::Behind,
            other => Self::failed(other),
        }
    }
}
