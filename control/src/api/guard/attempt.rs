//! What is written down of an attempt to write.

use std::net::SocketAddr;

use axum::response::Response;
use http::{Method, header, request::Parts};
use jiff::Timestamp;

use crate::{
    access::{
        Caller, Peer,
        audit::{AuditRecord, Outcome},
    },
    api::query::is_dry_run,
};

/// Of a path, in the audit log.
const MOST_CHARS: usize = 1_024;
/// The same where nobody knows who calls.
const MOST_CHARS_OF_STRANGERS: usize = 128;
/// Of a method, which is any word of the caller's.
const MOST_CHARS_OF_METHOD: usize = 32;

/// What is written down of an attempt to write.
pub(super) struct Attempt {
    time: Timestamp,
    from: Option<SocketAddr>,
    method: String,
    path: String,
    dry_run: bool,
}

impl Attempt {
    /// `None`: a read, or a proxy's report, of which there are thousands a second.
    pub(super) fn of(head: &Parts, time: Timestamp) -> Option<Self> {
        let path = head.uri.path();
        if matches!(head.method, Method::GET | Method::HEAD) || path.starts_with("/v1/proxies/") {
            return None;
        }
        Some(Self {
            time,
            from: head.extensions.get::<Peer>().map(|peer| peer.address),
            method: head.method.as_str().chars().take(MOST_CHARS_OF_METHOD).collect(),
            path: path.to_owned(),
            dry_run: is_dry_run(&head.uri),
        })
    }

    pub(super) fn ended(self, caller: Option<&Caller>, response: &Response) -> AuditRecord {
        let field = |name: header::HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let most = if caller.is_some() { MOST_CHARS } else { MOST_CHARS_OF_STRANGERS };
        let what = self.path.chars().take(most).collect();
        AuditRecord {
            time: self.time,
            who: caller.map(|caller| caller.name.clone()),
            role: caller.map(|caller| caller.role.as_str()),
            from: self.from,
            method: self.method,
            what: field(header::LOCATION).unwrap_or(what),
            dry_run: self.dry_run,
            outcome: Outcome::of(response.status()),
            status: response.status().as_u16(),
            resource_version: field(header::ETAG).map(|tag| tag.trim_matches('"').to_owned()),
            omitted: None,
        }
    }
}
