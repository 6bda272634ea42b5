//! The packet filters that `bellhop-proxy intercept` writes: row F18.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::{Host, Network, TestApp, TestProxy, User, client, paths, proxy::intercept, wait};
use libtest_mimic::Trial;

use crate::{apart, stage::PORT};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("f18_intercept_twice_is_intercept_once_and_undo_is_undone_with_nft", || comes_and_goes("nft")),
        apart("f18_intercept_twice_is_intercept_once_and_undo_is_undone_with_iptables", || {
            comes_and_goes("iptables")
        }),
        apart("f18_an_interrupted_intercept_is_all_or_nothing", interrupted),
        apart("f18_intercept_works_where_ipv6_is_absent", without_v6),
        apart("f18_excluded_ports_networks_and_the_proxy_itself_are_left_alone", excluded),
    ]
}

/// All rules of a host, of both tools; without counters, handles and what `iptables` says about itself.
fn rules(host: &Host) -> Result<String> {
    let mut rules = host.run("nft", &["-s", "list", "ruleset"], "")?;
    for program in ["iptables-save", "ip6tables-save"] {
        let saved = host.run(program, &[], "")?;
        // Tables spring into being when they are looked at; an empty one is no rule.
        let own = saved
            .lines()
            .filter(|line| line.starts_with("-A") || (line.starts_with(':') && line.contains(" - ")));
        rules.extend(own.flat_map(|line| [line.split(" [").next().unwrap_or_default(), "\n"]));
    }
    Ok(rules)
}

/// F18.
fn comes_and_goes(backend: &str) -> Result<()> {
    let network = Network::with_hosts(&["host", "peer"])?;
    let host = network.host("host");
    // Somebody else's rules, which must not be touched, in every chain that iptables makes for whoever writes to it.
    let foreign =
        "table inet foreign { chain input { type filter hook input priority 0; tcp dport 7 drop; }; }";
    host.run("nft", &["-f", "-"], foreign)?;
    for (program, chain) in [
        ("iptables", "OUTPUT"),
        ("iptables", "PREROUTING"),
        ("ip6tables", "OUTPUT"),
        ("ip6tables", "PREROUTING"),
    ] {
        host.run(program, &["-t", "nat", "-A", chain, "-p", "tcp", "--dport", "7", "-j", "ACCEPT"], "")?;
    }
    let before = rules(host)?;
    let backend = ["--backend", backend];

    let printed = intercept(host, &[PORT], &[&backend[..], &["--print"]].concat())?;
    ensure!(printed.contains("15001") && printed.contains("15006"), "--print says {printed:?}");
    ensure!(rules(host)? == before, "--print changed something");

    intercept(host, &[PORT], &backend)?;
    let once = rules(host)?;
    ensure!(once != before && once.contains("15001"), "nothing was written: {once}");
    intercept(host, &[PORT], &backend)?;
    same(&rules(host)?, &once)?;

    // They do what they are for, in both families.
    let app = TestApp::http(network.host("peer"), PORT, "baseline")?;
    let proxy = TestProxy::plain(host, &["--intercepted", "--inbound-ports", &PORT.to_string()])?;
    let own = TestApp::http(host, PORT, "own")?;
    for (from, to, version) in [
        (host, app.v4(), "baseline"),
        (host, app.v6(), "baseline"),
        (network.host("peer"), own.v4(), "own"),
        (network.host("peer"), own.v6(), "own"),
    ] {
        let reply = proxy.counts("http1", || client::get(from, to, "/", &[]))?;
        ensure!(reply.version()? == version, "{to}: {reply:?}");
    }

    intercept(host, &[PORT], &[&backend[..], &["--undo"]].concat())?;
    same(&rules(host)?, &before)?;
    intercept(host, &[PORT], &[&backend[..], &["--undo"]].concat()).context("undone twice")?;
    same(&rules(host)?, &before)
}

fn same(found: &str, wanted: &str) -> Result<()> {
    ensure!(found == wanted, "\n── found\n{found}\n── wanted\n{wanted}");
    Ok(())
}

