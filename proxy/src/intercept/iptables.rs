//! The rules for iptables: two chains of our own in the nat table of each family, written in one step for each.

use std::{fmt::Write as _, path::Path};

use super::{
    Plan,
    tool::{self, ToolError},
};

const OUTPUT: &str = "BELLHOP_OUTPUT";
const INBOUND: &str = "BELLHOP_INBOUND";
const JUMPS: [(&str, &str); 2] =
    [("OUTPUT", "-p tcp -j BELLHOP_OUTPUT"), ("PREROUTING", "-p tcp -j BELLHOP_INBOUND")];

/// Marks what of iptables-nft's own furniture (base chains, the table) was not there before, so that `--undo` can leave
/// things as they were. The kernel keeps it, beside the rules that it is about.
const MADE: &str = "bellhop-made:";
const TABLE: &str = "table";

/// Waits for whoever else is writing rules.
const WAIT: &str = "--wait=10";

/// An address family and its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn save(self) -> &'static str {
        match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn restore(self) -> &'static str {
        match self {
            Self::V4 => "iptables-restore",
            Self::V6 => "ip6tables-restore",
        }
    }

    /// The family's nat table, as nft names it.
    fn table(self) -> [&'static str; 3] {
        match self {
            Self::V4 => ["table", "ip", "nat"],
            Self::V6 => ["table", "ip6", "nat"],
        }
    }
}

/// The families that this host has. A kernel without IPv6 has nothing there to lead anywhere; one that has it and no
/// tool for it is an error, since that traffic would pass the proxy by.
fn families() -> Vec<Family> {
    let v6 = Path::new("/proc/sys/net/ipv6").exists();
    if v6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}

/// What is there of ours in one family.
#[derive(Debug, Default)]
struct Present {
    jumps: Vec<(&'static str, &'static str)>,
    chains: Vec<&'static str>,
    /// What is there only because an earlier run, or this one, needs it.
    made: Vec<&'static str>,
    /// Of these, base chains in which nothing but our jump stands.
    bare: Vec<&'static str>,
}

impl Present {
    fn read(saved: &str) -> Self {
        let has_line = |line: &str| saved.lines().any(|saved| saved == line);
        let has_chain = |chain: &str| saved.lines().any(|saved| saved.starts_with(&format!(":{chain} ")));
        let made = saved.lines().find_map(|line| line.split_once(MADE)).map_or("", |(_, made)| made);
        let made = made.split(['"', ' ']).next().unwrap_or_default();
        let made = [TABLE, "OUTPUT", "PREROUTING"]
            .into_iter()
            .filter(|one| made.split(',').any(|part| part == *one));
        let made: Vec<_> = made.collect();
        let foreign = |chain: &str| {
            let rule = format!("-A {chain} ");
            saved
                .lines()
                .any(|line| line.starts_with(&rule) && !line.ends_with(OUTPUT) && !line.ends_with(INBOUND))
        };
        let accepts = |chain: &str| saved.lines().any(|line| line.starts_with(&format!(":{chain} ACCEPT")));
        let bare = made.iter().copied().filter(|chain| *chain != TABLE && accepts(chain) && !foreign(chain));
        Self {
            jumps: JUMPS.into_iter().filter(|(from, rule)| has_line(&format!("-A {from} {rule}"))).collect(),
            chains: [OUTPUT, INBOUND].into_iter().filter(|chain| has_chain(chain)).collect(),
            bare: bare.collect(),
            made,
        }
    }

    fn is_empty(&self) -> bool {
        self.jumps.is_empty() && self.chains.is_empty()
    }
}

/// What iptables-nft is about to make for itself. Of iptables-legacy the kernel has it all once it is looked at, and
/// where there is no nft nobody can tell.
fn about_to_make(family: Family) -> Vec<&'static str> {
    let nft = tool::exists("nft")
        && tool::run(family.restore(), &["--version"], "").is_ok_and(|version| version.contains("nf_tables"));
    if !nft {
        return Vec::new();
    }
    let [_, kind, name] = family.table();
    match tool::run("nft", &["list", "table", kind, name], "") {
        Ok(listed) => {
            let there = |chain: &&str| !listed.lines().any(|line| line.trim() == format!("chain {chain} {{"));
            ["OUTPUT", "PREROUTING"].into_iter().filter(there).collect()
        }
        Err(_) => vec![TABLE, "OUTPUT", "PREROUTING"],
    }
}

/// Whether anything of ours is there, in either family. A tool that cannot tell has written nothing either.
pub(super) fn present() -> bool {
    families().into_iter().any(|family| saved(family).is_ok_and(|present| !present.is_empty()))
}

fn saved(family: Family) -> Result<Present, ToolError> {
    Ok(Present::read(&tool::run(family.save(), &["-t", "nat"], "")?))
}

/// Our rules of all families as they stand, and as they should, line by line; none where there are none.
///
/// # Errors
/// A tool cannot tell.
pub(super) fn lines(plan: &Plan) -> Result<Option<[Vec<String>; 2]>, ToolError> {
    let (mut standing, mut wanted) = (Vec::new(), Vec::new());
    for family in families() {
        let saved = tool::run(family.save(), &["-t", "nat"], "")?;
        let ours = saved.lines().filter(|line| line.starts_with("-A ") && line.contains("BELLHOP_"));
        standing.extend(ours.map(|line| format!("{}: {}", family.name(), plain(line))));
        let rules = rules(plan, family, &Present::default());
        let rules = rules.lines().filter_map(|line| match line.strip_prefix("-I ") {
            Some(jump) => Some(format!("-A {}", jump.replacen(" 1 ", " ", 1))),
            None => line.starts_with("-A ").then(|| line.to_owned()),
        });
        wanted.extend(rules.map(|line| format!("{}: {line}", family.name())));
    }
    // The tools sort chains, and keep the order in each.
    let chain = |line: &String| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    standing.sort_by_key(chain);
    wanted.sort_by_key(chain);
    Ok(if standing.is_empty() { None } else { Some([standing, wanted]) })
}

