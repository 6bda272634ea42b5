//! What was typed, checked.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{Backend, Plan, Task, ports::PortRange};
use crate::config::Faults;

const PORT: &str = "a port from 1 to 65535";
const PORTS: &str = "ports from 1 to 65535 and ranges of them, for example 8080,9000-9010";
const UID: &str = "a user id, from 0 to 4294967294";

/// What is to be led through the proxy, as it is typed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PlanFlags {
    /// Port of the proxy's outbound listener [default: 15001]
    #[arg(long, env = "BELLHOP_OUTBOUND_PORT", hide_env_values = true, value_name = "PORT")]
    outbound_port: Option<String>,
    /// Port of the proxy's inbound listener [default: 15006]
    #[arg(long, env = "BELLHOP_INBOUND_PORT", hide_env_values = true, value_name = "PORT")]
    inbound_port: Option<String>,
    /// Ports of the workload: connections to them from other hosts go through the proxy [default: none]
    #[arg(
        long,
        env = "BELLHOP_INBOUND_PORTS",
        hide_env_values = true,
        value_name = "PORTS",
        value_delimiter = ','
    )]
    inbound_ports: Vec<String>,
    /// The user that the proxy runs as, and nobody else: what it sends is left alone
    #[arg(long, env = "BELLHOP_PROXY_UID", hide_env_values = true, value_name = "UID")]
    proxy_uid: Option<String>,
    /// Outbound connections to these ports are left alone
    #[arg(
        long,
        env = "BELLHOP_EXCLUDE_OUTBOUND_PORTS",
        hide_env_values = true,
        value_name = "PORTS",
        value_delimiter = ','
    )]
    exclude_outbound_ports: Vec<String>,
    /// Outbound connections to these networks or addresses are left alone, besides loopback
    #[arg(
        long,
        env = "BELLHOP_EXCLUDE_CIDRS",
        hide_env_values = true,
        value_name = "CIDR,…",
        value_delimiter = ','
    )]
    exclude_cidrs: Vec<String>,
    /// What these users send is left alone
    #[arg(
        long,
        env = "BELLHOP_EXCLUDE_UIDS",
        hide_env_values = true,
        value_name = "UID,…",
        value_delimiter = ','
    )]
    exclude_uids: Vec<String>,
}

/// Flags of `bellhop-proxy intercept`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    plan: PlanFlags,
    /// The tool that writes the rules [default: nft where it is found, else iptables]
    #[arg(long, value_enum, value_name = "TOOL")]
    backend: Option<Backend>,
    /// Takes the rules away; without --backend, those of both tools
    #[arg(long, conflicts_with = "print")]
    undo: bool,
    /// Prints what would be handed to the tool, and changes nothing
    #[arg(long)]
    print: bool,
}

/// A network, or one address.
struct Network(IpNet);

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| ())?;
        Ok(Self(network.trunc()))
    }
}

impl Flags {
    /// Checks everything that was typed.
    ///
    /// # Errors
    /// All faults found.
    pub(super) fn resolve(self) -> Result<Task, Faults> {
        if self.undo {
            return Ok(Task::Undo(self.backend));
        }
        let mut faults = Faults::default();
        let (print, backend) = (self.print, self.backend);
        let uid = self.plan.proxy_uid(&mut faults);
        if uid.is_none() && faults.0.is_empty() {
            faults.add(
                "proxy-uid",
                "",
                format_args!("needed, or the proxy's own traffic would come back to it: {UID}"),
            );
        }
        let plan = self.plan.plan(uid.unwrap_or_default(), &mut faults);
        faults.none_or(())?;
        Ok(if print { Task::Print(plan, backend) } else { Task::Apply(plan, backend) })
    }
}

impl PlanFlags {
    /// The proxy's user, where it was told.
    pub(crate) fn proxy_uid(&self, faults: &mut Faults) -> Option<u32> {
        let uid = faults.optional("proxy-uid", self.proxy_uid.as_ref(), UID);
        if uid == Some(u32::MAX) {
            faults.add("proxy-uid", u32::MAX, format_args!("allowed: {UID}"));
        }
        uid
    }

    /// The plan, for a proxy that runs as this user.
    pub(crate) fn plan(self, proxy_uid: u32, faults: &mut Faults) -> Plan {
        let port = |faults: &mut Faults, flag, typed: Option<&String>, default| {
            faults
                .optional::<std::num::NonZeroU16>(flag, typed, PORT)
                .map_or(default, std::num::NonZeroU16::get)
        };
        let outbound_port = port(faults, "outbound-port", self.outbound_port.as_ref(), 15001);
        let inbound_port = port(faults, "inbound-port", self.inbound_port.as_ref(), 15006);
        let networks: Vec<Network> = faults.list(
            "exclude-cidrs",
            &self.exclude_cidrs,
            "networks or addresses, for example 10.1.0.0/16,::2",
        );
        let networks: Vec<_> = networks.into_iter().map(|network| network.0).collect();
        let mut excluded_uids: Vec<u32> = faults.list("exclude-uids", &self.exclude_uids, UID);
        excluded_uids.sort_unstable();
        excluded_uids.dedup();
        Plan {
            outbound_port,
            inbound_port,
            proxy_uid,
            inbound_ports: PortRange::merged(faults.list("inbound-ports", &self.inbound_ports, PORTS)),
            excluded_ports: PortRange::merged(faults.list(
                "exclude-outbound-ports",
                &self.exclude_outbound_ports,
                PORTS,
            )),
            excluded_networks: IpNet::aggregate(&networks),
            excluded_uids,
        }
    }
}
