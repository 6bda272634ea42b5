//! The destination: what an application meant to call, a service and one of its ports.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

use crate::DEFAULT_NAMESPACE;

/// A name of 1 to 63 bytes of `[a-z0-9-]` that starts and ends with a letter or digit (RFC 1123), as object names and
/// namespaces are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct DnsLabel(Arc<str>);

/// Why a text is no [`DnsLabel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to 63 of a-z 0-9 -, starting and ending with a letter or digit")]
pub struct DnsLabelError(pub String);

impl DnsLabel {
    /// The namespace of objects that name none.
    #[must_use]
    pub fn default_namespace() -> Self {
        Self(DEFAULT_NAMESPACE.into())
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsLabel {
    type Err = DnsLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let inside = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if bytes.len() <= 63 && inside && edge(bytes.first()) && edge(bytes.last()) {
            Ok(Self(text.into()))
        } else {
            Err(DnsLabelError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl<'de> Deserialize<'de> for DnsLabel {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// A service and one of its ports, written `service.namespace:port`; `service:port` means namespace `default`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Name of the service.
    pub service: DnsLabel,
    /// Namespace of the service.
    pub namespace: DnsLabel,
    /// The port that applications dial.
    pub port: u16,
}

/// Why a text is no [`Destination`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// No `:port` at the end.
    #[error("{0:?} names no port; write service.namespace:port or service:port")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port; allowed are 1 to 65535")]
    BadPort(String),
    /// A part of the name is not a [`DnsLabel`].
    #[error(transparent)]
    BadName(#[from] DnsLabelError),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, port) = text.rsplit_once(':').ok_or_else(|| DestinationError::NoPort(text.to_owned()))?;
        let bad_port = || DestinationError::BadPort(port.to_owned());
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad_port());
        }
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(bad_port)?;
        let (service, namespace) = name.split_once('.').unwrap_or((name, DEFAULT_NAMESPACE));
        Ok(Self { service: service.parse()?, namespace: namespace.parse()?, port })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.service, self.namespace, self.port)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Destination {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_reads_back_as_it_is_written() {
        let full: Destination = "route.default:8080".parse().unwrap();
        assert_eq!(full.to_string(), "route.default:8080");
        assert_eq!("route:8080".parse::<Destination>().unwrap(), full);
    }

    #[test]
    fn a_destination_without_a_port_or_with_a_bad_name_says_so() {
        assert!(matches!("route".parse::<Destination>(), Err(DestinationError::NoPort(_))));
        for port in ["0", "65536", "+1", "http", ""] {
            assert!(
                matches!(format!("r:{port}").parse::<Destination>(), Err(DestinationError::BadPort(_))),
                "{port}"
            );
        }
        for name in ["", "-a", "a-", "A", "a.b.c", "a_b"] {
            assert!(
                matches!(format!("{name}:1").parse::<Destination>(), Err(DestinationError::BadName(_))),
                "{name}"
            );
        }
    }
}
