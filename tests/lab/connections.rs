//! Connections as such: servers that speak first, ends and resets, doors that must stay shut. F15, F16, F17, B21.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bellhop_e2e::{Host, Network, Process, TestApp, TestProxy, User, client, paths, wait};
use libtest_mimic::Trial;
use serde_json::json;
use socket2::SockRef;

use crate::{
    apart,
    stage::{PORT, Stage, manifest},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("f15_a_server_that_speaks_first_is_heard_at_once", server_first),
        apart("f16_ends_and_resets_are_mirrored_and_leak_nothing", ends_and_resets),
        apart("f17_a_proxy_does_not_dial_itself", loops),
        apart("f17_a_proxy_that_the_rules_redirect_too_refuses_its_own_dials", redirected_dials),
        apart("b21_doors_that_are_not_meant_for_the_caller_stay_shut", doors),
        apart("b21_inbound_connections_to_other_hosts_or_ports_are_refused", strangers),
        apart("b21_loopback_listeners_answer_no_foreign_host_and_no_browser", foreign_names),
        apart("b21_endpoints_that_control_should_not_have_named_are_refused", forbidden_endpoints),
    ]
}

/// A port that no manifest names.
const UNDECLARED: u16 = 2525;
/// Shorter than any timer of detection, and far longer than the way through two proxies.
const NO_TIMER: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// F15, through the caller's proxy and the server's own.
fn server_first() -> Result<()> {
    let network = Network::with_hosts(&["caller", "mail"])?;
    let (caller, mail) = (network.host("caller"), network.host("mail"));
    let server = TestApp::tcp(mail, UNDECLARED, |mut stream| {
        let mut command = [0; 6];
        let _ = stream.write_all(b"220 lab ESMTP\r\n");
        if stream.read_exact(&mut command).is_ok() {
            let _ = stream.write_all(b"221 bye\r\n");
        }
    })?;
    let _proxies =
        [TestProxy::intercepting(caller, &[], &[])?, TestProxy::intercepting(mail, &[UNDECLARED], &[])?];
    let mut times = Vec::new();
    for to in [server.v4(), server.v6()].repeat(10) {
        let (took, rest) = caller.enter(|| {
            let from = Instant::now();
            let mut stream = client::dial(to)?;
            let mut banner = [0; 15];
            stream.read_exact(&mut banner)?;
            let took = from.elapsed();
            ensure!(&banner == b"220 lab ESMTP\r\n", "{banner:?}");
            stream.write_all(b"QUIT\r\n")?;
            Ok((took, client::read_to_end(&mut stream)?))
        })?;
        ensure!(rest == (b"221 bye\r\n".to_vec(), false), "{rest:?}");
        times.push(took);
    }
    times.sort();
    let median = times[times.len() / 2];
    ensure!(median < NO_TIMER, "the banner took {times:?}");
    Ok(())
}

/// F16.
fn ends_and_resets() -> Result<()> {
    let network = Network::with_hosts(&["caller", "server"])?;
    let (caller, server) = (network.host("caller"), network.host("server"));
    let (saw, seen) = mpsc::channel::<String>();
    // Tells how the client ended, and then ends in its own way: on port 1 with a word, on port 2 with a reset.
    let saw_too = saw.clone();
    let polite = TestApp::tcp(server, 9001, move |mut stream| {
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        let _ =
            saw.send(end.map_or_else(|error| format!("{:?}", error.kind()), |n| format!("end after {n}")));
        let _ = stream.write_all(b"bye");
    })?;
    let rude = TestApp::tcp(server, 9002, move |stream| {
        let _ = saw_too.send("accepted".to_owned());
        std::thread::sleep(Duration::from_millis(50));
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    })?;
    let proxies =
        [TestProxy::intercepting(caller, &[], &[])?, TestProxy::intercepting(server, &[9001, 9002], &[])?];
    let mut before = [0; 2];
    let seen = Mutex::new(seen);
    let told = |wanted: &str| {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let told =
            seen.recv_timeout(5 * SECOND).with_context(|| format!("the server saw nothing, not {wanted}"))?;
        ensure!(told == wanted, "the server saw {told:?}, wanted {wanted:?}");
        Ok(())
    };
    for round in 0..24 {
        if round == 4 {
            // Every worker has served by now, and has all that it keeps.
            before = [proxies[0].descriptors()?, proxies[1].descriptors()?];
        }
        let to = if round % 2 == 0 { (polite.v4(), rude.v4()) } else { (polite.v6(), rude.v6()) };
        caller.enter(|| {
            // Silent, then half-closed: the other half goes on.
            let mut stream = client::dial(to.0)?;
            let from = Instant::now();
            stream.shutdown(Shutdown::Write)?;
            told("end after 0")?;
            ensure!(client::read_to_end(&mut stream)? == (b"bye".to_vec(), false), "half-closed");
            ensure!(from.elapsed() < SECOND, "the end took {:?}", from.elapsed());

            // Reset by the client, after a word that is no HTTP.
            let mut stream = client::dial(to.0)?;
            stream.write_all(b"\x01word\n")?;
            let from = Instant::now();
            reset(stream)?;
            told("ConnectionReset")?;
            ensure!(from.elapsed() < SECOND, "the reset took {:?}", from.elapsed());

            // Reset by the server.
            let mut stream = client::dial(to.1)?;
            ensure!(client::read_to_end(&mut stream)? == (Vec::new(), true), "no reset came from the server");
            Ok(())
        })?;
        told("accepted")?;
    }
    for (proxy, before) in proxies.iter().zip(before) {
        wait::until("descriptors to be closed", 5 * SECOND, || {
            let now = proxy.descriptors()?;
            ensure!(now <= before, "{}: {before} before, {now} now", proxy.host().name);
            Ok(())
        })?;
    }
    Ok(())
}

