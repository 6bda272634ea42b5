//! A request's head of HTTP/2, as `h2` hands it over (RFC 9113 §8).
//!
//! `h2` itself refuses upper-case names, fields of the connection, CR and LF, repeated and unknown pseudo-header fields,
//! and a length that the body contradicts (MATRICES B5). What it leaves open is closed here, and what it may leave open
//! one day costs a comparison of a name's length. Blanks around a value are let pass, as servers let them: none of the
//! fields that decide something may have them.

use http::{HeaderMap, HeaderValue, Response, StatusCode, request::Parts};

use super::{
    Fault, Method, authority,
    fields::is_forbidden_in_http2,
    framing::{self, Lengths},
    size, target,
};
use crate::{config::Limits, error::ErrorKind};

/// Checks a head until only one reading of it is left.
///
/// # Errors
/// The first fault found.
pub(crate) fn check(head: &Parts, limits: &Limits) -> Result<(), ErrorKind> {
    let of_target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let path = head.uri.path_and_query().map(|path| path.as_str().as_bytes());
    size::target(path.map_or(0, <[u8]>::len) + of_target.map_or(0, <[u8]>::len), limits)?;
    let mut fields = Fields::default();
    for (name, value) in &head.headers {
        fields.add(name.as_str().as_bytes(), value)?;
    }
    size::fields(head.headers.len(), fields.bytes, limits)?;
    let method = head.method.as_str().as_bytes();
    target::check_pseudo(method, of_target, path, is_extended_connect(head))?;
    check_authority(of_target, fields.host)?;
    framing::check_connect(Method::of(method), fields.lengths.framing(false)?)?;
    Ok(())
}

/// Checks what one who speaks HTTP/2 sends besides a request's head: an answer's head, an interim one's, trailers.
///
/// # Errors
/// HTTP/1 has no way to say it.
pub(crate) fn check_fields(fields: &HeaderMap) -> Result<(), Fault> {
    if fields.keys().all(|name| is_token(name.as_str().as_bytes())) { Ok(()) } else { Err(NO_TOKEN) }
}

/// The same of an interim answer, which cannot be 101 either: HTTP/2 has no switch of protocols (RFC 9113 §8.6), and to a
/// client of HTTP/1 it would mean one.
///
/// # Errors
/// HTTP/1 has no way to say it, or says something else with it.
pub(crate) fn check_interim(interim: &Response<()>) -> Result<(), Fault> {
    if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault("a switch of protocols that nobody asked for"));
    }
    check_fields(interim.headers())
}

/// Interim answers that one request may have. Heads know no flow control (RFC 9113 §5.2.1), so that every one of them
/// is held for a client that reads nothing. One each half minute of a request of 50 minutes is fewer.
const MOST_INTERIMS: usize = 100;
/// And what all their fields may come to: as much as a head may have by default.
const MOST_INTERIM_BYTES: usize = 64 * 1024;

/// Counts the interim answers before an answer.
#[derive(Debug, Default)]
pub(crate) struct Interims {
    count: usize,
    bytes: usize,
}

impl Interims {
    /// Takes note of another one.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn another(&mut self, fields: &HeaderMap) -> Result<(), Fault> {
        self.count += 1;
        self.bytes += fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if self.count > MOST_INTERIMS || self.bytes > MOST_INTERIM_BYTES {
            return Err(Fault("too many interim answers"));
        }
        Ok(())
    }
}

const NO_TOKEN: Fault = Fault("a field's name is no token");

/// The one byte that `http` takes for part of a name and RFC 9110 §5.6.2 does not is the quote. Names are short: eight
/// bytes at a time cost less than a call to who looks at thirty-two.
#[inline]
fn is_token(name: &[u8]) -> bool {
    match name.last_chunk() {
        // The last eight may have been looked at in part already.
        Some(last) => !has_quote(*last) && !name.as_chunks().0.iter().any(|eight| has_quote(*eight)),
        None => !name.contains(&b'"'),
    }
}

/// Whether one of eight bytes is a quote: subtracting one borrows only from what was nothing.
#[inline]
fn has_quote(eight: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let others = u64::from_ne_bytes(eight) ^ u64::from_ne_bytes([b'"'; 8]);
    others.wrapping_sub(ONES) & !others & (ONES << 7) != 0
}

/// Whether a CONNECT names the protocol that its tunnel carries (RFC 8441 §4); it has a path then.
fn is_extended_connect(head: &Parts) -> bool {
    head.extensions.get::<h2::ext::Protocol>().is_some()
}

/// What the fields say, gathered one by one.
#[derive(Default)]
struct Fields<'a> {
    /// What they come to in HTTP/1: `name: value` and the line's end.
    bytes: usize,
    host: Option<&'a [u8]>,
    lengths: Lengths,
}

impl<'a> Fields<'a> {
    #[inline]
    fn add(&mut self, name: &[u8], value: &'a HeaderValue) -> Result<(), Fault> {
        let value = value.as_bytes();
        self.bytes += name.len() + value.len() + 4;
        // Nearly all names have another length than these: one comparison, and on.
        match name.len() {
            4 if name == b"host" && self.host.replace(value).is_some() => Err(Fault("more than one Host")),
            // `h2` holds the first one against the body; whoever comes next may take another one.
            14 if name == b"content-length" => self.lengths.content_length(value),
            2 | 7 | 10 | 16 | 17 if is_forbidden_in_http2(name, value) => {
                Err(Fault("a field of the connection"))
            }
            _ if !is_token(name) => Err(NO_TOKEN),
            _ => Ok(()),
        }
    }
}

