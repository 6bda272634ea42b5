//! A request's target (RFC 9112 §3.2, RFC 9113 §8.3.1).

use super::{Fault, authority};

/// Which of its four forms a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`, with CONNECT.
    Authority,
    /// `*`, with OPTIONS.
    Asterisk,
}

impl Form {
    /// The form of `target`.
    ///
    /// # Errors
    /// It has none, or one that this method does not take.
    pub(crate) fn of(method: &[u8], target: &[u8]) -> Result<Self, Fault> {
        if target.contains(&b'#') {
            return Err(Fault("a target with a fragment"));
        }
        match target {
            _ if method == b"CONNECT" => Ok(Self::Authority),
            [b'/', ..] => Ok(Self::Origin),
            b"*" if method == b"OPTIONS" => Ok(Self::Asterisk),
            _ if behind_scheme(target).is_some() => Ok(Self::Absolute),
            _ => Err(Fault("a target of no known form")),
        }
    }

    /// The authority that the target itself names.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn authority(self, target: &[u8]) -> Result<Option<&[u8]>, Fault> {
        let authority = match self {
            Self::Origin | Self::Asterisk => return Ok(None),
            Self::Authority => target,
            Self::Absolute => split_path(behind_scheme(target).unwrap_or_default()).0,
        };
        authority::check(authority)?;
        match self {
            _ if authority.is_empty() => Err(Fault("a target without a host")),
            Self::Authority if !has_port(authority) => Err(Fault("CONNECT without a port")),
            _ => Ok(Some(authority)),
        }
    }

    /// Path and query.
    pub(crate) fn path(self, target: &[u8]) -> &[u8] {
        match self {
            Self::Origin | Self::Asterisk => target,
            Self::Authority => &[],
            Self::Absolute => split_path(behind_scheme(target).unwrap_or_default()).1,
        }
    }
}

/// Checks what the pseudo-header fields of HTTP/2 say in place of a target (RFC 9113 §8.3.1, §8.5, RFC 8441 §4).
///
/// # Errors
/// They come to none that HTTP/1 could say, or to one that this method does not take.
pub(crate) fn check_pseudo(
    method: &[u8],
    authority: Option<&[u8]>,
    path: Option<&[u8]>,
    is_extended_connect: bool,
) -> Result<(), Fault> {
    let is_connect = method == b"CONNECT";
    match path.unwrap_or_default() {
        [] if is_connect && !is_extended_connect => match authority {
            Some(authority) if has_port(authority) => Ok(()),
            _ => Err(Fault("CONNECT without a port")),
        },
        [b'/', ..] if is_connect == is_extended_connect => Ok(()),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ => Err(Fault("a path that this method does not take")),
    }
}

fn has_port(authority: &[u8]) -> bool {
    authority.iter().rposition(|byte| *byte == b':').is_some_and(|at| {
        !authority.ends_with(b"]") && authority.get(at + 1..).is_some_and(|port| !port.is_empty())
    })
}

/// Whether an absolute target is one that plain HTTP can be spoken for.
pub(crate) fn is_plain_http(target: &[u8]) -> bool {
    target.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"http://"))
}

fn behind_scheme(target: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(target, b"://")?;
    let (scheme, rest) = target.split_at_checked(at)?;
    let (first, others) = scheme.split_first()?;
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (first.is_ascii_alphabetic() && others.iter().all(good)).then(|| rest.get(3..).unwrap_or_default())
}

fn split_path(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_target_has_its_method_authority_and_path() {
        let read = |method: &str, text: &'static str| {
            let target = text.as_bytes();
            let form = Form::of(method.as_bytes(), target)?;
            let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap();
            Ok::<_, Fault>((form, form.authority(target)?.map(text), text(form.path(target))))
        };
        assert_eq!(read("GET", "/a?b"), Ok((Form::Origin, None, "/a?b")));
        assert_eq!(read("GET", "http://h:1/a?b"), Ok((Form::Absolute, Some("h:1"), "/a?b")));
        assert_eq!(read("GET", "HTTP://h?b"), Ok((Form::Absolute, Some("h"), "?b")));
        assert_eq!(read("GET", "http://[::1]"), Ok((Form::Absolute, Some("[::1]"), "")));
        assert_eq!(read("CONNECT", "h:1"), Ok((Form::Authority, Some("h:1"), "")));
        assert_eq!(read("OPTIONS", "*"), Ok((Form::Asterisk, None, "*")));
        for (method, bad) in [
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "http://"),
            ("GET", "http://u@h/"),
            ("GET", "://h/"),
            ("GET", "/a#b"),
            ("CONNECT", "h"),
            ("CONNECT", "h:"),
            ("CONNECT", "[::1]"),
            ("CONNECT", "/"),
        ] {
            assert!(read(method, bad).is_err(), "{method} {bad}");
        }
    }
}
