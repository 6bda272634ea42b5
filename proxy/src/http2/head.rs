//! A request's head as HTTP/2 brings it: what `h2` lets pass and a proxy must not (MATRICES B5, B9).
//!
//! `h2` itself refuses upper-case names, connection-specific fields, CR and LF, repeated and unknown pseudo-header
//! fields, and lengths that contradict each other or the body.

use http::{Method, Uri, header, request::Parts};

use crate::config::Limits;

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has more than one reading, or none: the stream is reset (RFC 9113 §8.1.1).
    Malformed,
    /// More fields or bytes of them than allowed.
    HeadTooLarge,
    /// A longer target than allowed.
    TargetTooLong,
}

/// Checks a head until only one reading of it is left.
///
/// # Errors
/// The first fault found.
pub(crate) fn check(head: &Parts, limits: &Limits) -> Result<(), Fault> {
    check_target(&head.method, &head.uri, limits)?;
    check_authority(head)?;
    if head.headers.len() > limits.max_headers {
        return Err(Fault::HeadTooLarge);
    }
    // As HTTP/1 would write them: `name: value` and the line's end.
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.max_header_bytes { Err(Fault::HeadTooLarge) } else { Ok(()) }
}

fn check_target(method: &Method, uri: &Uri, limits: &Limits) -> Result<(), Fault> {
    let Some(target) = uri.path_and_query() else {
        // CONNECT has no path; every other method has one, by `h2`.
        return if uri.authority().is_some() { Ok(()) } else { Err(Fault::Malformed) };
    };
    let target = target.as_str();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    if target.len() + authority > limits.max_uri_bytes {
        return Err(Fault::TargetTooLong);
    }
    match target.as_bytes().first() {
        Some(b'/') => Ok(()),
        Some(b'*') if target == "*" && method == Method::OPTIONS => Ok(()),
        None if method == Method::CONNECT => Ok(()),
        _ => Err(Fault::Malformed),
    }
}

/// `:authority` and `host` have to agree, and to be one (RFC 9113 §8.3.1).
fn check_authority(head: &Parts) -> Result<(), Fault> {
    let mut hosts = head.headers.get_all(header::HOST).into_iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Fault::Malformed);
    }
    match (head.uri.authority(), host) {
        (None, None) => Err(Fault::Malformed),
        (Some(authority), _) if authority.as_str().contains('@') => Err(Fault::Malformed),
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(Fault::Malformed)
        }
        (None, Some(host)) if http::uri::Authority::try_from(host.as_bytes()).is_err() => {
            Err(Fault::Malformed)
        }
        (Some(_), _) | (None, Some(_)) => Ok(()),
    }
}
