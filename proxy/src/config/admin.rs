//! The proxy's own HTTP listeners.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Serialize, Serializer};

use super::faults::Faults;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Admin")]
pub(super) struct Flags {
    /// Serves /config, /routes, /drain, /metrics and health; loopback or a Unix socket alone, since it knows and does
    /// everything; `off` for none [default: 127.0.0.1:15000]
    #[arg(long, env = "BELLHOP_ADMIN", hide_env_values = true, value_name = "IP:PORT|unix:PATH|off")]
    admin: Option<String>,
    /// Serves /livez, /readyz and /metrics alone, on any address
    #[arg(long, env = "BELLHOP_STATUS_LISTEN", hide_env_values = true, value_name = "IP:PORT")]
    status_listen: Option<String>,
}

/// The proxy's own HTTP listeners.
#[derive(Debug, Clone, Serialize)]
pub struct Admin {
    /// Where everything is told and done.
    pub admin: AdminAddress,
    /// Where health and metrics alone are told.
    pub status_listen: Option<SocketAddr>,
}

/// Where the admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Loopback(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

impl Default for Admin {
    fn default() -> Self {
        Self { admin: AdminAddress::Loopback((Ipv4Addr::LOCALHOST, 15000).into()), status_listen: None }
    }
}

impl FromStr for AdminAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(()) } else { Ok(Self::Unix(path.into())) };
        }
        let address: SocketAddr = text.parse().map_err(|_| ())?;
        if address.ip().is_loopback() { Ok(Self::Loopback(address)) } else { Err(()) }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Off => f.write_str("off"),
        }
    }
}

impl Serialize for AdminAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Admin {
        let admin = faults.optional("admin", self.admin.as_ref(), "a loopback IP:PORT, unix:PATH, or off");
        let status_listen = faults.optional("status-listen", self.status_listen.as_ref(), "IP:PORT");
        Admin { admin: admin.unwrap_or_else(|| Admin::default().admin), status_listen }
    }
}
