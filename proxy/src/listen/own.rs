//! The addresses that the proxy itself listens on. Dialling one of them would be dialling oneself.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
};

use arc_swap::ArcSwap;

/// The proxy's own listeners, by address. Read at each dial, so without a lock.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses(ArcSwap<Vec<SocketAddr>>);

impl OwnAddresses {
    /// One more listener; a wildcard stands for every address of this host.
    pub(crate) fn add(&self, address: SocketAddr) {
        self.0.rcu(|known| {
            let mut known = Vec::clone(known);
            known.push(canonical(address));
            Arc::new(known)
        });
    }

    /// Whether a connection to `address` would come back to this proxy.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        let address = canonical(address);
        let known = self.0.load();
        known.iter().filter(|own| own.port() == address.port()).any(|own| {
            own.ip() == address.ip()
                || address.ip().is_unspecified()
                || (own.ip().is_unspecified() && is_local(address.ip()))
        })
    }
}

/// Whether `address` belongs to this host: only such an address can be bound to.
pub(crate) fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_listener_is_known_by_every_spelling_of_its_address() {
        let own = OwnAddresses::default();
        own.add("127.0.0.1:15001".parse().unwrap());
        own.add("0.0.0.0:15006".parse().unwrap());
        for address in ["127.0.0.1:15001", "[::ffff:127.0.0.1]:15001", "127.0.0.9:15006", "0.0.0.0:15001"] {
            assert!(own.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1:15002", "127.0.0.2:15001", "203.0.113.1:15006"] {
            assert!(!own.contains(address.parse().unwrap()), "{address}");
        }
    }
}
