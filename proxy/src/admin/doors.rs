//! Opening the proxy's own listeners.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{Admin, AdminAddress};

/// Whoever asks for a status waits no longer than a moment.
const BACKLOG: i32 = 128;

/// One of the proxy's own listeners could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open --{flag} {address}")]
pub struct AdminBindError {
    flag: &'static str,
    address: String,
    #[source]
    source: io::Error,
}

/// An open listener.
#[derive(Debug)]
pub(crate) enum Bound {
    /// On an address.
    Tcp(std::net::TcpListener),
    /// On a path; the file goes with it.
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The listeners that the configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Where everything is told and done.
    pub(crate) admin: Option<Bound>,
    /// Where health and metrics alone are told.
    pub(crate) status: Option<Bound>,
}

/// The file of a Unix socket, removed on drop.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Doors {
    /// Opens them.
    ///
    /// # Errors
    /// An address is taken, or may not be listened on.
    pub(crate) fn open(config: &Admin) -> Result<Self, AdminBindError> {
        let admin = match &config.admin {
            AdminAddress::Off => None,
            AdminAddress::Loopback(address) => Some(tcp("admin", *address)?),
            AdminAddress::Unix(path) => Some(unix(path)?),
        };
        let status = config.status_listen.map(|address| tcp("status-listen", address)).transpose()?;
        Ok(Self { admin, status })
    }
}

impl Bound {
    /// Its address; none for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

fn tcp(flag: &'static str, address: SocketAddr) -> Result<Bound, AdminBindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Bound::Tcp(socket.into()))
    };
    open().map_err(|source| AdminBindError { flag, address: address.to_string(), source })
}

fn unix(path: &Path) -> Result<Bound, AdminBindError> {
    let open = || {
        remove_leftover(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile(path.to_owned());
        // Before it listens, so that nobody comes in by wider rights.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Bound::Unix(socket.into(), file))
    };
    open().map_err(|source| AdminBindError {
        flag: "admin",
        address: format!("unix:{}", path.display()),
        source,
    })
}

/// A socket on which nobody listens was left by a run that was killed. Anything else is not ours to remove.
fn remove_leftover(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