fn reset(stream: TcpStream) -> Result<()> {
    // The word must have left first, or the reset overtakes it.
    std::thread::sleep(Duration::from_millis(50));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

/// F17: by its listeners' own addresses, by second addresses of them, and by a route.
fn loops() -> Result<()> {
    let stage = Stage::set(&["--explicit", "127.0.0.1:3128"])?;
    let caller = stage.host("caller");
    let get = b"GET / HTTP/1.1\r\nHost: caller\r\n\r\n";
    let listeners: [SocketAddr; 4] = [
        "127.0.0.1:15001".parse()?,
        "[::1]:15001".parse()?,
        (caller.v4, 15006).into(),
        (caller.v6, 15006).into(),
    ];
    for to in listeners {
        let before = stage.proxy.counted("refused-loop")? + stage.proxy.counted("refused-direct")?;
        let (answer, _) = client::raw(caller, to, get)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 502"), "{to} answered {answer:?}");
        let after = stage.proxy.counted("refused-loop")? + stage.proxy.counted("refused-direct")?;
        ensure!(after == before + 1.0, "{to}: counted {before} before, {after} now");
    }
    // Asked to go to its own listener, by name and by a second address.
    for target in
        ["127.0.0.1:3128", "127.0.0.1:15001", "[::ffff:127.0.0.1]:3128", &format!("{}:15006", caller.v4)]
    {
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        let ask = || client::raw(caller, "127.0.0.1:3128".parse()?, request.as_bytes());
        let (answer, _) = stage.proxy.counts("loop", ask)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.starts_with("HTTP/1.1 502") && answer.contains("loop"), "{target}: {answer}");
    }
    let own = SocketAddr::from((caller.v4, 15006)).to_string();
    stage.control.apply(&manifest("loop", "callee", &own, ""))?;
    let reply = stage.call("loop")?;
    ensure!(reply.status == 503, "{reply:?}");
    ensure!(stage.call("")?.version()? == "baseline", "the proxy does not serve any more");
    Ok(())
}

/// F17: the rules leave another user alone than the one that the proxy runs as.
fn redirected_dials() -> Result<()> {
    let network = Network::with_hosts(&["caller", "callee"])?;
    let (caller, callee) = (network.host("caller"), network.host("callee"));
    let app = TestApp::http(callee, PORT, "baseline")?;
    let program = paths::program("bellhop-proxy")?;
    let somebody = (User::Proxy.id() + 1).to_string();
    let rules =
        ["intercept", "--outbound-port", "15001", "--inbound-port", "15006", "--proxy-uid", &somebody];
    caller.run(&program.to_string_lossy(), &rules, "")?;
    let proxy = TestProxy::plain(caller, &["--intercepted"])?;
    let descriptors = proxy.descriptors()?;
    for to in [app.v4(), app.v6()].repeat(5) {
        let before = (proxy.counted("accepted")?, proxy.counted("refused-loop")?);
        let reply = proxy.counts("loop", || client::get(caller, to, "/", &[]))?;
        let status = reply.headers.get("proxy-status").map(|value| value.to_str()).transpose()?;
        ensure!(
            reply.status == 502 && status.is_some_and(|status| status.contains("reason=loop")),
            "{to}: {reply:?}"
        );
        let after = (proxy.counted("accepted")?, proxy.counted("refused-loop")?);
        // The caller's connection, and the one that came back.
        ensure!(after == (before.0 + 2.0, before.1 + 1.0), "{to}: {before:?} before, {after:?} after");
        let (answer, _) = proxy.counts("refused-loop", || client::raw(caller, to, b"\x01no HTTP"))?;
        ensure!(answer.is_empty(), "{to} answered {answer:?}");
    }
    ensure!(app.served() == 0, "somebody reached the application");
    wait::until("descriptors to return", 10 * SECOND, || {
        let now = proxy.descriptors()?;
        ensure!(now <= descriptors, "{descriptors} before, {now} now");
        Ok(())
    })
}

