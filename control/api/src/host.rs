//! Where something is: an IP address or a DNS name, with or without a port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// An IP address or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address, never an IPv4 one in IPv6 clothes.
    Ip(IpAddr),
    /// A name, in lower case, without a dot at its end.
    Name(String),
}

/// A host and perhaps a port: `10.0.0.7:8080`, `10.0.0.7`, `[2001:db8::7]:8080`, `2001:db8::7`, `name:8080`, `name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where.
    pub host: Host,
    /// Absent: the `targetPort` of each port that is overridden.
    pub port: Option<u16>,
}

/// Why a text is no [`Host`] or no [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Neither address nor name.
    #[error("neither an IP address nor a DNS name (labels of a-z 0-9 - _, the last not a number)")]
    Host,
    /// The port is no port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            let bytes = label.as_bytes();
            let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=63).contains(&bytes.len())
                && bytes.iter().all(inside)
                && bytes.first() != Some(&b'-')
                && bytes.last() != Some(&b'-')
        };
        let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
        if name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric) {
            Ok(Self::Name(name))
        } else {
            Err(HostError::Host)
        }
    }
}

impl FromStr for Endpoint {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(host) = text.parse::<Host>() {
            return Ok(Self { host, port: None });
        }
        let (host, port) = text.rsplit_once(':').ok_or(HostError::Host)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => Host::Ip(
                v6.parse::<Ipv6Addr>()
                    .map(|v6| IpAddr::V6(v6).to_canonical())
                    .map_err(|_| HostError::Host)?,
            ),
            // without brackets, colons in the host would make the port a matter of taste
            None if host.contains(':') => return Err(HostError::Host),
            None => host.parse()?,
        };
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0).ok_or(HostError::Port)?;
        Ok(Self { host, port: Some(port) })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Host::Ip(address), Some(port)) => SocketAddr::new(*address, port).fmt(f),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (host, None) => host.fmt(f),
        }
    }
}

/// Why nothing may ever be routed to an address, whatever an operator permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// `0.0.0.0`, `::` and the rest of `0.0.0.0/8`.
    #[error("the unspecified address is not an endpoint")]
    Unspecified,
    /// Multicast and broadcast.
    #[error("a multicast or broadcast address is not an endpoint")]
    Multicast,
    /// `169.254.0.0/16`, `fe80::/10`; the metadata services of most clouds are there.
    #[error("link-local addresses, among them the cloud's metadata service, are never endpoints")]
    LinkLocal,
    /// Metadata services outside the link-local ranges.
    #[error("this is the address of a cloud's metadata service")]
    Metadata,
}

/// Metadata services that are not link-local: AWS (v6), Google Cloud (v6), Alibaba, Oracle, Azure's platform address.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Checks an endpoint's address against the deny list, after taking IPv4 out of IPv6 clothes (mapped, compatible, NAT64
/// and 6to4).
///
/// # Errors
/// When the address is on the list. Loopback is not: whether that is allowed is the caller's configuration.
pub fn denied(address: IpAddr) -> Result<(), Denied> {
    for address in [address.to_canonical(), embedded(address).unwrap_or(address)] {
        let (broadcast, link_local, this_net) = match address {
            IpAddr::V4(v4) => (v4.is_broadcast(), v4.is_link_local(), v4.octets().first() == Some(&0)),
            IpAddr::V6(v6) => (false, v6.is_unicast_link_local(), false),
        };
        if address.is_unspecified() || this_net {
            return Err(Denied::Unspecified);
        }
        if address.is_multicast() || broadcast {
            return Err(Denied::Multicast);
        }
        if link_local {
            return Err(Denied::LinkLocal);
        }
        if METADATA.contains(&address) {
            return Err(Denied::Metadata);
        }
    }
    Ok(())
}

/// The IPv4 address that an IPv6 one leads to by way of a translator.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => from(g, h),
        // `::` and `::1` look like compatible addresses and are none
        [0, 0, 0, 0, 0, 0] if g != 0 => from(g, h),
        [0x2002, ..] => from(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_back_as_they_are_written() {
        for text in
            ["10.0.0.7:8080", "10.0.0.7", "[2001:db8::7]:8080", "2001:db8::7", "name:8080", "a.b-c.example"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("Route.Example.:80".parse::<Endpoint>().unwrap().to_string(), "route.example:80");
        assert_eq!("[::ffff:10.0.0.7]:80".parse::<Endpoint>().unwrap().to_string(), "10.0.0.7:80");
    }

    #[test]
    fn what_is_neither_address_nor_name_is_no_endpoint() {
        for text in [
            "",
            ":80",
            "10.0.0",
            "10.0.0.300",
            "a..b",
            "-a",
            "a b",
            "a/b",
            "[::1]",
            "::1:x",
            "[a]:80",
            "a:b:80",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(HostError::Host), "{text}");
        }
        for text in ["a:0", "a:65536", "a:", "a:+1", "10.0.0.7:http", "http://a"] {
            assert_eq!(text.parse::<Endpoint>(), Err(HostError::Port), "{text}");
        }
    }

    #[test]
    fn b21_metadata_unspecified_and_mapped_addresses_are_denied_in_every_disguise() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ] {
            assert!(denied(text.parse().unwrap()).is_err(), "{text}");
        }
        for text in ["10.0.0.7", "127.0.0.1", "::1", "2001:db8::7", "8.8.8.8", "64:ff9b::808:808"] {
            assert_eq!(denied(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
