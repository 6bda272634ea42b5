//! What the plan is made from: control's objects, stripped to what routes need.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bellhop_api::{
    Destination, DnsLabel, RoutingKey,
    watch::{EndpointProtocol, Fallback, ServiceUnit},
};

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A [`Service`].
    Service,
    /// A [`Sandbox`].
    Sandbox,
    /// A [`Group`].
    Group,
}

/// Names one object. Sorts by kind, then namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: DnsLabel,
    /// Its name within kind and namespace.
    pub name: DnsLabel,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// What a destination is.
    Service(Service),
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

/// What a destination is, in the form of the watch, names and ports resolved.
pub type Service = ServiceUnit;

/// One or more overrides under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Namespace.
    pub namespace: DnsLabel,
    /// Name.
    pub name: DnsLabel,
    /// When it was created, in milliseconds since 1970: the older of two that claim one key has it.
    pub created_ms: i64,
    /// Its key.
    pub key: RoutingKey,
    /// Its labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What it overrides. Of a gone one: what it overrode.
    pub overrides: Vec<Override>,
    /// Destinations that it overrode of late and does not any more.
    pub lost: BTreeSet<Destination>,
    /// It was deleted or has expired, and is still known: its key is `gone`, its routes in groups too.
    pub gone: bool,
}

/// One destination replaced by other endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The destination.
    pub destination: Destination,
    /// Where to go instead, resolved. None yet (a name that does not resolve): the route is there and refuses.
    pub endpoints: Vec<SocketAddr>,
    /// Whether the baseline may answer when no endpoint does.
    pub fallback: Fallback,
    /// What the endpoints speak.
    pub protocol: EndpointProtocol,
    /// Abilities that a proxy must have.
    pub requires: Vec<String>,
}

/// Several sandboxes under a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Namespace.
    pub namespace: DnsLabel,
    /// Name.
    pub name: DnsLabel,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its key.
    pub key: RoutingKey,
    /// Members by name.
    pub members: Vec<MemberRef>,
    /// Members by labels.
    pub selector: Option<Selector>,
    /// Destinations that it routed of late through members that left it.
    pub lost: BTreeSet<Destination>,
    /// It was deleted or has expired, and is still known: its key is `gone`.
    pub gone: bool,
}

/// A sandbox that a group names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberRef {
    /// Its namespace.
    pub namespace: DnsLabel,
    /// Its name.
    pub name: DnsLabel,
}

/// Which sandboxes a group takes in by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// All must hold; none hold for every sandbox.
    pub requirements: Vec<Requirement>,
    /// Namespaces that are looked at; `None`: all.
    pub namespaces: Option<BTreeSet<DnsLabel>>,
}

/// One condition on a label, as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub label: Arc<str>,
    /// The condition.
    pub operator: Operator,
}

/// A condition on the value of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// The label is there and is one of these.
    In(BTreeSet<Arc<str>>),
    /// The label is not there, or is none of these.
    NotIn(BTreeSet<Arc<str>>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Object {
    /// The object's name.
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        let (kind, namespace, name) = match self {
            Self::Service(it) => (Kind::Service, &it.namespace, &it.name),
            Self::Sandbox(it) => (Kind::Sandbox, &it.namespace, &it.name),
            Self::Group(it) => (Kind::Group, &it.namespace, &it.name),
        };
        ObjectName { kind, namespace: namespace.clone(), name: name.clone() }
    }
}

impl Selector {
    /// Whether `sandbox` is taken in.
    #[must_use]
    pub fn matches(&self, sandbox: &Sandbox) -> bool {
        self.namespaces.as_ref().is_none_or(|all| all.contains(&sandbox.namespace))
            && self.requirements.iter().all(|requirement| {
                let value = sandbox.labels.get(&requirement.label);
                match &requirement.operator {
                    Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                    Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}
