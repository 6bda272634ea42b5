//! Service: what a destination is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    DnsLabel, Host,
    host::{HostError, denied},
    object::{Kind, Metadata, Object, Spec, SpecFaults},
};

/// What a destination is: its ports, the addresses that applications dial, and those of its workloads.
pub type Service = Object<ServiceSpec>;

/// See [`Service`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its ports, 1 to 64.
    pub ports: Vec<Port>,
    /// What applications dial: IP addresses, and DNS names that control resolves and keeps fresh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Where its workloads are (IP addresses or DNS names); for the inbound decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Namespaces besides its own whose sandboxes may override it; `*` permits all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_from: Vec<String>,
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// A name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port that applications dial.
    pub port: u16,
    /// The port where workloads listen; `port` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

impl Port {
    /// The port where workloads listen.
    #[must_use]
    pub fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

impl ServiceSpec {
    /// Whether a sandbox of `theirs` may override this service of `ours`.
    #[must_use]
    pub fn permits(&self, ours: &str, theirs: &str) -> bool {
        ours == theirs || self.override_from.iter().any(|from| from == "*" || from == theirs)
    }
}

impl Spec for ServiceSpec {
    const KIND: Kind = Kind::Service;

    fn check(&self, _: &Metadata, SpecFaults(faults): &mut SpecFaults<'_>) {
        if self.ports.is_empty() || self.ports.len() > 64 {
            faults.push("spec.ports", None, format_args!("{} ports; 1 to 64 are allowed", self.ports.len()));
        }
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (n, port) in self.ports.iter().enumerate() {
            check_port(&format!("spec.ports[{n}].port"), Some(port.port), faults);
            check_port(&format!("spec.ports[{n}].targetPort"), port.target_port, faults);
            if !numbers.insert(port.port) {
                faults.push(format!("spec.ports[{n}].port"), Some(&port.port.to_string()), "stands twice");
            }
            if let Some(name) = &port.name {
                let field = format!("spec.ports[{n}].name");
                faults.check(&*field, name, name.parse::<DnsLabel>());
                if !names.insert(name) {
                    faults.push(field, Some(name), "stands twice");
                }
            }
        }
        check_hosts("spec.addresses", &self.addresses, faults);
        check_hosts("spec.workloads", &self.workloads, faults);
        for (n, from) in self.override_from.iter().enumerate().filter(|(_, from)| *from != "*") {
            faults.check(format!("spec.overrideFrom[{n}]"), from, from.parse::<DnsLabel>());
        }
    }
}

pub(crate) fn check_port(field: &str, port: Option<u16>, faults: &mut crate::field::Faults) {
    if port == Some(0) {
        faults.push(field, Some("0"), "not a port; allowed are 1 to 65535");
    }
}

/// Checks hosts that requests are *recognised* by.
pub(crate) fn check_hosts(field: &str, hosts: &[String], faults: &mut crate::field::Faults) {
    if hosts.len() > 1_024 {
        faults.push(field, None, format_args!("{} entries; at most 1024 are allowed", hosts.len()));
    }
    for (n, text) in hosts.iter().enumerate() {
        let host: Result<Host, HostError> = text.parse();
        if let Some(Host::Ip(address)) = faults.check(format!("{field}[{n}]"), text, host) {
            faults.check(format!("{field}[{n}]"), text, denied(address));
        }
    }
}
