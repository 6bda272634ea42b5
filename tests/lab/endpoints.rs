//! Endpoints that do not answer, and which address is whose: rows F1, F2, F4, F26 and B4.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bellhop_e2e::{Host, Network, Reply, TestApp, TestControl, TestProxy, client};
use libtest_mimic::Trial;

use crate::{
    apart,
    stage::{PORT, Stage, manifest, service},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("f01_a_sandbox_that_refuses_is_503_or_falls_back_where_told", refusing_sandbox),
        apart("f02_a_sandbox_that_swallows_packets_is_503_after_two_seconds", swallowing_sandbox),
        apart("f04_a_baseline_that_refuses_leaves_sandboxes_reachable", refusing_baseline),
        apart("f26_services_that_override_each_other_give_one_pass_and_one_answer", swapped_services),
        apart("b04_an_absolute_target_replaces_host_and_the_dialled_address_stays", absolute_target),
    ]
}

/// A sandbox's failure as the caller sees it.
fn fails_aloud(reply: &Reply, reason: &str) -> Result<()> {
    let why = reply.header("proxy-status");
    ensure!(reply.status == 503 && why.contains(reason), "wanted 503 for {reason}: {reply:?}");
    Ok(())
}

/// F1.
fn refusing_sandbox() -> Result<()> {
    let stage = Stage::set(&[])?;
    let nobody = SocketAddr::from((stage.host("sandbox").v4, 9)).to_string();
    stage.control.apply(&manifest("down", "callee", &nobody, ""))?;
    stage.control.apply(&manifest("careful", "callee", &nobody, "    fallback: baseline\n"))?;
    let reply = stage.proxy.counts("connect-refused", || stage.call("down"))?;
    fails_aloud(&reply, "connect-refused")?;
    let reply = stage.proxy.counts("fallback", || stage.call("careful"))?;
    ensure!(reply.version()? == "baseline", "{reply:?}");
    ensure!(stage.baseline.served() == 1, "the baseline was asked {} times", stage.baseline.served());
    Ok(())
}

/// F2.
fn swallowing_sandbox() -> Result<()> {
    let stage = Stage::set(&[])?;
    let endpoint = stage.sandbox.v4().to_string();
    stage.control.apply(&manifest("careful", "callee", &endpoint, "    fallback: baseline\n"))?;
    filter(stage.host("sandbox"), &format!("tcp dport {PORT} drop"))?;
    // Two tries of 1 s; a fifth of a second less, since clocks of two processes are compared.
    let took = |from: Instant| {
        let took = from.elapsed();
        ensure!((Duration::from_millis(1_800)..Duration::from_secs(10)).contains(&took), "took {took:?}");
        Ok(())
    };
    let from = Instant::now();
    let reply = stage.proxy.counts("connect-timeout", || stage.call("pr"))?;
    took(from)?;
    fails_aloud(&reply, "connect-timeout")?;
    let reply = stage.proxy.counts("fallback", || stage.call("careful"))?;
    ensure!(reply.version()? == "baseline", "{reply:?}");
    Ok(())
}

