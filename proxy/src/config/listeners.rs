//! Where connections come in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use bellhop_api::Destination;
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::faults::Faults;

const ADDRESS: &str = "IP:PORT, for example 127.0.0.1:15001 or [::1]:15001";

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Listeners")]
pub(super) struct Flags {
    /// Takes connections for one fixed upstream; repeat together with --upstream for several pairs
    #[arg(
        long,
        env = "BELLHOP_LISTEN",
        hide_env_values = true,
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    listen: Vec<String>,
    /// The baseline of the --listen at the same place in the list; a name is resolved at each dial
    #[arg(
        long,
        env = "BELLHOP_UPSTREAM",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    upstream: Vec<String>,
    /// The destination that the --listen at the same place stands for [default: found by the upstream's name or address]
    #[arg(
        long,
        env = "BELLHOP_DESTINATION",
        hide_env_values = true,
        value_name = "SERVICE[.NS]:PORT",
        value_delimiter = ','
    )]
    destination: Vec<String>,
    /// Runs on redirected traffic: without --outbound and --inbound, opens 127.0.0.1:15001, `[::1]:15001`,
    /// 0.0.0.0:15006 and `[::]:15006` (`bellhop-proxy intercept` writes the rules)
    #[arg(long, env = "BELLHOP_INTERCEPTED", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    intercepted: Option<String>,
    /// Takes connections that were redirected on their way out of the workload
    #[arg(
        long,
        env = "BELLHOP_OUTBOUND",
        hide_env_values = true,
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    outbound: Vec<String>,
    /// Takes connections that were redirected on their way into the workload
    #[arg(
        long,
        env = "BELLHOP_INBOUND",
        hide_env_values = true,
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    inbound: Vec<String>,
    /// The workload's ports: an inbound connection to any other is refused [default: all]
    #[arg(
        long,
        env = "BELLHOP_INBOUND_PORTS",
        hide_env_values = true,
        value_name = "PORT,…",
        value_delimiter = ','
    )]
    inbound_ports: Vec<String>,
    /// Serves applications that know their proxy (HTTP_PROXY): absolute-form requests and CONNECT
    #[arg(
        long,
        env = "BELLHOP_EXPLICIT",
        hide_env_values = true,
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    explicit: Vec<String>,
    /// Callers that the explicit and outbound listeners serve besides loopback; needed to bind them anywhere else, since
    /// an open proxy lends its network position to everybody
    #[arg(
        long,
        env = "BELLHOP_ALLOW_FROM",
        hide_env_values = true,
        value_name = "CIDR,…",
        value_delimiter = ','
    )]
    allow_from: Vec<String>,
    /// Ports of destinations whose connections are passed byte for byte without a look inside; not needed for
    /// protocols in which the server speaks first, nor for TLS
    #[arg(
        long,
        env = "BELLHOP_OPAQUE_PORTS",
        hide_env_values = true,
        value_name = "PORT,…",
        value_delimiter = ','
    )]
    opaque_ports: Vec<String>,
}

/// Where connections come in.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Listeners {
    /// Listeners with one upstream each.
    pub fixed: Vec<FixedPair>,
    /// Listeners for connections redirected on their way out.
    pub outbound: Vec<SocketAddr>,
    /// Listeners for connections redirected on their way in.
    pub inbound: Vec<SocketAddr>,
    /// The only ports that inbound connections may have dialled; empty allows all.
    pub inbound_ports: Vec<u16>,
    /// Listeners for applications that know the proxy.
    pub explicit: Vec<SocketAddr>,
    /// Callers besides loopback that outbound and explicit listeners serve.
    pub allow_from: Vec<IpNet>,
    /// Destination ports that are never looked into.
    pub opaque_ports: Vec<u16>,
}

