//! Fields that do not pass from one connection to another, and the field that names them (RFC 9110 §7.6.1).

use bellhop_route::{Carriers, DECIDED_FIELD};
use http::{HeaderName, header};

use super::Fault;

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

/// Whether a field makes a message of HTTP/2 malformed: it speaks of a connection (RFC 9113 §8.2.2). The length of the
/// name is asked first, since nearly all names have another one.
#[inline]
pub(crate) fn is_forbidden_in_http2(name: &[u8], value: &[u8]) -> bool {
    match name.len() {
        2 => name == b"te" && value != b"trailers",
        7 => name == b"upgrade",
        10 => name == b"connection" || name == b"keep-alive",
        16 => name == b"proxy-connection",
        17 => name == b"transfer-encoding",
        _ => false,
    }
}

/// The members of a list field, without blanks around them (RFC 9110 §5.6.1).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(|member| member.trim_ascii()).filter(|member| !member.is_empty())
}

/// Whether a member of `Connection` names no field but says something itself, and passes as it is (DESIGN §3.4).
pub(crate) fn is_kept_option(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive") || is_upgrade(option)
}

/// Whether a member of `Connection` is the wish to switch protocols.
pub(crate) fn is_upgrade(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"upgrade")
}

/// Whether a member of `Upgrade` is HTTP/2, which is not offered on: the upstream could not keep it.
pub(crate) fn is_h2c(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"h2c")
}

/// Checks a field that `Connection` names. A proxy that obeyed would change where the message ends, whom it is for, or
/// hide the routing key from whoever comes next.
///
/// # Errors
/// It is a field that belongs to the whole way.
pub(crate) fn check_named(option: &[u8], carriers: &Carriers) -> Result<(), Fault> {
    let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
    let fixed = ["host", "content-length", "transfer-encoding", "baggage", DECIDED_FIELD];
    if fixed.into_iter().any(is) || carriers.fields().any(is) {
        return Err(Fault("Connection names a field that belongs to the whole way"));
    }
    Ok(())
}
