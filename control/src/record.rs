//! What stands in the store: objects with what control remembers of them, and resolved names. Tokens stand there too, and
//! are read by [`crate::access`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use bellhop_api::{Destination, Kind, Manifest, Metadata};
use bellhop_route::plan::{FullName, ObjectName};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    access::token::CLASS,
    store::{Record, Revision},
};

/// An object as it is stored. Of its status only `phase` and `expiresAt` are; the rest is made anew from all objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    /// The object.
    pub(crate) object: Manifest,
    /// It was deleted; until then its key and its routes in groups are known as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted_until: Option<Timestamp>,
    /// Destinations that its key routed and does not any more, and until when that is remembered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lost: BTreeMap<Destination, Timestamp>,
}

/// One change of the store, understood.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// This object is so now, or is no more.
    Object(ObjectName, Option<Box<Stored>>),
    /// This DNS name stands for these addresses now, or nobody asks for it any more.
    Name(Arc<str>, Option<Vec<IpAddr>>),
}

/// The addresses of a DNS name, as they are stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Resolved {
    addresses: Vec<IpAddr>,
}

impl Edit {
    /// Understands a change; one that this version does not know is logged and left alone.
    pub(crate) fn read(name: &str, value: Option<&Bytes>, revision: Revision) -> Option<Self> {
        let (class, rest) = name.split_once('/')?;
        let read = match class {
            // who may, which is none of the world's business
            CLASS => return None,
            "object" => object_name(rest).map(|object| match value {
                None => Ok(Self::Object(object, None)),
                Some(value) => serde_json::from_slice(value).map(|mut stored: Box<Stored>| {
                    stored.object.metadata_mut().resource_version = Some(revision.to_string());
                    Self::Object(object, Some(stored))
                }),
            }),
            "name" => Some(match value {
                None => Ok(Self::Name(rest.into(), None)),
                Some(value) => serde_json::from_slice(value)
                    .map(|resolved: Resolved| Self::Name(rest.into(), Some(resolved.addresses))),
            }),
            _ => None,
        };
        match read {
            Some(Ok(edit)) => Some(edit),
            Some(Err(error)) => {
                tracing::error!(record = name, %error, "a stored record is not understood and is left alone");
                None
            }
            None => {
                tracing::warn!(record = name, "a stored record is of a kind that is not known");
                None
            }
        }
    }

    /// Understands a listed record.
    pub(crate) fn from_record(record: &Record) -> Option<Self> {
        Self::read(&record.name, Some(&record.value), record.revision)
    }
}

/// Name of an object's record.
pub(crate) fn object_record(name: &ObjectName) -> Arc<str> {
    format!("object/{}/{}", name.kind, name.name).into()
}

/// Name of a resolved name's record.
pub(crate) fn name_record(host: &str) -> Arc<str> {
    format!("name/{host}").into()
}

/// Content of an object's record.
pub(crate) fn object_value(stored: &Stored) -> Bytes {
    let mut stored = stored.clone();
    stored.object.metadata_mut().resource_version = None;
    serde_json::to_vec(&stored).unwrap_or_default().into()
}

/// Content of a resolved name's record.
pub(crate) fn name_value(addresses: &[IpAddr]) -> Bytes {
    serde_json::to_vec(&Resolved { addresses: addresses.to_vec() }).unwrap_or_default().into()
}

fn object_name(text: &str) -> Option<ObjectName> {
    let mut parts = text.splitn(3, '/');
    let kind = Kind::from_kind(parts.next()?)?;
    let name = FullName { namespace: parts.next()?.parse().ok()?, name: parts.next()?.parse().ok()? };
    Some(ObjectName { kind, name })
}

/// The name under which the planner knows an object. `None` for metadata that was never validated.
pub(crate) fn name_of(kind: Kind, metadata: &Metadata) -> Option<ObjectName> {
    let name = FullName { namespace: metadata.namespace.parse().ok()?, name: metadata.name.parse().ok()? };
    Some(ObjectName { kind, name })
}

/// `Sandbox namespace/name`, for people.
pub(crate) fn describe(name: &ObjectName) -> String {
    format!("{} {}", name.kind, name.name)
}

impl Stored {
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.object.status().and_then(|status| status.expires_at)
    }

    /// Deleted or expired: known, and without routes.
    pub(crate) fn is_gone(&self, now: Timestamp) -> bool {
        self.deleted_until.is_some() || self.is_expired(now)
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }
}
