//! Sockets that wait for their listener.

use std::{
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::{
    io::ioctl_fionbio,
    net::{AddressFamily, SocketType, sockopt},
};

use super::{HandoverError, NAMES};

/// Listening sockets that somebody else opened, until their listener asks for them.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<Handed>,
    /// Whether one that no listener asks for is a fault.
    strict: bool,
}

#[derive(Debug)]
struct Handed {
    name: &'static str,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl Inherited {
    /// None yet. Where `strict`, each has to find its listener.
    pub(super) fn new(strict: bool) -> Self {
        Self { sockets: Vec::new(), strict }
    }

    /// One more socket, which stops blocking from here on.
    ///
    /// # Errors
    /// It is for no listener that there is, or does not listen.
    pub(super) fn add(&mut self, name: &str, socket: OwnedFd) -> Result<(), HandoverError> {
        let known = NAMES.into_iter().find(|known| *known == name);
        let known = known.ok_or_else(|| HandoverError::UnknownName { name: name.to_owned() })?;
        let socket = typed(socket).ok_or_else(|| HandoverError::NotListening { name: name.to_owned() })?;
        self.sockets.push(Handed { name: known, socket });
        Ok(())
    }

    /// The socket for one listener. Port 0 asks for any port.
    pub(crate) fn tcp(&mut self, name: &str, wanted: SocketAddr) -> Option<TcpListener> {
        let fits = |address: &SocketAddr| {
            address.ip() == wanted.ip() && (address.port() == wanted.port() || wanted.port() == 0)
        };
        let at = self.sockets.iter().position(|handed| {
            handed.name == name && matches!(&handed.socket, Socket::Tcp(_, address) if fits(address))
        })?;
        match self.sockets.remove(at).socket {
            Socket::Tcp(socket, _) => Some(socket),
            Socket::Unix(..) => None,
        }
    }

    /// The socket for the admin listener on this path.
    pub(crate) fn unix(&mut self, wanted: &Path) -> Option<UnixListener> {
        let at = self.sockets.iter().position(|handed| {
            handed.name == "admin" && matches!(&handed.socket, Socket::Unix(_, path) if path == wanted)
        })?;
        match self.sockets.remove(at).socket {
            Socket::Unix(socket, _) => Some(socket),
            Socket::Tcp(..) => None,
        }
    }

    /// Every listener has asked.
    ///
    /// # Errors
    /// One that was announced to this process fits none: connections to it would never be answered.
    pub(crate) fn finish(self) -> Result<(), HandoverError> {
        for Handed { name, socket } in self.sockets {
            let address = match socket {
                Socket::Tcp(_, address) => address.to_string(),
                Socket::Unix(_, path) => format!("unix:{}", path.display()),
            };
            if self.strict {
                return Err(HandoverError::Unwanted { name: name.to_owned(), address });
            }
            tracing::warn!(name, address, "the proxy before listened there and this one does not");
        }
        Ok(())
    }
}

fn typed(socket: OwnedFd) -> Option<Socket> {
    let listens = sockopt::socket_acceptconn(&socket).is_ok_and(|listens| listens)
        && sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    if !listens || ioctl_fionbio(&socket, true).is_err() {
        return None;
    }
    match sockopt::socket_domain(&socket).ok()? {
        AddressFamily::INET | AddressFamily::INET6 => {
            let socket = TcpListener::from(socket);
            let address = socket.local_addr().ok()?;
            Some(Socket::Tcp(socket, address))
        }
        AddressFamily::UNIX => {
            let socket = UnixListener::from(socket);
            let path = socket.local_addr().ok()?.as_pathname()?.to_owned();
            Some(Socket::Unix(socket, path))
        }
        _ => None,
    }
}
