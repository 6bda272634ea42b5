//! The base URL of a control plane.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    tls: bool,
    loopback: bool,
}

/// Why a text is no [`BaseUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed: http://HOST[:PORT] or https://HOST[:PORT], without a path")]
pub struct BaseUrlError;

impl BaseUrl {
    /// Scheme and authority, without a slash behind them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether a token may be sent there: over TLS, or without leaving this host.
    #[must_use]
    pub fn keeps_secrets(&self) -> bool {
        self.tls || self.loopback
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let uri: Uri = text.parse().map_err(|_| BaseUrlError)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(BaseUrlError)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(BaseUrlError),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(BaseUrlError);
        }
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { text: format!("{scheme}://{authority}"), tls, loopback: is_loopback(authority.host()) })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical().is_loopback());
    address.unwrap_or_else(|_| host.eq_ignore_ascii_case("localhost"))
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_scheme_and_an_authority_and_knows_where_a_token_would_be_read_by_others() {
        for (good, secret) in [
            ("http://127.0.0.1:7070", true),
            ("http://127.0.0.1:7070/", true),
            ("http://[::1]:7070", true),
            ("http://LOCALHOST", true),
            ("http://control.bellhop", false),
            ("http://10.0.0.1:7070", false),
            ("https://10.0.0.1:7070", true),
            ("https://control.bellhop/", true),
        ] {
            let url: BaseUrl = good.parse().unwrap();
            assert_eq!(url.as_str(), good.trim_end_matches('/'));
            assert_eq!(url.keeps_secrets(), secret, "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7070",
            "ftp://control",
            "http://",
            "http://a/b",
            "https://a/?x",
            "http://u:p@a",
            "unix:/x",
        ] {
            let error = bad.parse::<BaseUrl>().unwrap_err();
            assert!(error.to_string().contains("https://HOST[:PORT]"), "{bad}");
        }
    }
}
