//! `bellhop-proxy intercept`: writes the packet filter rules that lead a workload's TCP traffic through the proxy.
//!
//! The rules live in places of their own (nftables: table `inet bellhop`; iptables: chains `BELLHOP_OUTPUT` and
//! `BELLHOP_INBOUND` of the nat table), are written in one transaction (iptables: one for each family), and replace what
//! an earlier run wrote. So running it twice changes nothing, being killed leaves the old rules or the new ones, and
//! `--undo` leaves none.
//!
//! What is led where:
//! - **Out:** TCP that any user but the proxy's sends to anything but loopback goes to the outbound port. That holds for
//!   the host's own addresses too, so that a workload that calls its own service is routed like every other caller. What
//!   the proxy itself sends is left alone, so its dials to the workload beside it arrive.
//! - **In:** TCP from other hosts, to an address of this host and a port that was given, goes to the inbound port.
//! - UDP, and with it DNS, is left alone, and so is loopback.

mod flags;
mod iptables;
mod nft;
mod ports;
mod standing;
mod tool;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use ipnet::IpNet;

pub(crate) use self::{
    flags::{Flags, PlanFlags},
    standing::{Standing, standing},
};
use self::{ports::PortRange, tool::ToolError};

/// What is to be led through the proxy, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Where outbound connections go.
    outbound_port: u16,
    /// Where inbound connections go.
    inbound_port: u16,
    /// The user that the proxy runs as.
    proxy_uid: u32,
    /// Ports of the workload.
    inbound_ports: Vec<PortRange>,
    /// Outbound ports that are left alone.
    excluded_ports: Vec<PortRange>,
    /// Destinations that are left alone, merged.
    excluded_networks: Vec<IpNet>,
    /// Users that are left alone besides the proxy's.
    excluded_uids: Vec<u32>,
}

impl Plan {
    /// The same, for a proxy that runs as this user.
    pub(crate) fn for_user(self, proxy_uid: u32) -> Self {
        Self { proxy_uid, ..self }
    }

    /// Where outbound connections go.
    pub(crate) fn outbound_port(&self) -> u16 {
        self.outbound_port
    }

    /// Where inbound connections go.
    pub(crate) fn inbound_port(&self) -> u16 {
        self.inbound_port
    }

    /// Whether any inbound connections go there.
    pub(crate) fn leads_in(&self) -> bool {
        !self.inbound_ports.is_empty()
    }
}

/// The tool that writes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// `nft`.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`.
    Iptables,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    /// Put the rules in force.
    Apply(Plan, Option<Backend>),
    /// Show what would be written.
    Print(Plan, Option<Backend>),
    /// Take the rules away; with no backend named, those of all.
    Undo(Option<Backend>),
}

/// The rules are not as they should be.
#[derive(Debug, thiserror::Error)]
enum InterceptError {
    /// Neither tool is there.
    #[error("neither nft nor iptables-restore is found in PATH; one of them is needed")]
    NoTool,
    /// The other tool's rules are in force: with both, connections would be led twice.
    #[error("rules that {0} wrote are in force; take them away first: bellhop-proxy intercept --undo")]
    OtherBackend(&'static str),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Nobody reads what is printed.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Runs the subcommand.
pub(crate) fn run(flags: Flags) -> ExitCode {
    let task = match flags.resolve() {
        Ok(task) => task,
        Err(faults) => {
            eprintln!(
                "bellhop-proxy intercept: nothing was changed\n{faults}\nSee bellhop-proxy intercept --help."
            );
            return ExitCode::from(crate::app::EXIT_USAGE);
        }
    };
    match perform(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellhop-proxy intercept: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<(), InterceptError> {
    match task {
        Task::Apply(plan, backend) => match chosen(backend)? {
            Backend::Nft => {
                if iptables::present() {
                    return Err(InterceptError::OtherBackend("iptables"));
                }
                nft::apply(&plan)?;
            }
            Backend::Iptables => {
                if nft::present() {
                    return Err(InterceptError::OtherBackend("nft"));
                }
                iptables::apply(&plan)?;
            }
        },
        Task::Print(plan, backend) => {
            let text = match chosen(backend)? {
                Backend::Nft => nft::script(&plan),
                Backend::Iptables => iptables::print(&plan),
            };
            io::stdout().write_all(text.as_bytes())?;
        }
        Task::Undo(backend) => {
            if backend != Some(Backend::Iptables) && nft::present() {
                nft::undo()?;
            }
            if backend != Some(Backend::Nft) {
                iptables::undo()?;
            }
        }
    }
    Ok(())
}

/// The backend that was asked for, or the first that is there.
fn chosen(backend: Option<Backend>) -> Result<Backend, InterceptError> {
    match backend {
        Some(backend) => Ok(backend),
        None if tool::exists("nft") => Ok(Backend::Nft),
        None if tool::exists("iptables-restore") => Ok(Backend::Iptables),
        None => Err(InterceptError::NoTool),
    }
}

#[cfg(test)]
mod tests;
