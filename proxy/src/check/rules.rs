//! The rules, as they stand and as they should.

use super::{Finding, Host, Wanted};
use crate::intercept::{self, Standing};

const CHECK: &str = "rules";
const WRITE: &str = "bellhop-proxy intercept, with the flags that this check got";
/// Lines that are told; one is enough to write them anew.
const TOLD: usize = 4;

pub(super) fn rules(wanted: &Wanted, host: &Host) -> Finding {
    let Some(uid) = host.uid else {
        let next = "give --proxy-uid, or start the proxy";
        return Finding::unknown(
            CHECK,
            "the proxy's user is not known, and so not how the rules should be",
            next,
        );
    };
    match intercept::standing(&wanted.plan.clone().for_user(uid), wanted.backend) {
        Standing::AsWanted(tool) => Finding::well(CHECK, format!("{tool}, as they should be")),
        Standing::LeadsIn(tool, lines) => Finding::unknown(
            CHECK,
            format!("{tool}; whether inbound connections should be led in cannot be told: {}", some(&lines)),
            "give --inbound-ports as bellhop-proxy intercept got it (BELLHOP_INBOUND_PORTS)",
        ),
        Standing::Absent => Finding::wrong(CHECK, "there are none: no traffic goes through the proxy", WRITE),
        Standing::Both => {
            let next = "bellhop-proxy intercept --undo, then once more with one --backend";
            Finding::wrong(CHECK, "nftables and iptables both have some: connections are led twice", next)
        }
        Standing::Altered(tool, differences) => {
            let found = format!("{tool}, and not as they should be; {}", some(&differences));
            Finding::wrong(CHECK, found, WRITE)
        }
        Standing::Unreadable(why) => Finding::unknown(
            CHECK,
            format!("they cannot be read: {why}"),
            "run this as root, in the workload's network",
        ),
    }
}

/// The first few.
fn some(lines: &[String]) -> String {
    let told = lines.get(..TOLD).unwrap_or(lines).join("; ");
    if lines.len() > TOLD { told + "; …" } else { told }
}
