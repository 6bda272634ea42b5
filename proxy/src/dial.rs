//! Connecting to an upstream: time-outs (DESIGN §3.4), the deny list and the refusal to dial oneself (§3.11).

mod own;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::TcpStream;

pub(crate) use self::own::OwnDials;
use crate::{
    error::{ErrorKind, RequestError, Side},
    shared::Shared,
    telemetry::Dial,
};

/// A lost SYN is repeated by the kernel after 1 s, so a second attempt of that length sees what a longer first one would.
const SANDBOX_ATTEMPTS: u32 = 2;

/// Whether a sandbox endpoint may be dialled.
pub(crate) fn check_sandbox(shared: &Shared, endpoint: SocketAddr) -> Result<(), ErrorKind> {
    check_loop(shared, endpoint)?;
    if is_denied(endpoint, shared.config.routing.allow_loopback_endpoints) {
        return Err(ErrorKind::NotPermitted);
    }
    Ok(())
}

/// Whether an address is one of this proxy's own listeners.
pub(crate) fn check_loop(shared: &Shared, address: SocketAddr) -> Result<(), ErrorKind> {
    if shared.own.contains(address) { Err(ErrorKind::Loop) } else { Ok(()) }
}

/// The deny list, on the unwrapped address.
fn is_denied(endpoint: SocketAddr, allow_loopback: bool) -> bool {
    let ip = endpoint.ip().to_canonical();
    ip.is_unspecified()
        || ip.is_multicast()
        || is_link_local(ip)
        || METADATA.contains(&ip)
        || (ip.is_loopback() && !allow_loopback)
        || endpoint.port() == 0
        || embedded_v4(ip).is_some_and(|v4| is_denied(SocketAddr::new(v4.into(), endpoint.port()), false))
}

/// Metadata services of clouds that are not link-local: Alibaba, Oracle (old), Azure's host, AWS and its pod identities
/// over IPv6, Google over IPv6.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// IPv4 inside 6to4, NAT64 and IPv4-compatible addresses; mapped ones are canonical before they come here.
fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0x2002, ..) => Some(v4(b, c)),
        // RFC 6052's prefix, and RFC 8215's for local use where it is 96 bits long.
        (0x64, 0xff9b, 0, 0, 0, 0) | (0x64, 0xff9b, 1, ..) => Some(v4(g, h)),
        (0, 0, 0, 0, 0, 0) if !v6.is_loopback() && !v6.is_unspecified() => Some(v4(g, h)),
        _ => None,
    }
}

/// Connects to a sandbox endpoint: `connect_timeout` (1 s), twice.
///
/// # Errors
/// Not permitted, a loop, refused, timed out or unreachable; nothing was sent.
pub(crate) async fn sandbox(shared: &Shared, endpoint: SocketAddr) -> Result<TcpStream, RequestError> {
    counted(shared, Side::Sandbox, try_sandbox(shared, endpoint).await)
}

async fn try_sandbox(shared: &Shared, endpoint: SocketAddr) -> Result<TcpStream, RequestError> {
    let failed = |kind, source| RequestError::upstream(Side::Sandbox, kind, source);
    check_sandbox(shared, endpoint).map_err(|kind| failed(kind, None))?;
    for _ in 0..SANDBOX_ATTEMPTS {
        match tokio::time::timeout(shared.config.limits.connect_timeout, connect(shared, endpoint)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => return Err(failed(ErrorKind::of_connect(&error), Some(error))),
            Err(_elapsed) => {}
        }
    }
    Err(failed(ErrorKind::ConnectTimeout, None))
}

/// Connects to a baseline by address, as long as the kernel tries.
///
/// # Errors
/// A loop, refused, timed out or unreachable; nothing was sent.
pub(crate) async fn baseline(shared: &Shared, address: SocketAddr) -> Result<TcpStream, RequestError> {
    counted(shared, Side::Baseline, try_baseline(shared, address).await)
}

async fn try_baseline(shared: &Shared, address: SocketAddr) -> Result<TcpStream, RequestError> {
    let failed = |kind, source| RequestError::upstream(Side::Baseline, kind, source);
    check_loop(shared, address).map_err(|kind| failed(kind, None))?;
    connect(shared, address).await.map_err(|error| failed(ErrorKind::of_connect(&error), Some(error)))
}

/// Connects to a baseline by `host:port`; a name is resolved now, and its addresses are tried in order.
///
/// # Errors
/// As [`baseline`]; the last address's error speaks for all.
pub(crate) async fn baseline_by_name(shared: &Shared, authority: &str) -> Result<TcpStream, RequestError> {
    let failed = |kind, source| RequestError::upstream(Side::Baseline, kind, source);
    if let Ok(address) = authority.parse() {
        return baseline(shared, address).await;
    }
    let addresses = match tokio::net::lookup_host(authority).await {
        Ok(addresses) => addresses,
        Err(error) => {
            return counted(shared, Side::Baseline, Err(failed(ErrorKind::NameNotFound, Some(error))));
        }
    };
    let mut last = failed(ErrorKind::NameNotFound, None);
    for address in addresses {
        match baseline(shared, address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Each address that is tried is a dial.
fn counted(
    shared: &Shared,
    side: Side,
    dialled: Result<TcpStream, RequestError>,
) -> Result<TcpStream, RequestError> {
    let how = dialled.as_ref().map_or_else(|error| Dial::from(error.kind), |_| Dial::Connected);
    shared.telemetry.dialled(side.into(), how);
    dialled
}

/// A connection that somebody else tried to make.
pub(crate) fn failed(side: Side, error: io::Error) -> RequestError {
    RequestError::upstream(side, ErrorKind::of_connect(&error), Some(error))
}

async fn connect(shared: &Shared, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = match &shared.own_dials {
        Some(dials) => dials.connect(address).await?,
        None => TcpStream::connect(address).await?,
    };
    let own = stream.local_addr()?;
    if own.port() == address.port() && own == stream.peer_addr()? {
        // TCP's simultaneous open: a port of the ephemeral range that nobody listens on can connect to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_endpoint_on_a_metadata_unspecified_mapped_or_link_local_address_is_refused() {
        for address in [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::1]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "[::ffff:168.63.129.16]:80",
            "[fd00:ec2::23]:80",
            "[64:ff9b:1::a9fe:a9fe]:80",
            "[fd00:ec2::254]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "[fe80::1]:80",
            "127.0.0.1:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "10.0.0.1:0",
        ] {
            assert!(is_denied(address.parse().unwrap(), false), "{address}");
        }
        for address in ["10.0.0.7:8080", "[fd00::7]:8080", "192.168.1.1:80"] {
            assert!(!is_denied(address.parse().unwrap(), false), "{address}");
        }
    }

    #[test]
    fn loopback_endpoints_are_dialled_where_they_are_allowed() {
        assert!(!is_denied("127.0.0.1:8080".parse().unwrap(), true));
        assert!(!is_denied("[::1]:8080".parse().unwrap(), true));
        assert!(is_denied("[2002:7f00:1::1]:8080".parse().unwrap(), true));
    }
}
