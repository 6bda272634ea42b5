//! What is told of one request: a line of the access log, and a span.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::SpanContext;
use serde::{Serialize, Serializer};

/// Bytes of one foreign field; the rest is cut and an ellipsis says so.
const FIELD_BYTES: usize = 1024;

/// The account of one request. It serializes as its line of the access log; absent fields are not written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Account {
    /// When the request ended, RFC 3339 in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) time: SystemTime,
    /// `outbound`, `inbound`, `explicit` or `fixed`.
    pub(crate) listener: &'static str,
    /// `http1`, `http2` or `grpc`.
    pub(crate) protocol: &'static str,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<SocketAddr>,
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
    pub(crate) key: Option<String>,
    /// What the application meant to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
    /// `sandbox`, `baseline`, `refused`, or `undecided` where it did not come to that.
    pub(crate) decision: &'static str,
    /// Why; see the reasons in the README.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    /// Part of the baggage could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) malformed: bool,
    /// Control had not been heard for 15 s.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stale: bool,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<SocketAddr>,
    /// The status that the client was sent; 0 where none was.
    pub(crate) status: u16,
    /// From the request's head to the end of the answer.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub(crate) duration: Duration,
    /// The version of HTTP that the caller speaks, as OpenTelemetry writes it; for a span alone.
    #[serde(skip)]
    pub(crate) version: &'static str,
    /// The caller's span; for the request's own alone.
    #[serde(skip)]
    pub(crate) parent: Option<SpanContext>,
}

impl Default for Account {
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
            version: "",
            parent: None,
        }
    }
}

/// Bytes that a peer sent, bounded, read as UTF-8 with U+FFFD where they are not.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Foreign(String);

impl Foreign {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
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

fn rfc3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let time = jiff::Timestamp::try_from(*time).unwrap_or_default();
    to.collect_str(&format_args!("{time:.6}"))
}

fn seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}