/// F18: killed at whatever moment.
fn interrupted() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let before = rules(host)?;
    let from = Instant::now();
    intercept(host, &[PORT], &["--backend", "nft"])?;
    let whole = from.elapsed();
    let after = rules(host)?;
    let (mut none, mut all) = (0, 0);
    // From before its beginning to after its end; further where it never came to that, and back to where it began where
    // it always did.
    const ROUNDS: u32 = 40;
    const MOST_ROUNDS: u32 = 4 * ROUNDS;
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && none > 0 && all > 0 {
            break;
        }
        intercept(host, &[PORT], &["--backend", "nft", "--undo"])?;
        same(&rules(host)?, &before)?;
        let moment = if round < ROUNDS || all == 0 { whole * 2 / ROUNDS * round } else { Duration::ZERO };
        killed_after(host, moment)?;
        // A tool that it started may still be at work.
        let found = wait::until("the rules to rest", Duration::from_secs(2), || {
            let found = rules(host)?;
            thread::sleep(Duration::from_millis(5));
            ensure!(found == rules(host)?, "they move");
            Ok(found)
        })?;
        ensure!(found == before || found == after, "half a set of rules: {found}");
        if found == before { none += 1 } else { all += 1 }
    }
    ensure!(none > 0 && all > 0, "killed {none} times before the rules, {all} times after");
    Ok(())
}

/// Begins to write the rules, and is killed after `moment`.
fn killed_after(host: &Host, moment: Duration) -> Result<()> {
    let (user, port) = (User::Proxy.id().to_string(), PORT.to_string());
    let mut command = host.command(User::Root, &paths::program("bellhop-proxy")?);
    command.args(["intercept", "--outbound-port", "15001", "--inbound-port", "15006", "--proxy-uid", &user]);
    let mut child = command.args(["--inbound-ports", &port, "--backend", "nft"]).spawn()?;
    thread::sleep(moment);
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

/// F18.
fn without_v6() -> Result<()> {
    let network = Network::with_hosts(&["host", "peer"])?;
    let host = network.host("host");
    let absent = "for file in all default; do echo 1 > /proc/sys/net/ipv6/conf/$file/disable_ipv6; done";
    host.run("sh", &["-ec", absent], "")?;
    ensure!(!host.run("ip", &["address"], "")?.contains("inet6"), "IPv6 is still there");
    let app = TestApp::http(network.host("peer"), PORT, "baseline")?;
    let proxy = TestProxy::intercepting(host, &[PORT], &[])?;
    let reply = proxy.counts("http1", || client::get(host, app.v4(), "/", &[]))?;
    ensure!(reply.version()? == "baseline", "{reply:?}");
    Ok(())
}

/// F18's neighbour: what is not to be intercepted is not.
fn excluded() -> Result<()> {
    let network = Network::with_hosts(&["host", "peer", "other"])?;
    let (host, peer, other) = (network.host("host"), network.host("peer"), network.host("other"));
    let networks = format!("{}/32,{}/128", other.v4, other.v6);
    intercept(host, &[PORT], &["--exclude-outbound-ports", "8081", "--exclude-cidrs", &networks])?;
    let proxy = TestProxy::plain(host, &["--intercepted", "--inbound-ports", &PORT.to_string()])?;
    let seen = TestApp::http(peer, PORT, "baseline")?;
    let by_port = TestApp::http(peer, 8081, "baseline")?;
    let by_network = TestApp::http(other, PORT, "baseline")?;
    let own = TestApp::http(host, 8082, "own")?;
    proxy.counts("http1", || client::get(host, seen.v4(), "/", &[]))?;
    let before = proxy.counted("accepted")?;
    for (from, to) in [
        (host, by_port.v4()),
        (host, by_port.v6()),
        (host, by_network.v4()),
        (host, by_network.v6()),
        // A port that is not the workload's, from outside.
        (peer, own.v4()),
    ] {
        ensure!(client::get(from, to, "/", &[])?.status == 200, "{to}");
    }
    ensure!(proxy.counted("accepted")? == before, "something excluded was intercepted");
    Ok(())
}
