//! The proxy's own listeners, of a whole proxy on loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::{Duration, Instant},
};

use crate::{
    Config,
    app::{Running, start},
};

const DEADLINE: Duration = Duration::from_secs(10);

fn proxy(flags: &[&str]) -> Running {
    // Nobody accepts, but the kernel does: connections stand.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    std::mem::forget(upstream);
    let fixed = ["--listen", "127.0.0.1:0", "--upstream", &address, "--workers", "1"];
    start(Config::from_args([&fixed, flags].concat()).unwrap()).unwrap()
}

fn exchange(mut socket: impl Read + Write, head: &str) -> String {
    socket.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn ask(address: SocketAddr, head: &str) -> String {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    exchange(socket, head)
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost"))
}

#[test]
fn admin_tells_the_configuration_the_routes_and_the_metrics() {
    let proxy = proxy(&["--admin", "127.0.0.1:0", "--namespace", "shop"]);
    let admin = proxy.admin().unwrap();
    assert!(get(admin, "/config").contains("\"namespace\": \"shop\""), "{}", get(admin, "/config"));
    let routes = get(admin, "/routes?limit=3");
    assert!(routes.contains("\"loaded\": false") && routes.contains("\"keys\": []"), "{routes}");
    let metrics = get(admin, "/metrics");
    for family in [
        "build_info{version=",
        "watch_state{state=\"off\"} 1",
        "connection_events_total{event=\"accepted\"} 0",
    ] {
        assert!(metrics.contains(&format!("bellhop_proxy_{family}")), "{family} in {metrics}");
    }
    assert!(get(admin, "/").contains("POST /drain"));
    assert!(get(admin, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(get(admin, "/drain").starts_with("HTTP/1.1 405"), "a link is not to drain it");
    assert!(ask(admin, "HEAD /livez HTTP/1.1\r\nhost: localhost").ends_with("\r\n\r\n"));
}

#[test]
fn every_metric_has_a_help_text_and_follows_the_naming_conventions() {
    let proxy = proxy(&["--admin", "127.0.0.1:0"]);
    let metrics = get(proxy.admin().unwrap(), "/metrics");
    let (_, metrics) = metrics.split_once("\r\n\r\n").unwrap();
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families = 0;
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        families += 1;
        assert!(name.starts_with("bellhop_proxy_"), "{name}");
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name}");
        assert!(
            include_str!("../../OPERATING.md").contains(&format!("`{name}`")),
            "{name} is not in OPERATING.md"
        );
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
    }
    assert!(families > 15, "{metrics}");
}

#[test]
fn b21_a_loopback_listener_answers_loopback_names_and_no_web_page() {
    let proxy = proxy(&["--admin", "127.0.0.1:0", "--status-listen", "127.0.0.1:0"]);
    let admin = proxy.admin().unwrap();
    for address in [admin, proxy.status().unwrap()] {
        for head in [
            "GET /metrics HTTP/1.1\r\nhost: evil.example",
            "GET /metrics HTTP/1.0",
            "GET /metrics HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example",
            "GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost",
        ] {
            let answer = ask(address, head);
            assert!(answer.contains(" 403 ") && !answer.contains("bellhop_proxy_"), "{head}: {answer}");
        }
    }
    let metrics = get(admin, "/metrics");
    assert!(metrics.contains("bellhop_proxy_admin_refused_total{cause=\"host\"} 6"), "{metrics}");
    assert!(metrics.contains("bellhop_proxy_admin_refused_total{cause=\"origin\"} 2"), "{metrics}");
    let drain = ask(admin, "POST /drain HTTP/1.1\r\nhost: localhost\r\norigin: null\r\ncontent-length: 0");
    assert!(drain.contains(" 403 "), "{drain}");
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"), "it did not drain");
}

#[test]
fn the_status_listener_tells_health_and_metrics_alone() {
    let proxy = proxy(&["--admin", "off", "--status-listen", "0.0.0.0:0"]);
    assert_eq!(proxy.admin(), None);
    let status = SocketAddr::from(([127, 0, 0, 1], proxy.status().unwrap().port()));
    let get = |path: &str| ask(status, &format!("GET {path} HTTP/1.1\r\nhost: pod-7.example"));
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    for path in ["/", "/config", "/routes", "/drain"] {
        assert!(get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    let drain = ask(status, "POST /drain HTTP/1.1\r\nhost: x\r\ncontent-length: 0");
    assert!(drain.starts_with("HTTP/1.1 404"), "{drain}");
}

#[test]
fn a_unix_socket_is_for_its_owner_and_replaces_one_that_nobody_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let flag = format!("unix:{}", path.display());
    let proxy = proxy(&["--admin", &flag]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |head: &str| {
        let socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        exchange(socket, head)
    };
    assert!(ask("GET /config HTTP/1.1\r\nhost: anything").starts_with("HTTP/1.1 200"));
    assert!(ask("GET /config HTTP/1.1\r\nhost: localhost\r\norigin: null").contains(" 403 "));
    // Another proxy does not take it away from one that serves.
    let config = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--admin", &flag];
    assert!(start(Config::from_args(config).unwrap()).is_err());
    assert!(ask("GET /livez HTTP/1.1\r\nhost: x").starts_with("HTTP/1.1 200"));
    drop(proxy);
    assert!(!path.exists());
}

#[test]
fn without_a_table_readiness_waits_two_seconds_or_for_ever() {
    let nobody = "http://127.0.0.1:9";
    let waiting = proxy(&["--admin", "127.0.0.1:0", "--control", nobody]);
    let strict = proxy(&["--admin", "127.0.0.1:0", "--control", nobody, "--require-routes"]);
    let begun = Instant::now();
    let first = get(waiting.admin().unwrap(), "/readyz");
    assert!(first.starts_with("HTTP/1.1 503") && first.contains("no routes yet"), "{first}");
    while !get(waiting.admin().unwrap(), "/readyz").starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert!(get(strict.admin().unwrap(), "/readyz").starts_with("HTTP/1.1 503"));
}

#[test]
fn draining_is_unready_at_once() {
    let proxy = proxy(&["--admin", "127.0.0.1:0"]);
    let admin = proxy.admin().unwrap();
    // A connection in use keeps the proxy from ending while the test looks.
    let held = TcpStream::connect(proxy.addresses()[0]).unwrap();
    let begun = Instant::now();
    while !get(admin, "/metrics").contains("connection_events_total{event=\"accepted\"} 1") {
        assert!(begun.elapsed() < DEADLINE);
    }
    let drain = ask(admin, "POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0");
    assert!(drain.starts_with("HTTP/1.1 202"), "{drain}");
    let ready = get(admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("draining"), "{ready}");
    drop(held);
    proxy.join();
}
