//! `bellhop-proxy check`: what is wrong with a host's interception, and what to do about it.
//!
//! It looks and changes nothing. Each check answers with what it found: as it should be, wrong, or that it cannot tell
//! from here, which is never taken for well. What is looked at, in order: the right to look, the rules, who listens on
//! the proxy's ports, who else runs as its user, IPv6, what may change addresses before rules see them, connection
//! tracking, and the proxy itself with its control plane.

mod admin;
mod flags;
mod host;
mod network;
mod print;
mod proxy;
mod rules;
mod users;

use std::process::ExitCode;

use serde::Serialize;

pub(crate) use self::flags::Flags;
use self::{flags::Wanted, host::Host, print::Output};

/// The check itself did not work: nobody reads what it says.
const EXIT_FAILED: u8 = 1;
/// Something is wrong.
const EXIT_WRONG: u8 = 2;
/// Nothing is known to be wrong, and something could not be checked.
const EXIT_UNKNOWN: u8 = 3;

/// What `--help` says of the exit status.
pub(crate) const AFTER: &str = "\
Run it in the network namespace of the workload, as root, with the flags that `bellhop-proxy intercept` got.

Exit status: 0 all is well; 1 the check did not work; 2 something is wrong; 3 nothing is known to be wrong, and something
could not be checked; 64 wrong usage.";

/// What became of one check. The order is that of gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Well,
    /// It cannot be told from here.
    Unknown,
    /// Not as it should be.
    Wrong,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// Which check; one of a closed set.
    check: &'static str,
    outcome: Outcome,
    /// What is the case.
    found: String,
    /// What to do about it; absent where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Finding {
    fn well(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Well, found: found.into(), next: None }
    }

    fn unknown(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Unknown, found: found.into(), next: Some(next.into()) }
    }

    fn wrong(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Wrong, found: found.into(), next: Some(next.into()) }
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The gravest of them.
    outcome: Outcome,
    findings: Vec<Finding>,
}

/// Runs the subcommand.
pub(crate) fn run(flags: Flags) -> ExitCode {
    let wanted = match flags.resolve() {
        Ok(wanted) => wanted,
        Err(faults) => {
            eprintln!("bellhop-proxy check: nothing was checked\n{faults}\nSee bellhop-proxy check --help.");
            return ExitCode::from(crate::app::EXIT_USAGE);
        }
    };
    let report = check(&wanted);
    if let Err(error) = print::print(&report, wanted.output) {
        eprintln!("bellhop-proxy check: cannot print: {error}");
        return ExitCode::from(EXIT_FAILED);
    }
    match report.outcome {
        Outcome::Well => ExitCode::SUCCESS,
        Outcome::Unknown => ExitCode::from(EXIT_UNKNOWN),
        Outcome::Wrong => ExitCode::from(EXIT_WRONG),
    }
}

fn check(wanted: &Wanted) -> Report {
    let host = Host::look(wanted);
    let mut findings = vec![
        users::capability(),
        rules::rules(wanted, &host),
        users::ports(wanted, &host),
        users::proxy_user(&host),
        network::ipv6(&host),
        network::socket_load_balancing(),
        network::conntrack(),
        network::route_localnet(),
    ];
    findings.extend(proxy::all(wanted, &host));
    let outcome = findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Well);
    Report { outcome, findings }
}
