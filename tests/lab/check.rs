//! `bellhop-proxy check`: each fault that it knows, brought about for real.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::{Host, Network, Process, TestApp, TestProxy, User, paths, proxy::intercept, wait};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    apart,
    stage::{PORT, Stage},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("check_finds_nothing_where_nothing_is_wrong_and_every_fault_that_comes_up", all_is_well),
        apart("check_tells_rules_of_iptables_that_are_missing_or_altered_in_one_family", iptables),
        apart("check_tells_who_else_has_the_proxys_port", port_clash),
        apart("check_tells_where_ipv6_is_off_and_the_proxy_expects_it", without_v6),
        apart("check_tells_what_it_cannot_see_without_rights", without_rights),
        apart("check_tells_what_the_kernel_lacks", kernel),
    ]
}

const WAIT: Duration = Duration::from_secs(20);
const WELL: i32 = 0;
const WRONG: i32 = 2;
const UNKNOWN: i32 = 3;

/// What the check says; its exit code and its report.
#[derive(Debug)]
struct Checked {
    code: Option<i32>,
    report: Value,
}

impl Checked {
    /// Of one check: the outcome, and what was found.
    fn of(&self, check: &str) -> Result<(String, String)> {
        let findings = self.report["findings"].as_array().context("no findings")?;
        let finding = findings.iter().find(|finding| finding["check"] == check).context("no such check")?;
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        ensure!((text("outcome") == "well") == finding["next"].is_null(), "{finding}");
        Ok((text("outcome"), text("found")))
    }

    fn wrong(&self, check: &str, word: &str) -> Result<()> {
        let (outcome, found) = self.of(check)?;
        ensure!(outcome == "wrong" && found.contains(word), "{check} is {outcome}, {found:?}: no {word:?}");
        ensure!(self.code == Some(WRONG), "exit code {:?}", self.code);
        Ok(())
    }

    fn unknown(&self, check: &str, word: &str) -> Result<()> {
        let (outcome, found) = self.of(check)?;
        ensure!(outcome == "unknown" && found.contains(word), "{check} is {outcome}, {found:?}: no {word:?}");
        ensure!(self.code == Some(UNKNOWN), "exit code {:?}", self.code);
        Ok(())
    }

    fn well(&self, check: &str) -> Result<()> {
        let (outcome, found) = self.of(check)?;
        ensure!(outcome == "well", "{check} is {outcome}: {found}");
        Ok(())
    }
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(paths::program("bellhop-proxy")?);
    command.arg("check").args(arguments);
    Ok(command)
}

/// Runs it as root in a host's network, but with the machine's own `/sys`, where control groups are.
fn check(host: &Host, arguments: &[&str]) -> Result<Checked> {
    let output = host.enter(|| Ok(command(arguments)?.args(["-o", "json"]).output()?))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said)
        .with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Checked { code: output.status.code(), report })
}

const ALL: [&str; 11] = [
    "capability",
    "rules",
    "ports",
    "proxy-user",
    "ipv6",
    "socket-load-balancing",
    "conntrack",
    "route-localnet",
    "proxy",
    "control",
    "descriptors",
];

