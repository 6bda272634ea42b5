//! The rules for nftables: one table of our own, written in one transaction.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::{
    Plan,
    ports::PortRange,
    tool::{self, ToolError},
};

/// Before others' destination NAT (-100): what the application dialled is what the proxy must see.
const PRIORITY: i32 = -105;

/// Adding it first makes deleting it succeed whether or not it was there.
const UNDO: &str = "table inet bellhop\ndelete table inet bellhop\n";

/// Whether our table is there. A tool that cannot tell has written nothing either.
pub(super) fn present() -> bool {
    tool::run("nft", &["list", "tables", "inet"], "")
        .is_ok_and(|listed| listed.lines().any(|line| line == "table inet bellhop"))
}

/// Our rules as they stand, and as they should, line by line; none where there are none.
///
/// # Errors
/// The tool cannot tell.
pub(super) fn lines(plan: &Plan) -> Result<Option<[Vec<String>; 2]>, ToolError> {
    let tables = tool::run("nft", &["list", "tables", "inet"], "")?;
    if !tables.lines().any(|line| line == "table inet bellhop") {
        return Ok(None);
    }
    let listed = tool::run("nft", &["-y", "-s", "list", "table", "inet", "bellhop"], "")?;
    let wanted = script(plan);
    let wanted = unwrapped(wanted.trim_start_matches(UNDO));
    Ok(Some([unwrapped(&listed), wanted.iter().map(|line| single(line)).collect()]))
}

/// Whether a line leads inbound connections to the proxy.
pub(super) fn leads_in(line: &str) -> bool {
    line.starts_with("fib daddr type local tcp dport ")
}

/// Networks of one address are listed as that address.
fn single(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let (bare, comma) = word.strip_suffix(',').map_or((word, ""), |bare| (bare, ","));
        let suffix = if bare.contains(':') { "/128" } else { "/32" };
        format!("{}{comma}", bare.strip_suffix(suffix).unwrap_or(bare))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Lines without the space around them. Long sets are written over several lines, and belong on one.
fn unwrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match lines.last_mut() {
            Some(last) if !last.ends_with('{') && last.matches('{').count() > last.matches('}').count() => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Puts the rules in force, in the place of what an earlier run wrote.
pub(super) fn apply(plan: &Plan) -> Result<(), ToolError> {
    tool::run("nft", &["-f", "-"], &script(plan)).map(drop)
}

/// Takes them away.
pub(super) fn undo() -> Result<(), ToolError> {
    tool::run("nft", &["-f", "-"], UNDO).map(drop)
}

/// What [`apply`] hands to nft.
pub(super) fn script(plan: &Plan) -> String {
    let mut out = format!("{UNDO}table inet bellhop {{\n\tchain outbound {{\n");
    let mut rule = |text: &str| {
        let _ = writeln!(out, "\t\t{text}");
    };
    rule(&format!("type nat hook output priority {PRIORITY}; policy accept;"));
    rule("meta l4proto != tcp return");
    let mut uids = plan.excluded_uids.clone();
    uids.push(plan.proxy_uid);
    uids.sort_unstable();
    uids.dedup();
    rule(&format!("meta skuid {} return", set(&uids)));
    rule("ip daddr 127.0.0.0/8 return");
    rule("ip6 daddr ::1 return");
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
        plan.excluded_networks.iter().partition(|network| network.addr().is_ipv4());
    for (family, networks) in [("ip", v4), ("ip6", v6)] {
        if !networks.is_empty() {
            rule(&format!("{family} daddr {} return", set(&networks)));
        }
    }
    if !plan.excluded_ports.is_empty() {
        rule(&format!("tcp dport {} return", ports(&plan.excluded_ports)));
    }
    rule(&format!("meta l4proto tcp redirect to :{}", plan.outbound_port));
    let _ = write!(out, "\t}}\n\tchain inbound {{\n");
    let mut rule = |text: &str| {
        let _ = writeln!(out, "\t\t{text}");
    };
    rule(&format!("type nat hook prerouting priority {PRIORITY}; policy accept;"));
    rule("iifname \"lo\" return");
    if !plan.inbound_ports.is_empty() {
        let (ports, to) = (ports(&plan.inbound_ports), plan.inbound_port);
        rule(&format!("fib daddr type local tcp dport {ports} redirect to :{to}"));
    }
    out.push_str("\t}\n}\n");
    out
}

fn ports(ranges: &[PortRange]) -> String {
    set(ranges)
}

/// One value, or a set of them.
fn set<T: ToString>(values: &[T]) -> String {
    match values {
        [one] => one.to_string(),
        many => {
            let many: Vec<_> = many.iter().map(ToString::to_string).collect();
            format!("{{ {} }}", many.join(", "))
        }
    }
}
