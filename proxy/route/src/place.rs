//! Where a request was going before anybody looked at its key.

use std::net::SocketAddr;

use bellhop_api::Destination;

/// What the proxy knows of where a request was going; the table turns it into destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Outbound: the address that the application dialled. Dialled addresses of services count, then those of
    /// workloads.
    Dialled(SocketAddr),
    /// Inbound: the local address that was dialled. Addresses of workloads count, and no others.
    Workload(SocketAddr),
    /// Explicit mode: the authority of the request, any case, without brackets or port.
    Authority {
        /// Host: a name, or an address, which counts as [`Place::Dialled`].
        host: &'a str,
        /// Port, or the scheme's default one.
        port: u16,
    },
    /// Fixed mode: the configuration says it.
    Named(&'a Destination),
}