fn all_is_well() -> Result<()> {
    let mut stage = Stage::set(&[])?;
    let host = stage.host("caller").clone();
    let user = User::Proxy.id().to_string();
    let flags = ["--proxy-uid", &*user];
    let found = check(&host, &flags)?;
    for one in ALL {
        found.well(one)?;
    }
    ensure!(found.code == Some(WELL) && found.report["outcome"] == "well", "{found:?}");
    ensure!(found.report["findings"].as_array().context("findings")?.len() == ALL.len(), "{found:?}");
    // Whoever listens on the port is the proxy's user, where it is not told.
    check(&host, &[])?.well("rules")?;
    outputs(&host)?;

    // Rules: one more, one less, another user's, none.
    host.run("nft", &["insert", "rule", "inet", "bellhop", "outbound", "tcp", "dport", "9", "return"], "")?;
    check(&host, &flags)?.wrong("rules", "not wanted: tcp dport 9 return")?;
    intercept(&host, &[], &[])?;
    check(&host, &flags)?.well("rules")?;
    check(&host, &[&flags[..], &["--inbound-ports", "8080"]].concat())?
        .wrong("rules", "missing: fib daddr")?;
    check(&host, &["--proxy-uid", "4711"])?.wrong("rules", "missing: meta skuid 4711")?;
    intercept(&host, &[], &["--undo"])?;
    check(&host, &flags)?.wrong("rules", "there are none")?;
    // With every kind of flag, what intercept wrote is what check expects.
    let many: Vec<String> = (1..40).map(|number| format!("10.{number}.2.0/24")).collect();
    let networks = many.join(",") + ",fd00:1::/64";
    let excluded =
        ["--exclude-cidrs", &networks, "--exclude-outbound-ports", "22,3306-3307", "--exclude-uids", "0,101"];
    intercept(&host, &[PORT, 9000], &excluded)?;
    let all = [&flags[..], &["--inbound-ports", "8080,9000"], &excluded].concat();
    check(&host, &all)?.well("rules")?;
    // Inbound rules are no fault where nobody said which there should be; others beside them still are.
    let untold = [&flags[..], &excluded].concat();
    check(&host, &untold)?.unknown("rules", "tcp dport { 8080, 9000 } redirect to :15006")?;
    check(&host, &flags)?.wrong("rules", "not wanted: ip daddr")?;
    intercept(&host, &[], &[])?;

    // Somebody else under the proxy's user.
    let mut sleep = host.command(User::Proxy, "sleep");
    sleep.arg("60");
    let sleep = Process::start("sleep", sleep, host.directory())?;
    wait::until("the other to be seen", WAIT, || check(&host, &flags)?.wrong("proxy-user", "sleep"))?;
    drop(sleep);
    wait::until("the other to be gone", WAIT, || check(&host, &flags)?.well("proxy-user"))?;

    // What changes addresses at connect(2).
    let program = ConnectProgram::attach()?;
    let (outcome, found) = check(&host, &flags)?.of("socket-load-balancing")?;
    ensure!(outcome == "wrong" && found.contains("connect"), "{outcome}: {found}");
    drop(program);
    wait::until("the program to be gone", WAIT, || check(&host, &flags)?.well("socket-load-balancing"))?;

    // Control is gone, then the proxy.
    stage.control.kill();
    wait::until("the loss of control", WAIT, || check(&host, &flags)?.wrong("control", "is not heard"))?;
    stage.proxy.terminate()?;
    stage.proxy.ended_within(WAIT)?;
    let found = check(&host, &flags)?;
    found.wrong("proxy", "127.0.0.1:15000")?;
    found.wrong("ports", "nobody listens on 15001")?;
    ensure!(found.of("descriptors")?.0 == "unknown" && found.of("control")?.0 == "unknown", "{found:?}");

    // One that may open few descriptors.
    let mut few = host.command(User::Proxy, "sh");
    few.args(["-ec", "ulimit -n 400; exec \"$0\" --intercepted"]).arg(paths::program("bellhop-proxy")?);
    let _few = Process::start("few", few, host.directory())?;
    wait::until("the lack of descriptors", WAIT, || {
        check(&host, &flags)?.wrong("descriptors", "may open 400, which is room for 100 connections")
    })
}

fn outputs(host: &Host) -> Result<()> {
    let text = |shape: &str| {
        let output = host.enter(|| Ok(command(&["-o", shape])?.output()?))?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let table = text("table")?;
    ensure!(
        table.lines().count() == ALL.len() && table.lines().all(|line| line.starts_with("✓ ")),
        "{table}"
    );
    let yaml = text("yaml")?;
    ensure!(yaml.starts_with("outcome: well\n") && yaml.contains("check: conntrack"), "{yaml}");
    let wrong = host.enter(|| Ok(command(&["--proxy-uid", "root"])?.output()?))?;
    ensure!(wrong.status.code() == Some(64), "{wrong:?}");
    Ok(())
}

/// A real program at connect(2), which lets everything pass, on a control group of its own that nobody is in.
struct ConnectProgram(Child);

impl ConnectProgram {
    fn attach() -> Result<Self> {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", include_str!("connect_program.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut said)?;
        let attached = Self(child);
        ensure!(said.trim() == "attached", "no program could be attached: {said}");
        Ok(attached)
    }
}

