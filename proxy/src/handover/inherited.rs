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
pub(crate) struct Inherited(Vec<Handed>);

/// Who handed a socket over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Giver {
    /// Whoever started this process keeps it open: one that no listener asks for would hold callers that nobody answers.
    Starter,
    /// The proxy before closes it as it goes.
    Predecessor,
}

#[derive(Debug)]
struct Handed {
    name: &'static str,
    socket: Socket,
    giver: Giver,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl Socket {
    /// An address has one listening socket.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(_, one), Self::Tcp(_, other)) => one == other,
            (Self::Unix(_, one), Self::Unix(_, other)) => one == other,
            (Self::Tcp(..), Self::Unix(..)) | (Self::Unix(..), Self::Tcp(..)) => false,
        }
    }
}

impl Inherited {
    /// One more socket, which stops blocking from here on. The proxy before may have one from the same starter: then it
    /// is here already.
    ///
    /// # Errors
    /// It is for no listener that there is, or does not listen.
    pub(super) fn add(&mut self, giver: Giver, name: &str, socket: OwnedFd) -> Result<(), HandoverError> {
        let known = NAMES.into_iter().find(|known| *known == name);
        let known = known.ok_or_else(|| HandoverError::UnknownName { name: name.to_owned() })?;
        let socket = typed(socket).ok_or_else(|| HandoverError::NotListening { name: name.to_owned() })?;
        let is_here = |handed: &Handed| handed.name == known && handed.socket.is_same(&socket);
        if giver == Giver::Starter || !self.0.iter().any(is_here) {
            self.0.push(Handed { name: known, socket, giver });
        }
        Ok(())
    }

    /// The socket for one listener. Port 0 asks for any port.
    pub(crate) fn tcp(&mut self, name: &str, wanted: SocketAddr) -> Option<TcpListener> {
        let fits = |address: &SocketAddr| {
            address.ip() == wanted.ip() && (address.port() == wanted.port() || wanted.port() == 0)
        };
        let at = self.0.iter().position(|handed| {
            handed.name == name && matches!(&handed.socket, Socket::Tcp(_, address) if fits(address))
        })?;
        match self.0.remove(at).socket {
            Socket::Tcp(socket, _) => Some(socket),
            Socket::Unix(..) => None,
        }
    }

    /// The socket for the admin listener on this path, and who gave it.
    pub(crate) fn unix(&mut self, wanted: &Path) -> Option<(UnixListener, Giver)> {
        let at = self.0.iter().position(|handed| {
            handed.name == "admin" && matches!(&handed.socket, Socket::Unix(_, path) if path == wanted)
        })?;
        match self.0.remove(at) {
            Handed { socket: Socket::Unix(socket, _), giver, .. } => Some((socket, giver)),
            Handed { socket: Socket::Tcp(..), .. } => None,
        }
    }

    /// Every listener has asked.
    ///
    /// # Errors
    /// One that was announced to this process fits none: connections to it would never be answered.
    pub(crate) fn finish(self) -> Result<(), HandoverError> {
        for Handed { name, socket, giver } in self.0 {
            let address = match socket {
                Socket::Tcp(_, address) => address.to_string(),
                Socket::Unix(_, path) => format!("unix:{}", path.display()),
            };
            match giver {
                Giver::Starter => return Err(HandoverError::Unwanted { name: name.to_owned(), address }),
                Giver::Predecessor => {
                    tracing::warn!(name, address, "the proxy before listened there and this one does not");
                }
            }
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
