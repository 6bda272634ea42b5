//! What fits which listener, and what does not. Whole handovers are tested with processes, in `tests/upgrade`.

use std::{net::TcpListener, os::unix::net::UnixListener};

use super::{Giver, HandoverError, Inherited};

fn listener() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_socket_finds_the_listener_of_its_name_and_address() {
    let mut inherited = Inherited::default();
    let ((one, first), (two, second)) = (listener(), listener());
    inherited.add(Giver::Starter, "outbound", one.into()).unwrap();
    inherited.add(Giver::Starter, "listen", two.into()).unwrap();
    assert!(inherited.tcp("inbound", first).is_none(), "another name");
    assert!(inherited.tcp("outbound", second).is_none(), "another address");
    assert_eq!(inherited.tcp("outbound", first).unwrap().local_addr().unwrap(), first);
    assert!(inherited.tcp("outbound", first).is_none(), "it is taken");
    assert_eq!(
        inherited.tcp("listen", "127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap(),
        second
    );
    inherited.finish().unwrap();
}

#[test]
fn an_admin_socket_is_known_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    let mut inherited = Inherited::default();
    inherited.add(Giver::Starter, "admin", UnixListener::bind(&path).unwrap().into()).unwrap();
    assert!(inherited.unix(&directory.path().join("other")).is_none());
    assert!(inherited.unix(&path).is_some());
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let mut inherited = Inherited::default();
    let refused = inherited.add(Giver::Starter, "bellhop-proxy.socket", listener().0.into()).unwrap_err();
    assert!(matches!(&refused, HandoverError::UnknownName { .. }));
    assert!(refused.to_string().contains("bellhop-proxy.socket") && refused.to_string().contains("outbound"));
    let (socket, address) = listener();
    let connected = std::net::TcpStream::connect(address).unwrap();
    let refused = inherited.add(Giver::Starter, "outbound", connected.into()).unwrap_err();
    assert!(matches!(refused, HandoverError::NotListening { .. }), "{refused}");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(inherited.add(Giver::Starter, "outbound", datagrams.into()).is_err());
    inherited.add(Giver::Starter, "status", socket.into()).unwrap();
    let unwanted = inherited.finish().unwrap_err().to_string();
    assert!(unwanted.contains("status") && unwanted.contains(&address.to_string()), "{unwanted}");
}

/// F27: a supervisor that keeps the sockets open gives them to a proxy that is also told to take over from another one,
/// which has them from the same supervisor.
#[test]
fn what_the_proxy_before_has_from_the_same_starter_is_here_already_and_what_else_it_has_is_optional() {
    let mut inherited = Inherited::default();
    let ((listen, first), (outbound, _)) = (listener(), listener());
    let again = listen.try_clone().unwrap();
    inherited.add(Giver::Starter, "listen", listen.into()).unwrap();
    inherited.add(Giver::Predecessor, "listen", again.into()).unwrap();
    inherited.add(Giver::Predecessor, "outbound", outbound.into()).unwrap();
    assert!(inherited.tcp("listen", first).is_some());
    assert!(inherited.tcp("listen", first).is_none(), "it is one socket");
    inherited.finish().unwrap();
    // The starter's own have to fit, whoever else gives some.
    let mut inherited = Inherited::default();
    inherited.add(Giver::Predecessor, "listen", self::listener().0.into()).unwrap();
    inherited.add(Giver::Starter, "outbound", self::listener().0.into()).unwrap();
    assert!(matches!(inherited.finish(), Err(HandoverError::Unwanted { name, .. }) if name == "outbound"));
}