/// F4.
fn refusing_baseline() -> Result<()> {
    let stage = Stage::with_hosts(&["broken", "unknown"], &[])?;
    let (caller, broken) = (stage.host("caller"), stage.host("broken"));
    let at = SocketAddr::from((broken.v4, PORT));
    stage.control.apply(&format!(
        "{}{}",
        service(broken),
        manifest("mend", "broken", &stage.sandbox.v4().to_string(), "")
    ))?;
    filter(broken, &format!("tcp dport {PORT} tcp flags & (syn|ack) == syn counter"))?;
    let tried = || -> Result<u64> {
        let rules = broken.run("nft", &["list", "table", "inet", "lab"], "")?;
        let packets = rules.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(packets.unwrap_or_default().parse()?)
    };

    let reply = stage.call_at(at, "mend")?;
    ensure!(reply.version()? == "pr", "{reply:?}");

    let before = tried()?;
    let reply = stage.proxy.counts("connect-refused", || stage.call_at(at, ""))?;
    ensure!(reply.status == 502 && reply.header("proxy-status").contains("connect-refused"), "{reply:?}");
    ensure!(tried()? == before + 1, "{} attempts", tried()? - before);

    // Not HTTP.
    let (answer, reset) = caller.enter(|| {
        let mut stream = client::dial(at)?;
        stream.write_all(b"\x00\x01 this is no HTTP \xff\r\n")?;
        client::read_to_end(&mut stream)
    })?;
    ensure!(answer.is_empty() && reset, "answered {answer:?}, reset: {reset}");

    // Silent, where no route is.
    let at = SocketAddr::from((stage.host("unknown").v4, PORT));
    let from = Instant::now();
    let (answer, reset) = caller.enter(|| client::read_to_end(&mut client::dial(at)?))?;
    ensure!(answer.is_empty() && reset, "answered {answer:?}, reset: {reset}");
    ensure!(from.elapsed() < Duration::from_secs(5), "after {:?}", from.elapsed());
    Ok(())
}

/// F26.
fn swapped_services() -> Result<()> {
    let network = Network::with_hosts(&["a", "b", "caller", "outsider", "control"])?;
    let control = TestControl::start(network.host("control"))?;
    let (a, b) = (network.host("a"), network.host("b"));
    let (app_a, app_b) = (TestApp::http(a, PORT, "1")?, TestApp::http(b, PORT, "1")?);
    let url = control.url();
    let mut proxies = Vec::new();
    for (host, ports) in [("a", vec![PORT]), ("b", vec![PORT]), ("caller", vec![])] {
        let arguments = ["--control", &url, "--proxy-id", host];
        proxies.push(TestProxy::intercepting(network.host(host), &ports, &arguments)?);
    }
    control.apply(&format!(
        "{}{}apiVersion: bellhop.dev/v1alpha1\nkind: Sandbox\nmetadata: {{name: swap}}\nspec:\n  overrides:\n  \
         - {{service: a, port: {PORT}, endpoints: ['{}']}}\n  - {{service: b, port: {PORT}, endpoints: ['{}']}}\n",
        service(a),
        service(b),
        app_b.v4(),
        app_a.v6(),
    ))?;
    for from in ["caller", "outsider"] {
        for (dialled, answers) in [(app_a.v4(), "b"), (app_a.v6(), "b"), (app_b.v4(), "a"), (app_b.v6(), "a")]
        {
            let before = app_a.served() + app_b.served();
            let reply = client::get(network.host(from), dialled, "/", &[("baggage", "routing-key=swap")])?;
            ensure!(
                reply.status == 200 && reply.json()?["service"] == answers,
                "{from} to {dialled}: {reply:?}"
            );
            ensure!(!reply.body.contains("bellhop-decided"), "the application saw our field: {reply:?}");
            ensure!(app_a.served() + app_b.served() == before + 1, "more than one pass");
        }
    }
    Ok(())
}

/// B4.
fn absolute_target() -> Result<()> {
    let stage = Stage::set(&[])?;
    let request = b"GET http://elsewhere.example/x HTTP/1.1\r\nHost: callee\r\nConnection: close\r\n\r\n";
    let (answer, _) = client::raw(stage.host("caller"), stage.baseline.v4(), request)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ensure!(answer.contains(r#""service":"callee""#), "the destination is not the dialled address: {answer}");
    ensure!(answer.contains(r#"["host","elsewhere.example"]"#), "Host was not replaced: {answer}");
    ensure!(!answer.contains(r#"["host","callee"]"#), "two hosts: {answer}");
    Ok(())
}

/// Puts a rule on what a host is sent.
fn filter(host: &Host, rule: &str) -> Result<()> {
    let table = format!(
        "table inet lab {{ chain input {{ type filter hook input priority -300; policy accept; {rule}; }}; }}"
    );
    host.run("nft", &["-f", "-"], &table).map(drop)
}
