//! Fields that do not pass from one connection to another.

use bellhop_route::DECIDED_FIELD;
use http::{HeaderName, header};

/// Fields that belong to one connection, in either version (RFC 9110 §7.6.1, RFC 9113 §8.2.2).
pub(crate) const OF_THE_CONNECTION: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"];

/// Whether a field is one of them.
pub(crate) fn belongs_to_the_connection(name: &HeaderName) -> bool {
    OF_THE_CONNECTION.contains(&name.as_str())
}

/// Framing, routing and connection fields mean something in a head only (RFC 9110 §6.5.1).
pub(crate) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    belongs_to_the_connection(name)
        || [header::HOST, header::CONTENT_LENGTH, header::COOKIE, header::TRAILER].contains(name)
        || name.as_str() == DECIDED_FIELD
}