/// One `--listen` with its `--upstream`.
#[derive(Debug, Clone, Serialize)]
pub struct FixedPair {
    /// Where connections come in.
    pub listen: SocketAddr,
    /// The baseline.
    pub upstream: HostPort,
    /// What the upstream stands for.
    pub destination: Option<Destination>,
}

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str =
            "allowed: HOST:PORT, for example route.default:8080, 10.0.0.7:8080 or [fd00::7]:8080";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(ALLOWED)
            } else {
                Ok(Self { host: address.ip().to_string(), port: address.port() })
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(ALLOWED)?;
        let name = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        match port.parse() {
            Ok(port) if name && port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(ALLOWED),
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Listeners {
        let fixed = self.fixed(faults);
        let mut listeners = Listeners {
            fixed,
            outbound: faults.list("outbound", &self.outbound, ADDRESS),
            inbound: faults.list("inbound", &self.inbound, ADDRESS),
            inbound_ports: ports("inbound-ports", &self.inbound_ports, faults),
            explicit: faults.list("explicit", &self.explicit, ADDRESS),
            allow_from: faults.list(
                "allow-from",
                &self.allow_from,
                "CIDR, for example 10.0.0.0/8 or fd00::/8",
            ),
            opaque_ports: ports("opaque-ports", &self.opaque_ports, faults),
        };
        if faults.switch("intercepted", self.intercepted.as_ref()) {
            listeners.intercept();
        }
        listeners.stay_private(faults);
        listeners
    }

    fn fixed(&self, faults: &mut Faults) -> Vec<FixedPair> {
        if self.listen.len() != self.upstream.len() {
            let told = format!("{} --listen and {} --upstream", self.listen.len(), self.upstream.len());
            faults.add("upstream", told, "each --listen takes one --upstream, matched by order");
        }
        if self.destination.len() > self.listen.len() {
            let told = format!("{} --destination", self.destination.len());
            faults.add("destination", told, "at most one for each --listen, matched by order");
        }
        let mut pairs = Vec::with_capacity(self.listen.len());
        for (at, listen) in self.listen.iter().enumerate() {
            let listen = faults.optional("listen", Some(listen), ADDRESS);
            let upstream = self.upstream.get(at).and_then(|typed| faults.explained("upstream", Some(typed)));
            let destination = faults.explained("destination", self.destination.get(at));
            if let (Some(listen), Some(upstream)) = (listen, upstream) {
                pairs.push(FixedPair { listen, upstream, destination });
            }
        }
        pairs
    }
}

impl Listeners {
    /// The ports that [`Flags::intercepted`] opens, and that `bellhop-proxy intercept` redirects to unless told.
    fn intercept(&mut self) {
        const OUTBOUND: u16 = 15001;
        const INBOUND: u16 = 15006;
        if self.outbound.is_empty() {
            self.outbound =
                vec![(Ipv4Addr::LOCALHOST, OUTBOUND).into(), (Ipv6Addr::LOCALHOST, OUTBOUND).into()];
        }
        if self.inbound.is_empty() {
            self.inbound =
                vec![(Ipv4Addr::UNSPECIFIED, INBOUND).into(), (Ipv6Addr::UNSPECIFIED, INBOUND).into()];
        }
    }

    /// Outbound and explicit listeners lend the proxy's network position; beyond loopback somebody must be named.
    fn stay_private(&self, faults: &mut Faults) {
        if !self.allow_from.is_empty() {
            return;
        }
        for (flag, addresses) in [("outbound", &self.outbound), ("explicit", &self.explicit)] {
            for address in addresses.iter().filter(|address| !address.ip().is_loopback()) {
                faults.add(
                    flag,
                    address,
                    "allowed: a loopback address, or --allow-from with the callers to serve",
                );
            }
        }
    }

    /// Whether outbound and explicit listeners serve this caller.
    pub(crate) fn allows(&self, caller: IpAddr) -> bool {
        let caller = caller.to_canonical();
        caller.is_loopback() || self.allow_from.iter().any(|network| network.contains(&caller))
    }
}

fn ports(flag: &str, typed: &[String], faults: &mut Faults) -> Vec<u16> {
    let ports: Vec<std::num::NonZeroU16> = faults.list(flag, typed, "a port from 1 to 65535");
    ports.into_iter().map(std::num::NonZeroU16::get).collect()
}
