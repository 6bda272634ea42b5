//! Sandbox: overrides of destinations under one routing key.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    DEFAULT_NAMESPACE, DnsLabel, DnsLabelError, Endpoint, Host, RoutingKey, RoutingKeyError, Ttl,
    field::Faults,
    host::denied,
    object::{Kind, Metadata, Object, Spec, SpecFaults},
    service::{check_hosts, check_port},
};

/// One or more overrides under one routing key, with labels and a time to live.
pub type Sandbox = Object<SandboxSpec>;

/// See [`Sandbox`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxSpec {
    /// The routing key, 1 to 63 of `A-Z a-z 0-9 . _ -`; does not change later. If absent: the name in namespace
    /// `default`, `NAME.NAMESPACE` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// How long it lives: numbers with `s`, `m`, `h` or `d`, 1s to 90d; 24h if absent. Starts again on creation, on a
    /// change of `spec`, on every apply and on renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// What it replaces, 1 to 256.
    pub overrides: Vec<Override>,
}

/// Replaces one service, or one port of it, by other endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// `NAME` (same namespace) or `NAME.NAMESPACE`.
    pub service: String,
    /// The port that applications dial; absent: every port of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where to go instead, 1 to 64: `10.0.0.7:8080`, `10.0.0.7`, `name:8080` or `name`. Without a port the service's
    /// `targetPort` is used.
    pub endpoints: Vec<String>,
    /// Whether the baseline may answer when no endpoint does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fallback: Fallback,
    /// What the endpoints speak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Without a `Service` object: the addresses that applications dial for `port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Without a `Service` object: the addresses of the baseline's workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Without a `Service` object: the port where workloads listen; `port` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

/// Whether the baseline may answer when no endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// 503 with the reason.
    #[default]
    None,
    /// The baseline answers, counted and visible.
    Baseline,
}

/// What the endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// What the caller speaks.
    #[default]
    Same,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A service by name: `NAME` or `NAME.NAMESPACE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRef {
    /// The service's name.
    pub name: DnsLabel,
    /// Its namespace; absent: that of the object that names it.
    pub namespace: Option<DnsLabel>,
}

impl FromStr for ServiceRef {
    type Err = DnsLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((name, namespace)) => Ok(Self { name: name.parse()?, namespace: Some(namespace.parse()?) }),
            None => Ok(Self { name: text.parse()?, namespace: None }),
        }
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}.{namespace}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl Override {
    /// Whether it says by itself what the service is.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        !self.addresses.is_empty() || !self.workloads.is_empty() || self.target_port.is_some()
    }

    fn check(&self, field: &str, faults: &mut Faults) {
        let service: Result<ServiceRef, _> = self.service.parse();
        faults.check(format!("{field}.service"), &self.service, service);
        check_port(&format!("{field}.port"), self.port, faults);
        check_port(&format!("{field}.targetPort"), self.target_port, faults);
        if self.endpoints.is_empty() || self.endpoints.len() > 64 {
            let rule = format_args!("{} endpoints; 1 to 64 are allowed", self.endpoints.len());
            faults.push(format!("{field}.endpoints"), None, rule);
        }
        for (n, text) in self.endpoints.iter().enumerate() {
            let field = format!("{field}.endpoints[{n}]");
            let endpoint = faults.check(&*field, text, text.parse::<Endpoint>());
            if let Some(Endpoint { host: Host::Ip(address), .. }) = endpoint {
                faults.check(field, text, denied(address));
            }
        }
        check_hosts(&format!("{field}.addresses"), &self.addresses, faults);
        check_hosts(&format!("{field}.workloads"), &self.workloads, faults);
        if self.is_inline() && self.port.is_none() {
            let rule = "must be given where the override itself says what the service is (addresses, workloads, targetPort)";
            faults.push(format!("{field}.port"), None, rule);
        }
    }
}

impl Spec for SandboxSpec {
    const KIND: Kind = Kind::Sandbox;

    fn check(&self, metadata: &Metadata, SpecFaults(faults): &mut SpecFaults<'_>) {
        check_key_and_ttl(self.routing_key.as_deref(), self.ttl.as_deref(), metadata, faults);
        if self.overrides.is_empty() || self.overrides.len() > 256 {
            let rule = format_args!("{} overrides; 1 to 256 are allowed", self.overrides.len());
            faults.push("spec.overrides", None, rule);
        }
        // a service with all its ports, or one port of it, may be overridden once
        let mut seen: BTreeMap<(String, Option<u16>), usize> = BTreeMap::new();
        for (n, each) in self.overrides.iter().enumerate() {
            let field = format!("spec.overrides[{n}]");
            each.check(&field, faults);
            let Ok(service) = each.service.parse::<ServiceRef>() else { continue };
            let namespace = service.namespace.as_ref().map_or(&*metadata.namespace, DnsLabel::as_str);
            let full = format!("{}.{namespace}", service.name);
            let same = |((name, port), _): &(&(String, Option<u16>), &usize)| {
                *name == full && (*port == each.port || port.is_none() || each.port.is_none())
            };
            if let Some((_, first)) = seen.iter().find(same) {
                let rule = format_args!(
                    "overrides the same destination as spec.overrides[{first}]; each may be overridden once"
                );
                faults.push(format!("{field}.service"), Some(&each.service), rule);
            }
            seen.entry((full, each.port)).or_insert(n);
        }
    }
}

/// The routing key of a sandbox or group: as given, or made from its name.
///
/// # Errors
/// When it is no key; a made one can only be too long.
pub fn routing_key(given: Option<&str>, namespace: &str, name: &str) -> Result<RoutingKey, RoutingKeyError> {
    match given {
        Some(given) => given.parse(),
        None if namespace == DEFAULT_NAMESPACE => name.parse(),
        None => format!("{name}.{namespace}").parse(),
    }
}

pub(crate) fn check_key_and_ttl(
    key: Option<&str>,
    ttl: Option<&str>,
    metadata: &Metadata,
    faults: &mut Faults,
) {
    match routing_key(key, &metadata.namespace, &metadata.name) {
        Err(error) if key.is_some() => faults.push("spec.routingKey", key, error),
        Err(RoutingKeyError::TooLong(bytes)) => {
            let rule = format_args!(
                "must be given: the default, NAME.NAMESPACE, has {bytes} bytes and at most 63 are allowed"
            );
            faults.push("spec.routingKey", None, rule);
        }
        // a name that is no key is a fault of the name, told there
        Ok(_) | Err(_) => {}
    }
    if let Some(text) = ttl {
        faults.check("spec.ttl", text, text.parse::<Ttl>());
    }
}
