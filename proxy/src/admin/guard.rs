//! Who is answered on a loopback listener.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// It was sent to a name that is not loopback: a browser that was told so by foreign DNS.
    Host,
    /// It comes from a web page.
    Origin,
}

impl Turned {
    /// The cause as it stands in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
        }
    }

    /// What the caller is told.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Host => "refused: Host must be localhost, or a loopback address\n",
            Self::Origin => "refused: web pages are not answered\n",
        }
    }
}

/// Checks a request to a loopback listener.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Turned> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Turned::Origin);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host =
        hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let well = host.is_some_and(|host| is_loopback(host.host()))
        && hosts.next().is_none()
        && uri.host().is_none_or(is_loopback);
    if well { Ok(()) } else { Err(Turned::Host) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => bare.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str, fields: &[(&'static str, &str)]) -> Result<(), Turned> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        check(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:15000",
            "localhost.",
            "127.0.0.1:15000",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
        ] {
            assert_eq!(checked("/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "",
            "a b",
            "[::]",
        ] {
            assert_eq!(checked("/", &[("host", host)]), Err(Turned::Host), "{host}");
        }
        assert_eq!(checked("/", &[]), Err(Turned::Host));
        assert_eq!(checked("/", &[("host", "localhost"), ("host", "evil.example")]), Err(Turned::Host));
        assert_eq!(checked("http://evil.example/", &[("host", "localhost")]), Err(Turned::Host));
    }

    #[test]
    fn web_pages_are_not_answered() {
        for origin in ["http://localhost:15000", "null", "https://evil.example"] {
            assert_eq!(checked("/", &[("host", "localhost"), ("origin", origin)]), Err(Turned::Origin));
        }
    }
}