/// Whether a line leads inbound connections to the proxy.
pub(super) fn leads_in(line: &str) -> bool {
    line.contains(INBOUND) && line.contains(" -j REDIRECT ")
}

/// A rule as it was written: without what the tool adds, and without our remark.
fn plain(rule: &str) -> String {
    let rule = rule.replace("-m tcp ", "");
    match rule.split_once("-m comment --comment ") {
        Some((before, after)) => {
            let after = after
                .strip_prefix('"')
                .and_then(|after| after.split_once("\" "))
                .or_else(|| after.split_once(' '));
            format!("{before}{}", after.map_or("", |(_, after)| after))
        }
        None => rule,
    }
}

/// Puts the rules in force, in the place of what an earlier run wrote. Both families are tried before either is
/// written.
pub(super) fn apply(plan: &Plan) -> Result<(), ToolError> {
    let mut written = Vec::new();
    for family in families() {
        // Before anything looks at the table: a look can make it.
        let making = about_to_make(family);
        let mut present = saved(family)?;
        if present.is_empty() {
            present.made = making;
        }
        written.push((family, rules(plan, family, &present)));
    }
    for (family, rules) in &written {
        tool::run(family.restore(), &["--test", "--noflush", WAIT], rules)?;
    }
    for (family, rules) in &written {
        tool::run(family.restore(), &["--noflush", WAIT], rules)?;
    }
    Ok(())
}

/// Takes them away, where they are.
pub(super) fn undo() -> Result<(), ToolError> {
    for family in families().into_iter().filter(|family| tool::exists(family.save())) {
        let present = saved(family)?;
        if !present.is_empty() {
            tool::run(family.restore(), &["--noflush", WAIT], &removal(&present))?;
            remove_bare_table(family, &present);
        }
    }
    Ok(())
}

/// The table itself, where an earlier run made it and nothing is in it any more. iptables cannot, nft refuses where it
/// is in use; a table without chains does nothing, so that failing is no fault.
fn remove_bare_table(family: Family, present: &Present) {
    let [table, kind, name] = family.table();
    if !present.made.contains(&TABLE) {
        return;
    }
    let listed = tool::run("nft", &["list", table, kind, name], "").unwrap_or_default();
    if !listed.contains("chain ") {
        let _ = tool::run("nft", &["delete", table, kind, name], "");
    }
}

/// What [`apply`] hands to the tools of a host that has no rules yet.
pub(super) fn print(plan: &Plan) -> String {
    let mut out = String::new();
    for family in [Family::V4, Family::V6] {
        let _ = write!(out, "# {}\n{}", family.restore(), rules(plan, family, &Present::default()));
    }
    out
}

/// Naming a chain empties it, so that only what is written here is in it afterwards.
fn rules(plan: &Plan, family: Family, present: &Present) -> String {
    let mut out = format!("*nat\n:{OUTPUT} - [0:0]\n:{INBOUND} - [0:0]\n");
    let mut rule = |chain: &str, text: &str| {
        let _ = writeln!(out, "-A {chain} {text}");
    };
    for uid in [plan.proxy_uid].iter().chain(&plan.excluded_uids) {
        rule(OUTPUT, &format!("-m owner --uid-owner {uid} -j RETURN"));
    }
    let loopback = if family == Family::V4 { "127.0.0.0/8" } else { "::1/128" };
    rule(OUTPUT, &format!("-d {loopback} -j RETURN"));
    let of_family = |network: &&ipnet::IpNet| network.addr().is_ipv4() == (family == Family::V4);
    for network in plan.excluded_networks.iter().filter(of_family) {
        rule(OUTPUT, &format!("-d {network} -j RETURN"));
    }
    for ports in &plan.excluded_ports {
        rule(OUTPUT, &format!("-p tcp --dport {} -j RETURN", ports.with_colon()));
    }
    rule(OUTPUT, &format!("-p tcp -j REDIRECT --to-ports {}", plan.outbound_port));
    let made = match present.made.join(",") {
        made if made.is_empty() => made,
        made => format!(" -m comment --comment {MADE}{made}"),
    };
    rule(INBOUND, &format!("-i lo{made} -j RETURN"));
    for ports in &plan.inbound_ports {
        let (ports, to) = (ports.with_colon(), plan.inbound_port);
        let text = format!("-p tcp -m addrtype --dst-type LOCAL --dport {ports} -j REDIRECT --to-ports {to}");
        rule(INBOUND, &text);
    }
    for (from, rule) in JUMPS.iter().filter(|jump| !present.jumps.contains(jump)) {
        // In front: what the application dialled is what the proxy must see.
        let _ = writeln!(out, "-I {from} 1 {rule}");
    }
    out.push_str("COMMIT\n");
    out
}

fn removal(present: &Present) -> String {
    let mut out = "*nat\n".to_owned();
    for chain in &present.chains {
        let _ = writeln!(out, ":{chain} - [0:0]");
    }
    for (from, rule) in &present.jumps {
        let _ = writeln!(out, "-D {from} {rule}");
    }
    for chain in present.chains.iter().chain(&present.bare) {
        let _ = writeln!(out, "-X {chain}");
    }
    out.push_str("COMMIT\n");
    out
}
