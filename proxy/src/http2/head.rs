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
    // `h2` holds the first one against the body; whoever comes next may take another one.
    if head.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Fault::Malformed);
    }
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
        (None, Some(host))
            if host.as_bytes().contains(&b'@')
                || http::uri::Authority::try_from(host.as_bytes()).is_err() =>
        {
            Err(Fault::Malformed)
        }
        (Some(_), _) | (None, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(request: http::request::Builder) -> Result<(), Fault> {
        check(&request.body(()).unwrap().into_parts().0, &Limits::default())
    }

    #[test]
    fn b5_a_head_with_two_authorities_or_none_or_two_lengths_is_malformed() {
        let get = || Request::get("http://route:8080/");
        assert_eq!(checked(get()), Ok(()));
        assert_eq!(checked(get().header("host", "ROUTE:8080")), Ok(()));
        assert_eq!(checked(Request::get("/").header("host", "route")), Ok(()));
        for bad in [
            get().header("host", "other"),
            get().header("host", "route:8080").header("host", "route:8080"),
            get().header("host", ""),
            Request::get("http://a@route/"),
            Request::get("/"),
            Request::get("/").header("host", "a b"),
            Request::get("/").header("host", "a@route"),
            get().header("content-length", "3").header("content-length", "30"),
            Request::get("/").header("host", ""),
        ] {
            assert_eq!(checked(bad), Err(Fault::Malformed));
        }
    }

    #[test]
    fn a_target_is_a_path_or_an_asterisk_for_options_or_for_connect_an_authority() {
        assert_eq!(checked(Request::options("*").header("host", "route")), Ok(()));
        assert_eq!(checked(Request::connect("route:80")), Ok(()));
        assert_eq!(checked(Request::get("*").header("host", "route")), Err(Fault::Malformed));
    }

    #[test]
    fn b9_a_head_is_measured_as_http_1_would_write_it() {
        let with = |count: usize, size: usize| {
            let value = "v".repeat(size);
            (0..count).fold(Request::get("http://r/"), |request, _| request.header("x", &value))
        };
        assert_eq!(checked(with(100, 1)), Ok(()));
        assert_eq!(checked(with(101, 1)), Err(Fault::HeadTooLarge));
        assert_eq!(checked(with(1, 64 * 1024 - 5)), Ok(()));
        assert_eq!(checked(with(1, 64 * 1024 - 4)), Err(Fault::HeadTooLarge));
        let target = |length: usize| Request::get(format!("http://r/{}", "a".repeat(length - 2)));
        assert_eq!(checked(target(16 * 1024)), Ok(()));
        assert_eq!(checked(target(16 * 1024 + 1)), Err(Fault::TargetTooLong));
    }
}