impl Drop for ConnectProgram {
    fn drop(&mut self) {
        // The end of its input is its sign to clean up.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn iptables() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let backend = ["--backend", "iptables"];
    intercept(
        host,
        &[PORT, 9000],
        &[&backend[..], &["--exclude-cidrs", "10.1.2.3,fd00::/8", "--exclude-uids", "0"]].concat(),
    )?;
    let user = User::Proxy.id().to_string();
    let flags = [
        "--proxy-uid",
        &*user,
        "--inbound-ports",
        "8080,9000",
        "--exclude-cidrs",
        "10.1.2.3,fd00::/8",
        "--exclude-uids",
        "0",
    ];
    check(host, &flags)?.well("rules")?;
    let untold = [&flags[..2], &flags[4..]].concat();
    let (outcome, found) = check(host, &untold)?.of("rules")?;
    ensure!(outcome == "unknown" && found.contains("--dport 9000 -j REDIRECT"), "{outcome}: {found}");
    host.run("ip6tables", &["-t", "nat", "-D", "OUTPUT", "-p", "tcp", "-j", "BELLHOP_OUTPUT"], "")?;
    let found = check(host, &flags)?;
    found.wrong("rules", "missing: IPv6: -A OUTPUT -p tcp -j BELLHOP_OUTPUT")?;
    ensure!(!found.of("rules")?.1.contains("IPv4"), "{found:?}");
    host.run("iptables", &["-t", "nat", "-I", "BELLHOP_OUTPUT", "1", "-p", "tcp", "-j", "RETURN"], "")?;
    check(host, &flags)?.wrong("rules", "not wanted: IPv4: -A BELLHOP_OUTPUT -p tcp -j RETURN")?;
    intercept(host, &[], &["--undo"])?;
    check(host, &flags)?.wrong("rules", "there are none")
}

fn port_clash() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let _other = TestApp::tcp(host, 15001, drop)?;
    let user = User::Proxy.id().to_string();
    check(host, &["--proxy-uid", &user])?.wrong("ports", ":15001, which should be the proxy's")
}

fn without_v6() -> Result<()> {
    let network = Network::with_hosts(&["off", "half"])?;
    let user = User::Proxy.id().to_string();
    let flags = ["--proxy-uid", &*user];
    let set = |host: &Host, interface: &str, value: &str| {
        let line = format!("echo {value} > /proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        host.run("sh", &["-ec", &line], "").map(drop)
    };
    let off = network.host("off");
    set(off, "all", "1")?;
    let mut proxy = TestProxy::intercepting(off, &[], &[])?;
    check(off, &flags)?.wrong("ipv6", "off on this host, and the proxy is told to listen on [::1]:15001")?;
    // It comes back, and the proxy is not there for it.
    set(off, "all", "0")?;
    check(off, &flags)?.wrong("ipv6", "does not listen on [::1]:15001")?;
    proxy.restart(&[])?;
    check(off, &flags)?.well("ipv6")?;
    // Told to expect none, it is content without.
    set(off, "all", "1")?;
    proxy.restart(&["--outbound", "127.0.0.1:15001", "--inbound", "0.0.0.0:15006"])?;
    check(off, &flags)?.well("ipv6")?;

    let half = network.host("half");
    set(half, "lo", "1")?;
    let _proxy = TestProxy::intercepting(half, &[], &[])?;
    check(half, &flags)?.wrong("ipv6", "not for loopback")
}

fn without_rights() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let _proxy = TestProxy::intercepting(host, &[], &[])?;
    let user = User::Proxy.id().to_string();
    let mut command = host.command(User::App, paths::program("bellhop-proxy")?);
    let output = command.args(["check", "--proxy-uid", &user, "-o", "json"]).output()?;
    let found = Checked { code: output.status.code(), report: serde_json::from_slice(&output.stdout)? };
    found.wrong("capability", "CAP_NET_ADMIN is missing")?;
    for unseen in ["rules", "ports", "descriptors", "socket-load-balancing"] {
        let (outcome, what) = found.of(unseen)?;
        ensure!(outcome == "unknown", "{unseen} is {outcome}: {what}");
    }
    found.well("proxy")
}

fn kernel() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let program = paths::program("bellhop-proxy")?;
    let with_netfilter = |content: &str| {
        // In a mount namespace that ends with the command.
        let line = format!(
            "mount -t tmpfs none /proc/sys/net/netfilter && cd /proc/sys/net/netfilter && {content} exec \"$0\" check -o json"
        );
        let mut command = host.command(User::Root, "unshare");
        let output = command.args(["-m", "sh", "-ec", &line]).arg(&program).output()?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        anyhow::Ok(Checked { code: output.status.code(), report })
    };
    with_netfilter("")?.wrong("conntrack", "tracks no connections")?;
    let full = "echo 950 > nf_conntrack_count; echo 1000 > nf_conntrack_max;";
    with_netfilter(full)?.wrong("conntrack", "950 of 1000")?;
    check(host, &[])?.well("conntrack")?;
    host.run("sh", &["-ec", "echo 1 > /proc/sys/net/ipv4/conf/lo/route_localnet"], "")?;
    let (outcome, found) = check(host, &[])?.of("route-localnet")?;
    ensure!(outcome == "well" && found.contains("on for lo"), "{found}");
    Ok(())
}
