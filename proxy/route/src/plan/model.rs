//! What the plan is made from: control's objects, stripped to what routes need.

use std::{collections::BTreeSet, fmt, net::IpAddr};

pub use bellhop_api::Kind;
use bellhop_api::{
    Destination, DnsLabel, Labels, RoutingKey, Selector,
    watch::{EndpointProtocol, Fallback, ServiceUnit},
};

/// Namespace and name: one object among those of its kind. Written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FullName {
    /// Its namespace.
    pub namespace: DnsLabel,
    /// Its name.
    pub name: DnsLabel,
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One object among all. Sorts by kind, then namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its name within the kind.
    pub name: FullName,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// What a destination is, in the form of the watch: names resolved, every `targetPort` written out.
    Service(ServiceUnit),
    /// Overrides under one key.
    Sandbox(Sandbox),
    /// Several sandboxes under one key.
    Group(Group),
}

/// One change to the set of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This object is new, or replaces the one of its name.
    Put(Object),
    /// There is no such object any more, and nobody remembers it. One that must still be known as gone is put with
    /// `gone` instead.
    Delete(ObjectName),
}

/// One or more overrides under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its name.
    pub name: FullName,
    /// When it was created, in milliseconds since 1970: the older of two that claim one key has it.
    pub created_ms: i64,
    /// Its key.
    pub key: RoutingKey,
    /// Its labels.
    pub labels: Labels,
    /// What it overrides. Of a gone one: what it overrode.
    pub overrides: Vec<Override>,
    /// Destinations that it overrode of late and does not any more.
    pub lost: BTreeSet<Destination>,
    /// It was deleted or has expired, and is still known: its key is `gone`, its routes in groups too.
    pub gone: bool,
}

/// One service, or one port of it, replaced by other endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The service.
    pub service: FullName,
    /// The port; none means every port of the service.
    pub port: Option<u16>,
    /// Where to go instead, resolved. None (names that do not resolve yet): the route is there, and its requests fail.
    pub endpoints: Vec<EndpointAddress>,
    /// Whether the baseline may answer when no endpoint does.
    pub fallback: Fallback,
    /// What the endpoints speak.
    pub protocol: EndpointProtocol,
    /// Abilities that a proxy must have.
    pub requires: Vec<String>,
    /// What the service is, where the override itself says so. A [`Object::Service`] of that name counts instead.
    pub inline: Option<InlineService>,
}

/// An endpoint, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointAddress {
    /// Where.
    pub ip: IpAddr,
    /// None: the `targetPort` of each port that is overridden.
    pub port: Option<u16>,
}

/// What an override says of its service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InlineService {
    /// Addresses that applications dial, resolved.
    pub addresses: Vec<IpAddr>,
    /// Names that applications dial, lower case.
    pub names: Vec<String>,
    /// Addresses of its workloads, resolved.
    pub workloads: Vec<IpAddr>,
    /// Where workloads listen; none: the overridden port.
    pub target_port: Option<u16>,
}

/// Several sandboxes under a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: FullName,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its key.
    pub key: RoutingKey,
    /// Members by name.
    pub members: BTreeSet<FullName>,
    /// Members by labels.
    pub selector: Option<Selector>,
    /// Where the selector looks; none: everywhere.
    pub namespaces: Option<BTreeSet<DnsLabel>>,
    /// Destinations that it routed of late through members that left it.
    pub lost: BTreeSet<Destination>,
    /// It was deleted or has expired, and is still known: its key is `gone`.
    pub gone: bool,
}

impl Change {
    /// The name of the object that changes.
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        match self {
            Self::Put(object) => object.object_name(),
            Self::Delete(name) => name.clone(),
        }
    }
}

impl Object {
    /// The object's name.
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        let (kind, name) = match self {
            Self::Service(it) => (Kind::Service, service_name(it)),
            Self::Sandbox(it) => (Kind::Sandbox, it.name.clone()),
            Self::Group(it) => (Kind::SandboxGroup, it.name.clone()),
        };
        ObjectName { kind, name }
    }
}

impl Group {
    /// Whether the selector takes `sandbox` in.
    #[must_use]
    pub fn selects(&self, sandbox: &Sandbox) -> bool {
        self.namespaces.as_ref().is_none_or(|all| all.contains(&sandbox.name.namespace))
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&sandbox.labels))
    }
}

/// The name of a service's unit.
pub(super) fn service_name(unit: &ServiceUnit) -> FullName {
    FullName { namespace: unit.namespace.clone(), name: unit.name.clone() }
}

/// A port of a service, as a destination.
pub(super) fn destination(service: &FullName, port: u16) -> Destination {
    Destination { service: service.name.clone(), namespace: service.namespace.clone(), port }
}