/// B21: what rules written by hand redirect, but what was never meant for this workload.
fn strangers() -> Result<()> {
    const OTHER_PORT: u16 = PORT + 1;
    let network = Network::with_hosts(&["caller", "callee"])?;
    let (caller, callee) = (network.host("caller"), network.host("callee"));
    let app = TestApp::http(callee, PORT, "baseline")?;
    let proxy = TestProxy::plain(callee, &["--intercepted", "--inbound-ports", &PORT.to_string()])?;
    let rules = format!(
        "table inet hand {{\n chain in {{\n type nat hook prerouting priority dstnat\n \
         tcp dport {{ {PORT}, {OTHER_PORT} }} redirect to :15006\n }}\n}}\n"
    );
    callee.run("nft", &["-f", "-"], &rules)?;
    // An address that leads through the callee, and is not its own.
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], PORT));
    let route = format!("{}/32", elsewhere.ip());
    caller.run("ip", &["route", "add", &route, "via", &callee.v4.to_string()], "")?;
    ensure!(client::get(caller, app.v4(), "/", &[])?.version()? == "baseline", "the ordinary way is shut");
    let served = app.served();
    let other_port = SocketAddr::from((callee.v4, OTHER_PORT));
    for (to, reason) in [(elsewhere, "refused-not-local"), (other_port, "refused-port")] {
        let dial = || client::raw(caller, to, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let (answer, _) = proxy.counts(reason, dial)?;
        ensure!(answer.is_empty(), "{to} answered {:?}", String::from_utf8_lossy(&answer));
    }
    ensure!(app.served() == served, "a stranger reached the application");
    Ok(())
}

/// B21: doors.
fn doors() -> Result<()> {
    let network = Network::with_hosts(&["caller", "callee"])?;
    let (caller, callee) = (network.host("caller"), network.host("callee"));
    let app = TestApp::http(callee, PORT, "baseline")?;
    let explicit = SocketAddr::from((callee.v4, 3128));
    let arguments = ["--explicit", &explicit.to_string(), "--allow-from", "192.0.2.0/24"];
    let proxy = TestProxy::intercepting(callee, &[PORT], &arguments)?;
    ensure!(client::get(caller, app.v4(), "/", &[])?.version()? == "baseline", "the ordinary way is shut");
    let served = app.served();

    // The inbound listener, dialled directly.
    for to in [SocketAddr::from((callee.v4, 15006)), SocketAddr::from((callee.v6, 15006))] {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", app.v4());
        let dial = || client::raw(caller, to, request.as_bytes());
        let (answer, _) = proxy.counts("refused-direct", dial)?;
        ensure!(answer.is_empty(), "{to} answered {:?}", String::from_utf8_lossy(&answer));
    }
    // The explicit listener, from a host that is not allowed.
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", app.v4());
    let dial = || client::raw(caller, explicit, request.as_bytes());
    let (answer, _) = proxy.counts("refused-caller", dial)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 403"), "{answer}");
    // The outbound listener and the admin listener are on loopback alone.
    for port in [15001, 15000] {
        let dialled = caller.enter(|| client::dial((callee.v4, port).into()));
        ensure!(dialled.is_err(), "port {port} is open to other hosts");
    }
    ensure!(app.served() == served, "a shut door led to the application");
    Ok(())
}

/// B21: a page in a browser on the host, and a name that was rebound to loopback.
fn foreign_names() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let proxy = TestProxy::intercepting(host, &[], &[])?;
    let mut command = host.command(User::Root, paths::program("bellhop-control")?);
    command.args(["--listen", "127.0.0.1:7070", "--data-dir"]).arg(host.directory().join("data"));
    let mut control = Process::start("control", command, host.directory())?;
    wait::until("the control plane", 15 * SECOND, || {
        control.alive()?;
        client::get(host, "127.0.0.1:7070".parse()?, "/v1/proxies", &[])
    })?;
    for (to, path) in [("127.0.0.1:15000", "/config"), ("127.0.0.1:7070", "/v1/proxies")] {
        let to: SocketAddr = to.parse()?;
        ensure!(client::get(host, to, path, &[])?.status == 200, "{to}{path} does not answer at all");
        let ask = |fields: &str| -> Result<String> {
            let request = format!("GET {path} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
            Ok(String::from_utf8_lossy(&client::raw(host, to, request.as_bytes())?.0).into_owned())
        };
        for fields in [
            "Host: evil.example\r\n".to_owned(),
            format!("Host: {to}\r\nOrigin: http://evil.example\r\n"),
            format!("Host: localhost.evil.example:{}\r\n", to.port()),
        ] {
            let answer = ask(&fields)?;
            ensure!(answer.starts_with("HTTP/1.1 4"), "{to} answered {fields:?} with {answer}");
        }
    }
    ensure!(proxy.metric("bellhop_proxy_admin_refused_total")? >= 3.0, "not counted");
    Ok(())
}