/// `:authority` and `host` have to agree, and to be one (RFC 9113 §8.3.1).
fn check_authority(of_target: Option<&[u8]>, host: Option<&[u8]>) -> Result<(), Fault> {
    match (of_target, host) {
        (Some(authority), Some(host)) if !authority::agree(host, authority) => {
            Err(Fault("Host differs from the authority"))
        }
        (Some(authority), _) | (None, Some(authority)) => {
            if authority.is_empty() {
                return Err(Fault("an empty authority"));
            }
            authority::check(authority)
        }
        (None, None) => Err(Fault("no authority")),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};

    use super::*;

    fn checked(request: http::request::Builder) -> Result<(), ErrorKind> {
        check(&request.body(()).unwrap().into_parts().0, &Limits::default())
    }

    #[test]
    fn b5_a_head_with_two_authorities_or_none_or_two_lengths_is_malformed() {
        let get = || Request::get("http://route:8080/");
        assert_eq!(checked(get()), Ok(()));
        assert_eq!(checked(get().header("te", "trailers").header("content-length", "3")), Ok(()));
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
            Request::get("http://a:b/"),
            get().header("content-length", "+3"),
            get().header("content-length", " 3"),
            get().header("transfer-encoding", "chunked"),
            get().header("connection", "close"),
            get().header("keep-alive", "timeout=5"),
            get().header("proxy-connection", "close"),
            get().header("upgrade", "websocket"),
            get().header("te", "gzip"),
            get().header(http::HeaderName::from_lowercase(b"connec\"ion").unwrap(), "close"),
        ] {
            assert!(matches!(checked(bad), Err(ErrorKind::BadRequest(_))));
        }
    }

    #[test]
    fn interim_answers_are_bounded_by_their_number_and_by_their_fields_together() {
        let fields = |size: usize| {
            let value = HeaderValue::from_str(&"v".repeat(size - 1)).unwrap();
            HeaderMap::from_iter([(http::HeaderName::from_static("x"), value)])
        };
        for (size, most) in [(1, 100), (655, 100), (656, 99), (64 * 1024, 1), (64 * 1024 + 1, 0)] {
            let (mut interims, fields) = (Interims::default(), fields(size));
            let taken = (0..200).take_while(|_| interims.another(&fields).is_ok()).count();
            assert_eq!(taken, most, "of {size} bytes");
        }
    }

    #[test]
    fn a_name_with_a_quote_is_refused_among_an_answers_fields_and_trailers_too() {
        let fields = |name: &'static [u8]| {
            let name = http::HeaderName::from_lowercase(name).unwrap();
            HeaderMap::from_iter(
                [(header::DATE, "now"), (name, "x")].map(|(n, v)| (n, HeaderValue::from_static(v))),
            )
        };
        assert_eq!(check_fields(&fields(b"!#$%&'*+-.^_`|~0aZ".to_ascii_lowercase().leak())), Ok(()));
        assert_eq!(check_fields(&fields(b"x\"y")), Err(NO_TOKEN));
        for length in 1..=40 {
            let mut name = vec![b'a'; length];
            assert!(is_token(&name));
            for at in 0..length {
                for (byte, good) in [(b'"', false), (b'#', true), (b'!', true), (0xa2, true)] {
                    name[at] = byte;
                    assert_eq!(is_token(&name), good, "{}", name.escape_ascii());
                }
                name[at] = b'a';
            }
        }
    }

    #[test]
    fn a_target_is_a_path_or_an_asterisk_for_options_or_for_connect_an_authority() {
        assert_eq!(checked(Request::options("*").header("host", "route")), Ok(()));
        assert_eq!(checked(Request::connect("route:80")), Ok(()));
        for bad in [
            Request::get("*").header("host", "route"),
            Request::options("http://route/").uri("*"),
            Request::connect("route:"),
            Request::connect("[::1]"),
            Request::connect("route:80").header("content-length", "1"),
        ] {
            assert!(matches!(checked(bad), Err(ErrorKind::BadRequest(_))));
        }
    }

    #[test]
    fn b9_a_head_is_measured_as_http_1_would_write_it() {
        let with = |count: usize, size: usize| {
            let value = "v".repeat(size);
            (0..count).fold(Request::get("http://r/"), |request, _| request.header("x", &value))
        };
        assert_eq!(checked(with(100, 1)), Ok(()));
        assert_eq!(checked(with(101, 1)), Err(ErrorKind::HeadTooLarge));
        assert_eq!(checked(with(1, 64 * 1024 - 5)), Ok(()));
        assert_eq!(checked(with(1, 64 * 1024 - 4)), Err(ErrorKind::HeadTooLarge));
        let target = |length: usize| Request::get(format!("http://r/{}", "a".repeat(length - 2)));
        assert_eq!(checked(target(16 * 1024)), Ok(()));
        assert_eq!(checked(target(16 * 1024 + 1)), Err(ErrorKind::TargetTooLong));
    }
}
