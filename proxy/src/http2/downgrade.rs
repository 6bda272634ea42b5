//! An HTTP/2 client's request to an HTTP/1 endpoint, and the answer back (RFC 9113 §8.2, §8.3.1; RFC 9112).
//!
//! Each stream in flight has a connection of its own. What one message of HTTP/2 means is written in the one way of
//! HTTP/1 that means the same, and what has no such way is refused; what comes back is read more strictly than a
//! client would have to, since a second reading of an answer is how one client gets another's.

pub(crate) mod chunked;
pub(crate) mod request;
pub(crate) mod response;

/// Fields that belong to one connection, in either version (RFC 9110 §7.6.1, RFC 9113 §8.2.2).
const OF_THE_CONNECTION: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"];

fn belongs_to_the_connection(name: &http::HeaderName) -> bool {
    OF_THE_CONNECTION.contains(&name.as_str())
}
