//! Opening the listeners, all before the first connection is served.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{config::Listeners, connection::FixedUpstream, handover::Inherited};

/// The kernel cuts it to `net.core.somaxconn`. Long enough for a burst while accepting pauses.
const BACKLOG: i32 = 4096;

/// What connections of a listener are.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Redirected on their way out.
    Outbound,
    /// Redirected on their way in.
    Inbound,
    /// From applications that know the proxy.
    Explicit,
    /// For one upstream.
    Fixed(Arc<FixedUpstream>),
}

/// What is known of a listener beside its socket.
#[derive(Debug)]
pub(crate) struct Door {
    /// What its connections are.
    pub(crate) kind: Kind,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Kind {
    /// The name under which a successor knows such a listener.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Explicit => "explicit",
            Self::Fixed(_) => "listen",
        }
    }
}

/// An open listener.
#[derive(Debug)]
pub(crate) struct Bound {
    /// What is known of it.
    pub(crate) door: Door,
    /// Its socket, non-blocking.
    pub(crate) socket: TcpListener,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("--{flag} {address}: cannot listen there")]
pub struct BindError {
    /// The flag that asked for it.
    pub flag: &'static str,
    /// The address asked for.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// Opens every listener of the configuration, in its order: fixed, outbound, inbound, explicit.
///
/// # Errors
/// The first that cannot be had. What was inherited is not opened anew. An IPv6 address on a host without IPv6 is passed over where its IPv4 twin stands.
pub(crate) fn bind_all(wanted: &Listeners, inherited: &mut Inherited) -> Result<Vec<Bound>, BindError> {
    let mut opening = Opening { bound: Vec::new(), inherited };
    for pair in &wanted.fixed {
        let upstream = pair.upstream.to_string().into();
        let kind = Kind::Fixed(Arc::new(FixedUpstream { upstream, destination: pair.destination.clone() }));
        opening.open("listen", &kind, &[pair.listen])?;
    }
    opening.open("outbound", &Kind::Outbound, &wanted.outbound)?;
    opening.open("inbound", &Kind::Inbound, &wanted.inbound)?;
    opening.open("explicit", &Kind::Explicit, &wanted.explicit)?;
    Ok(opening.bound)
}

struct Opening<'a> {
    bound: Vec<Bound>,
    inherited: &'a mut Inherited,
}

impl Opening<'_> {
    fn open(&mut self, flag: &'static str, kind: &Kind, all: &[SocketAddr]) -> Result<(), BindError> {
        for &address in all {
            let has_twin = all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            let socket = match self.inherited.tcp(flag, address) {
                Some(socket) => Ok(socket),
                None => open(address, has_twin),
            };
            match socket {
                Ok(socket) => {
                    let address = socket.local_addr().unwrap_or(address);
                    self.bound.push(Bound { door: Door { kind: kind.clone(), address }, socket });
                }
                Err(error) if address.is_ipv6() && has_twin && is_without_ipv6(&error) => {
                    tracing::warn!(%address, %error, "no IPv6 on this host: listening on IPv4 alone");
                }
                Err(source) => return Err(BindError { flag, address, source }),
            }
        }
        Ok(())
    }
}

fn open(address: SocketAddr, has_ipv4_twin: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Alone, a wildcard serves both families.
        socket.set_only_v6(has_ipv4_twin || !address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

impl Door {
    /// Whether only this host can reach the listener.
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            && self.address.ip().to_canonical().is_loopback()
    }
}