/// B21: control itself names endpoints that no proxy may dial. Where an address stands for no one host, the whole list
/// is rejected; the others are refused when they are asked for.
fn forbidden_endpoints() -> Result<()> {
    const NO_ENDPOINTS: [&str; 3] = ["0.0.0.0:8080", "[::]:8080", "224.0.0.1:8080"];
    const FORBIDDEN: [&str; 6] = [
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:8080",
        "127.0.0.1:15001",
        "[::ffff:127.0.0.1]:9",
    ];
    let network = Network::with_hosts(&["caller", "callee", "control"])?;
    let (caller, callee) = (network.host("caller"), network.host("callee"));
    let app = TestApp::http(callee, PORT, "baseline")?;
    let mut lists: VecDeque<_> = NO_ENDPOINTS.map(|endpoint| list(callee, &[endpoint])).into();
    lists.push_back(list(callee, &FORBIDDEN));
    let lists = Mutex::new(lists);
    let control = TestApp::tcp(network.host("control"), 7070, move |stream| {
        let _ = mislead(stream, &lists);
    })?;
    let url = format!("http://{}", control.v4());
    let proxy = TestProxy::intercepting(caller, &[], &["--control", &url])?;
    wait::until("three rejected lists", 10 * SECOND, || {
        let rejected = proxy.counted("bad-unit")?;
        ensure!(rejected == 3.0, "{rejected}");
        Ok(())
    })?;
    wait::until("a list that is accepted", 10 * SECOND, || {
        let routes = proxy.admin("/routes")?;
        ensure!(routes.body.contains("k0"), "{routes:?}");
        Ok(())
    })?;
    for (key, endpoint) in FORBIDDEN.iter().enumerate() {
        let baggage = format!("routing-key=k{key}");
        let refused = || Ok::<_, anyhow::Error>(proxy.counted("not-permitted")? + proxy.counted("loop")?);
        let before = refused()?;
        let reply = client::get(caller, app.v4(), "/", &[("baggage", &baggage)])?;
        let why = reply.header("proxy-status");
        let named = why.contains("not-permitted") || why.contains("loop");
        ensure!(reply.status == 503 && named, "{endpoint}: {reply:?}");
        wait::until("a refusal to be counted", 2 * SECOND, || {
            ensure!(refused()? > before, "{endpoint}: {before} before, and still");
            Ok(())
        })?;
    }
    ensure!(app.served() == 0, "the baseline was asked");
    Ok(())
}

/// The watch's list for the keys `k0`, `k1`, … of the callee, each with one of these endpoints.
fn list(callee: &Host, endpoints: &[&str]) -> String {
    let position = json!({"token": "1", "epoch": "e", "revision": 1});
    let typed = |kind: &str| {
        let mut line = position.clone();
        line["type"] = kind.into();
        line
    };
    let ports = json!([{"port": PORT, "targetPort": PORT}]);
    let service = json!({"namespace": "default", "name": "callee", "ports": ports, "addresses": [callee.v4]});
    let mut lines = vec![typed("reset"), json!({"type": "put", "unit": {"service": service}})];
    for (key, endpoint) in endpoints.iter().enumerate() {
        let route = json!({"destination": format!("callee:{PORT}"), "endpoints": [endpoint]});
        let key = json!({"key": format!("k{key}"), "digest": "", "routes": [route]});
        lines.push(json!({"type": "put", "unit": {"key": key}}));
    }
    lines.push(typed("synced"));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A control plane that sends lists which no control plane of ours would: one after the other, the last for good.
fn mislead(mut stream: TcpStream, lists: &Mutex<VecDeque<String>>) -> Result<()> {
    let mut head = [0; 4096];
    let read = stream.read(&mut head)?;
    if !head[..read].starts_with(b"GET /v1/routes") {
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    }
    let list = lists.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")?;
    stream.write_all(list.as_bytes())?;
    // Until the proxy goes.
    std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(())
}
