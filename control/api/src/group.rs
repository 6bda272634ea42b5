//! SandboxGroup: a routing key of its own that combines several sandboxes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    DnsLabel, DnsLabelError,
    object::{Kind, Metadata, Object, Spec, SpecFaults},
    sandbox::check_key_and_ttl,
    selector::Selector,
};

/// A routing key of its own that combines several sandboxes, by name or by label match.
pub type SandboxGroup = Object<GroupSpec>;

/// See [`SandboxGroup`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    /// As in a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// Members by name: `NAME` (same namespace) or `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sandboxes: Vec<String>,
    /// Members by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Namespaces in which `selector` looks; its own if absent; `*` means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// As in a sandbox; absent: it lives until it is deleted, and routes as long as a sandbox matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// A sandbox by name: `NAME` or `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxRef {
    /// Its namespace; absent: that of the object that names it.
    pub namespace: Option<DnsLabel>,
    /// Its name.
    pub name: DnsLabel,
}

impl FromStr for SandboxRef {
    type Err = DnsLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self { namespace: Some(namespace.parse()?), name: name.parse()? }),
            None => Ok(Self { namespace: None, name: text.parse()? }),
        }
    }
}

impl fmt::Display for SandboxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl Spec for GroupSpec {
    const KIND: Kind = Kind::SandboxGroup;

    fn check(&self, metadata: &Metadata, SpecFaults(faults): &mut SpecFaults<'_>) {
        check_key_and_ttl(self.routing_key.as_deref(), self.ttl.as_deref(), metadata, faults);
        if self.sandboxes.len() > 256 {
            let rule = format_args!("{} members; at most 256 are allowed", self.sandboxes.len());
            faults.push("spec.sandboxes", None, rule);
        }
        for (n, text) in self.sandboxes.iter().enumerate() {
            faults.check(format!("spec.sandboxes[{n}]"), text, text.parse::<SandboxRef>());
        }
        match &self.selector {
            None if self.sandboxes.is_empty() => {
                faults.push("spec.sandboxes", None, "name sandboxes, or give a spec.selector");
            }
            None if !self.namespaces.is_empty() => {
                faults.push(
                    "spec.namespaces",
                    None,
                    "says where spec.selector looks; give one, or leave this out",
                );
            }
            Some(selector) if selector.is_empty() => {
                faults.push(
                    "spec.selector",
                    None,
                    "must name at least one label; an empty one would match everything",
                );
            }
            Some(selector) => selector.check("spec.selector", faults),
            None => {}
        }
        for (n, namespace) in self.namespaces.iter().enumerate().filter(|(_, text)| *text != "*") {
            faults.check(format!("spec.namespaces[{n}]"), namespace, namespace.parse::<DnsLabel>());
        }
    }
}
