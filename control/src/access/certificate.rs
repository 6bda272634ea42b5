//! Client certificates: the names in them, and the role that an operator gives to a name.

use std::str::FromStr;

use bellhop_api::{
    DnsLabel,
    access::{ANY_NAMESPACE, Role},
};
use jiff::Timestamp;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// Names of one certificate that are looked at.
const NAMES: usize = 32;

/// Whose certificate a connection came with. TLS has checked its chain, its times and that its key is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// URIs of the subject's alternative names (SPIFFE ids are such), then `cn:` and the common name.
    pub(crate) names: Vec<String>,
    /// The certificate's end.
    pub(crate) until: Timestamp,
}

impl Identity {
    /// Reads a certificate; `None` where it is none, which TLS would not have let in.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let until = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|names| &names.value.general_names);
        let uris = names.filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let names = uris.chain(common.map(|name| format!("cn:{name}"))).take(NAMES).collect();
        Some(Self { names, until })
    }
}

/// `IDENTITY=ROLE[:NAMESPACE,…]`: what the bearer of a certificate may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRule {
    pattern: String,
    pub(crate) role: Role,
    pub(crate) namespaces: Vec<String>,
}

/// A text is no [`IdentityRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write IDENTITY=ROLE, or IDENTITY=developer:NAMESPACE,… (* for all); IDENTITY is a URI such as \
     spiffe://example.org/ns/*/sa/ci or cn:NAME, where * stands for anything without a slash; ROLE is proxy, developer \
     or admin"
)]
pub struct IdentityRuleError;

impl FromStr for IdentityRule {
    type Err = IdentityRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pattern, given) = text.rsplit_once('=').ok_or(IdentityRuleError)?;
        let (role, namespaces) = match given.split_once(':') {
            Some((role, namespaces)) => (role, namespaces.split(',').map(str::to_owned).collect()),
            None => (given, Vec::new()),
        };
        let role = role.parse().map_err(|_| IdentityRuleError)?;
        let fits = namespaces.is_empty() != (role == Role::Developer);
        let known = |name: &String| name == ANY_NAMESPACE || name.parse::<DnsLabel>().is_ok();
        let named = pattern.strip_prefix("cn:").map_or(pattern.contains("://"), |name| !name.is_empty());
        if !fits || !named || !namespaces.iter().all(known) {
            return Err(IdentityRuleError);
        }
        Ok(Self { pattern: pattern.to_owned(), role, namespaces })
    }
}

impl IdentityRule {
    /// Gives a role to one name.
    pub(crate) fn exact(name: &str, role: Role) -> Self {
        Self { pattern: name.to_owned(), role, namespaces: Vec::new() }
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        matches(self.pattern.as_bytes(), name.as_bytes())
    }
}

/// Whether a text is of a pattern in which each `*` stands for any run of bytes without a slash.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            let reach = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            // patterns are the operator's own, and short; names are bounded by the certificate
            (0..=reach).any(|taken| text.get(taken..).is_some_and(|left| matches(rest, left)))
        }
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, left)| first == byte && matches(rest, left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_gives_a_role_to_the_names_of_its_pattern() {
        let rule: IdentityRule = "spiffe://example.org/ns/*/sa/bellhop-*=proxy".parse().unwrap();
        assert_eq!(rule.role, Role::Proxy);
        assert!(rule.matches("spiffe://example.org/ns/shop/sa/bellhop-proxy"));
        assert!(rule.matches("spiffe://example.org/ns/shop/sa/bellhop-"));
        for other in [
            "spiffe://example.org/ns/shop/evil/sa/bellhop-proxy",
            "spiffe://example.org/ns/shop/sa/other",
            "spiffe://example.org/ns/shop/sa/bellhop-proxy/more",
            "spiffe://example.orgx/ns/shop/sa/bellhop-proxy",
            "",
        ] {
            assert!(!rule.matches(other), "{other}");
        }
        let rule: IdentityRule = "cn:alice=developer:shop,pay".parse().unwrap();
        assert_eq!(rule.namespaces, ["shop", "pay"]);
        assert!(rule.matches("cn:alice") && !rule.matches("cn:alicex") && !rule.matches("alice"));
        for bad in [
            "",
            "x",
            "=proxy",
            "cn:=proxy",
            "cn:a=root",
            "cn:a=developer",
            "cn:a=admin:shop",
            "alice=admin",
            "cn:a=developer:B_",
        ] {
            assert!(bad.parse::<IdentityRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_names_of_a_certificate_are_its_uris_and_its_common_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["host.example.org".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        let uri = "spiffe://example.org/ns/shop/sa/ci";
        params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let identity = Identity::of(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(identity.names, [uri, "cn:alice"]);
        assert_eq!(identity.until.to_string(), "2030-01-01T00:00:00Z");
        assert_eq!(Identity::of(b"garbage"), None);
    }
}
