//! Where endpoints may be: `--endpoint-networks`, and a deny list that no operator can open.

use std::net::IpAddr;

use bellhop_api::{Denied, denied};
use ipnet::IpNet;

/// Networks in which endpoints may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Why an address may not be an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// It is on the deny list.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is outside the networks.
    #[error("outside the networks in which endpoints may be: {0} (set with --endpoint-networks)")]
    Outside(String),
}

/// RFC 1918, RFC 6598 (cluster networks of several clouds), RFC 4193.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

impl Networks {
    /// These networks and no others.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Private ranges; `with_loopback` where control itself is on loopback and so are its users' endpoints.
    #[must_use]
    pub fn private(with_loopback: bool) -> Self {
        let loopback = LOOPBACK.iter().filter(|_| with_loopback);
        Self(PRIVATE.iter().chain(loopback).filter_map(|text| text.parse().ok()).collect())
    }

    /// Checks an endpoint's address.
    ///
    /// # Errors
    /// When it may not be one.
    pub fn check(&self, address: IpAddr) -> Result<(), NotPermitted> {
        denied(address)?;
        let address = address.to_canonical();
        if self.0.iter().any(|network| network.contains(&address)) {
            Ok(())
        } else {
            Err(NotPermitted::Outside(self.to_string()))
        }
    }
}

impl std::fmt::Display for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b18_endpoints_are_allowed_in_private_networks_and_nowhere_on_the_deny_list() {
        let check = |networks: &Networks, text: &str| networks.check(text.parse().unwrap()).is_ok();
        let private = Networks::private(false);
        assert!(
            check(&private, "10.0.0.7") && check(&private, "fd12::7") && check(&private, "::ffff:10.0.0.7")
        );
        assert!(!check(&private, "127.0.0.1") && !check(&private, "8.8.8.8") && !check(&private, "::1"));
        assert!(check(&Networks::private(true), "127.0.0.1"));
        let all = Networks::new(vec!["0.0.0.0/0".parse().unwrap()]);
        assert!(check(&all, "8.8.8.8") && !check(&all, "169.254.169.254") && !check(&all, "0.0.0.0"));
    }
}
