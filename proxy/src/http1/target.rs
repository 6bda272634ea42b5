//! The target of a request line and the value of `Host` (RFC 9112 §3.2, RFC 9110 §7.2).

use super::Fault;

/// Which of its four forms a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
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
    pub(super) fn of(method: &[u8], target: &[u8]) -> Result<Self, Fault> {
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
    pub(super) fn authority(self, target: &[u8]) -> Result<Option<&[u8]>, Fault> {
        let authority = match self {
            Self::Origin | Self::Asterisk => return Ok(None),
            Self::Authority => target,
            Self::Absolute => split_path(behind_scheme(target).unwrap_or_default()).0,
        };
        check_host(authority)?;
        let has_port = authority.iter().rposition(|b| *b == b':').is_some_and(|at| {
            !authority.ends_with(b"]") && authority.get(at + 1..).is_some_and(|port| !port.is_empty())
        });
        match self {
            _ if authority.is_empty() => Err(Fault("a target without a host")),
            Self::Authority if !has_port => Err(Fault("CONNECT without a port")),
            _ => Ok(Some(authority)),
        }
    }

    /// Path and query.
    pub(super) fn path(self, target: &[u8]) -> &[u8] {
        match self {
            Self::Origin | Self::Asterisk => target,
            Self::Authority => &[],
            Self::Absolute => split_path(behind_scheme(target).unwrap_or_default()).1,
        }
    }
}

/// Whether an absolute target is one that plain HTTP can be spoken for.
pub(super) fn is_plain_http(target: &[u8]) -> bool {
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

/// Checks `uri-host [":" port]` (RFC 3986 §3.2.2). Empty is allowed: a target may have no authority.
pub(super) fn check_host(value: &[u8]) -> Result<(), Fault> {
    let bad = Fault("a host that is none");
    let (inside, behind) = match value.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|byte| *byte == b']').ok_or(bad)?;
            let (inside, behind) = literal.split_at_checked(end).ok_or(bad)?;
            if inside.is_empty()
                || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'v'))
            {
                return Err(bad);
            }
            (inside, behind.get(1..).unwrap_or_default())
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            value.split_at_checked(end).ok_or(bad)?
        }
    };
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let port_is_good = match behind.split_first() {
        None => true,
        Some((b':', port)) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    if inside.iter().all(name) && port_is_good { Ok(()) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_two_ports_user_names_blanks_or_open_brackets_are_none() {
        for good in ["", "a", "a.b:80", "127.0.0.1", "[::1]", "[::1]:8080", "a_b", "x:", "%41", "xn--1"] {
            assert_eq!(check_host(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in [
            "a:b", "a:1:2", "u@a", "a b", "[::1", "::1", "[]", "[::1]x", "a/b", "a:123456", "a,\tb", "ä",
            "a?",
        ] {
            assert!(check_host(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

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
