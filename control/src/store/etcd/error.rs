//! What goes wrong with etcd, and whether a write may have happened nevertheless.

use std::time::Duration;

use etcd_client::Error;

use crate::store::{MOST_WRITES, StoreError};

/// Code `UNAVAILABLE` of gRPC.
const UNAVAILABLE: i32 = 14;
/// Code `OUT_OF_RANGE` of gRPC.
const OUT_OF_RANGE: i32 = 11;
/// Code `PERMISSION_DENIED` of gRPC.
const PERMISSION_DENIED: i32 = 7;
/// Codes `INVALID_ARGUMENT` and `UNAUTHENTICATED` of gRPC: what etcd says of passwords and tokens.
const NOT_THIS_USER: [i32; 2] = [3, 16];

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
                NOT_THIS_USER.contains(&(status.code() as i32))
            }
            Self::Call { .. } | Self::Silent { .. } => false,
            Self::File { .. } | Self::Compacted | Self::Empty | Self::TooMany => true,
        }
    }

    /// Whether another endpoint, or the same one later, may do better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoLeader { .. } | Self::Silent { .. } => true,
            // every member would say the same
            Self::Call { source: Error::LeaseKeepAliveError(_), .. } => false,
            Self::Call { source: Error::GRpcStatus(status), .. } => {
                ![OUT_OF_RANGE, PERMISSION_DENIED].contains(&(status.code() as i32))
            }
            Self::Call { .. } => true,
            Self::File { .. } => true,
            Self::Compacted | Self::Empty | Self::TooMany => false,
        }
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
