//! Manifests: objects of any kind, read from JSON or from YAML with several documents.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    API_VERSION, GroupSpec, Kind, Metadata, Object, Sandbox, SandboxGroup, SandboxSpec, Service, ServiceSpec,
    Status, Unique, field::Invalid, object::Spec,
};

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Manifest {
    /// What a destination is.
    Service(Service),
    /// Overrides under one key.
    Sandbox(Sandbox),
    /// Several sandboxes under one key.
    SandboxGroup(SandboxGroup),
}

/// Calls the same thing on whichever object it is.
macro_rules! each {
    ($self:expr, $object:ident => $what:expr) => {
        match $self {
            Manifest::Service($object) => $what,
            Manifest::Sandbox($object) => $what,
            Manifest::SandboxGroup($object) => $what,
        }
    };
}

impl Manifest {
    /// Reads one object from a JSON value and validates it. Unknown fields are refused.
    ///
    /// # Errors
    /// Names the field, its value and what is allowed.
    pub fn from_value(value: Value) -> Result<Self, Invalid> {
        let kind = match value.get("kind") {
            Some(Value::String(text)) => match Kind::from_kind(text) {
                Some(kind) => kind,
                None => return Err(Invalid::one("kind", Some(text), KINDS)),
            },
            Some(other) => return Err(Invalid::one("kind", Some(&other.to_string()), KINDS)),
            None => return Err(Invalid::one("kind", None, KINDS)),
        };
        let manifest = match kind {
            Kind::Service => Self::Service(read::<ServiceSpec>(value)?),
            Kind::Sandbox => Self::Sandbox(read::<SandboxSpec>(value)?),
            Kind::SandboxGroup => Self::SandboxGroup(read::<GroupSpec>(value)?),
        };
        manifest.validate()?;
        Ok(manifest)
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Sandbox(_) => Kind::Sandbox,
            Self::SandboxGroup(_) => Kind::SandboxGroup,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        each!(self, object => &object.metadata)
    }

    /// Its metadata, to change.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        each!(self, object => &mut object.metadata)
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        each!(self, object => object.status.as_ref())
    }

    /// Its status, to change.
    pub fn status_mut(&mut self) -> &mut Option<Status> {
        each!(self, object => &mut object.status)
    }

    /// Checks everything that can be known without looking at other objects, and tells all faults at once.
    ///
    /// # Errors
    /// Names each faulty field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Invalid> {
        each!(self, object => object.validate())
    }

    /// Its `spec.routingKey` as its author wrote it.
    #[must_use]
    pub fn given_key(&self) -> Option<&str> {
        match self {
            Self::Service(_) => None,
            Self::Sandbox(sandbox) => sandbox.spec.routing_key.as_deref(),
            Self::SandboxGroup(group) => group.spec.routing_key.as_deref(),
        }
    }

    /// Whether both want the same.
    #[must_use]
    pub fn same_spec(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a), Self::Service(b)) => a.spec == b.spec,
            (Self::Sandbox(a), Self::Sandbox(b)) => a.spec == b.spec,
            (Self::SandboxGroup(a), Self::SandboxGroup(b)) => a.spec == b.spec,
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

const KINDS: &str = "must be Service, Sandbox or SandboxGroup";

fn read<S: Spec>(value: Value) -> Result<Object<S>, Invalid> {
    typed(value)
}

/// Reads a typed value; a fault names the path of its field.
///
/// # Errors
/// Names the field and what is allowed there.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let path = error.path().to_string();
        let found = at(&value, &path);
        Invalid::one(if path == "." { String::new() } else { path }, found.as_deref(), error.inner())
    })
}

/// What stands at a path, if it is short enough to be worth showing.
fn at(value: &Value, path: &str) -> Option<String> {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    match value.pointer(&pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

/// Why a text holds no manifests.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither YAML nor JSON.
    #[error("document {document}: {source}")]
    Syntax {
        /// Which document, from 1.
        document: usize,
        /// What the parser says, with line and column.
        source: serde_norway::Error,
    },
    /// A document is no valid object.
    #[error("document {document} ({name}): {source}")]
    Invalid {
        /// Which document, from 1.
        document: usize,
        /// Kind and name, as far as they can be read.
        name: String,
        /// Its faults.
        source: Invalid,
    },
    /// There is not one document in it.
    #[error("no manifest in it; write apiVersion: {API_VERSION}, kind, metadata and spec")]
    Empty,
}

/// Reads all documents of a YAML (or JSON) text; `List` objects (`items`) are taken apart. Each outcome stands for one
/// document, so that all faults can be told at once. Empty documents are skipped. An object that names no namespace is
/// taken to be in `namespace`.
#[must_use]
pub fn read_documents(text: &str, namespace: &str) -> Vec<Result<Manifest, ReadError>> {
    let mut out = Vec::new();
    for (n, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let document_number = n + 1;
        let value = match Unique::deserialize(document) {
            Ok(Unique(Value::Null)) => continue,
            Ok(Unique(value)) => value,
            Err(source) => {
                out.push(Err(ReadError::Syntax { document: document_number, source }));
                break;
            }
        };
        for mut value in items(value) {
            let name = describe(&value);
            if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
                metadata.entry("namespace").or_insert_with(|| namespace.into());
            }
            let read = Manifest::from_value(value);
            out.push(read.map_err(|source| ReadError::Invalid { document: document_number, name, source }));
        }
    }
    if out.is_empty() {
        out.push(Err(ReadError::Empty));
    }
    out
}

fn items(mut value: Value) -> Vec<Value> {
    let list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if list => items,
        _ => vec![value],
    }
}

fn describe(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

#[cfg(test)]
mod tests;
