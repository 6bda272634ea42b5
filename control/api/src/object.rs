//! The shape that all objects share: `apiVersion`, `kind`, `metadata`, `spec`, `status`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    API_VERSION, DEFAULT_NAMESPACE, DnsLabel, Status,
    field::{Faults, Invalid},
    selector::{Labels, check_key, check_labels},
};

/// An object of the control API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound(deserialize = "S: DeserializeOwned"))]
pub struct Object<S> {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// `Service`, `Sandbox` or `SandboxGroup`.
    pub kind: String,
    /// Name, labels and what the server says about the object.
    pub metadata: Metadata,
    /// What its author wants.
    pub spec: S,
    /// What the server found. Never read from an author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What a `spec` of one kind has to say of itself.
pub trait Spec:
    Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The `kind`.
    const KIND: Kind;

    /// Notes every fault of the `spec` of an object in `namespace`.
    #[doc(hidden)]
    fn check(&self, metadata: &Metadata, faults: &mut SpecFaults<'_>);
}

/// Collects the faults of a `spec`; made by [`Object::validate`] alone.
#[derive(Debug)]
pub struct SpecFaults<'a>(pub(crate) &'a mut Faults);

/// The kinds of objects, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// What a destination is.
    Service,
    /// Overrides under one routing key.
    Sandbox,
    /// Several sandboxes under one routing key.
    SandboxGroup,
}

impl Kind {
    /// All kinds, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Service, Self::Sandbox, Self::SandboxGroup];

    /// As `kind` of a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Sandbox => "Sandbox",
            Self::SandboxGroup => "SandboxGroup",
        }
    }

    /// As part of a path.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Sandbox => "sandboxes",
            Self::SandboxGroup => "groups",
        }
    }

    /// From a manifest's `kind`.
    #[must_use]
    pub fn from_kind(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// From a path.
    #[must_use]
    pub fn from_plural(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Name, labels, and what the server says about an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name, unique among the objects of its kind in its namespace.
    pub name: String,
    /// Namespace; `default` where none is given.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Labels, for selectors.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Free text, at most 64 KiB together.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Set by the server: this object and no later one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Set by the server: changes with every write. Given on a write, it must be the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Set by the server: counts the changes of `spec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Set by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

impl<S: Spec> Object<S> {
    /// A new object as its author would write it.
    #[must_use]
    pub fn new(namespace: &str, name: &str, spec: S) -> Self {
        let metadata = Metadata { name: name.into(), namespace: namespace.into(), ..Metadata::default() };
        Self { api_version: API_VERSION.into(), kind: S::KIND.as_str().into(), metadata, spec, status: None }
    }

    /// Checks everything that can be known without looking at other objects, and tells all faults at once.
    ///
    /// # Errors
    /// Names each faulty field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        if self.api_version != API_VERSION {
            faults.push("apiVersion", Some(&self.api_version), format_args!("must be {API_VERSION}"));
        }
        if self.kind != S::KIND.as_str() {
            faults.push("kind", Some(&self.kind), format_args!("must be {}", S::KIND));
        }
        self.metadata.check(&mut faults);
        self.spec.check(&self.metadata, &mut SpecFaults(&mut faults));
        faults.into_result()
    }
}

impl Metadata {
    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn check(&self, faults: &mut Faults) {
        faults.check("metadata.name", &self.name, self.name.parse::<DnsLabel>());
        faults.check("metadata.namespace", &self.namespace, self.namespace.parse::<DnsLabel>());
        check_labels("metadata.labels", &self.labels, faults);
        for key in self.annotations.keys() {
            faults.check("metadata.annotations", key, check_key(key));
        }
        let bytes: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > 64 << 10 {
            faults.push(
                "metadata.annotations",
                None,
                format_args!("{bytes} bytes; at most 65536 are allowed"),
            );
        }
    }
}
