//! Names that stand for a service in explicit mode.

use std::fmt::{self, Write};

use bellhop_api::{DnsLabel, watch::ServiceUnit};
use smallvec::SmallVec;

/// Longest host that is looked up: RFC 1035 allows 253, and a dot at the end.
pub(crate) const MAX_HOST_BYTES: usize = 254;

/// `host:port` as the table keeps it: lower case, no dot at the end of the host. Mostly in place, since it is made for a
/// lookup.
pub(crate) struct Authority(SmallVec<[u8; 64]>);

impl Authority {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Puts host and port together.
pub(crate) fn authority(host: &str, port: u16) -> Authority {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut authority = Authority(host.bytes().map(|b| b.to_ascii_lowercase()).collect());
    // Writing to memory cannot fail.
    let _ = write!(authority, ":{port}");
    authority
}

impl fmt::Write for Authority {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The names that a service has without saying so. Its bare name counts in the proxy's own namespace alone.
pub(crate) fn implied_names(unit: &ServiceUnit, namespace: &DnsLabel) -> Vec<String> {
    let full = format!("{}.{}", unit.name, unit.namespace);
    let mut names = vec![format!("{full}.svc"), format!("{full}.svc.cluster.local"), full];
    if unit.namespace == *namespace {
        names.push(unit.name.to_string());
    }
    names
}
