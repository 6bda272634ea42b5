//! Opening the proxy's own listeners.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    config::{Admin, AdminAddress},
    handover::{Giver, Inherited},
};

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
    /// On a path; the file goes with it, unless somebody else made it.
    Unix(std::os::unix::net::UnixListener, Option<SocketFile>),
}

/// The listeners that the configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Where everything is told and done.
    pub(crate) admin: Option<Bound>,
    /// Where health and metrics alone are told.
    pub(crate) status: Option<Bound>,
}

/// The file of a Unix socket, removed on drop unless it was left to others.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    left: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where listeners come from that are not opened here.
#[derive(Debug)]
pub(crate) struct From<'a> {
    /// Sockets that somebody else opened.
    pub(crate) inherited: &'a mut Inherited,
    /// Set while the file of the admin socket shall be left alone.
    pub(crate) file_is_left: Arc<AtomicBool>,
}

impl From<'_> {
    fn tcp(&mut self, name: &str, flag: &'static str, address: SocketAddr) -> Result<Bound, AdminBindError> {
        self.inherited.tcp(name, address).map_or_else(|| tcp(flag, address), |socket| Ok(Bound::Tcp(socket)))
    }

    fn unix(&mut self, path: &Path) -> Result<Bound, AdminBindError> {
        let left = Arc::clone(&self.file_is_left);
        match self.inherited.unix(path) {
            Some((socket, giver)) => {
                is_for_its_owner_alone(path).map_err(|source| cannot_open(path, source))?;
                // The one before leaves it to this proxy; any other giver's is its own.
                let file = (giver == Giver::Predecessor).then(|| SocketFile { path: path.to_owned(), left });
                Ok(Bound::Unix(socket, file))
            }
            None => unix(path, left),
        }
    }
}

impl Doors {
    /// Opens them, those that are not inherited.
    ///
    /// # Errors
    /// An address is taken, or may not be listened on.
    pub(crate) fn open(config: &Admin, from: &mut From<'_>) -> Result<Self, AdminBindError> {
        let admin = match &config.admin {
            AdminAddress::Off => None,
            AdminAddress::Loopback(address) => Some(from.tcp("admin", "admin", *address)?),
            AdminAddress::Unix(path) => Some(from.unix(path)?),
        };
        let status = config.status_listen.map(|address| from.tcp("status", "status-listen", address));
        Ok(Self { admin, status: status.transpose()? })
    }
}

impl Bound {
    /// The socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }

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

fn unix(path: &Path, left: Arc<AtomicBool>) -> Result<Bound, AdminBindError> {
    let open = || {
        remove_leftover(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile { path: path.to_owned(), left };
        // Before it listens, so that nobody comes in by wider rights.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Bound::Unix(socket.into(), Some(file)))
    };
    open().map_err(|source| cannot_open(path, source))
}

fn cannot_open(path: &Path, source: io::Error) -> AdminBindError {
    AdminBindError { flag: "admin", address: format!("unix:{}", path.display()), source }
}

/// Whoever may connect may drain this proxy. Who made an inherited socket chose its mode, and may have chosen none.
fn is_for_its_owner_alone(path: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the socket that was handed over has mode {mode:04o}, and others than its owner may drain the proxy there; \
         systemd needs SocketMode=0600"
    )))
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
