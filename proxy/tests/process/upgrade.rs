//! A proxy that another takes the place of: row F27.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    harness::{DEADLINE, PROGRAM, Proxy, listener, pass, until, unused},
    load::{self, Load},
};

/// A place for proxies that follow one another.
struct Place {
    directory: TempDir,
    listen: SocketAddr,
    status: SocketAddr,
    upstream: SocketAddr,
}

impl Place {
    fn new(upstream: SocketAddr) -> Self {
        let (listen, status) = (unused(), unused());
        Self { directory: tempfile::tempdir().unwrap(), listen, status, upstream }
    }

    fn admin(&self) -> PathBuf {
        self.directory.path().join("admin")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let admin = format!("unix:{}", self.admin().display());
        command.args(["--listen", &self.listen.to_string(), "--upstream", &self.upstream.to_string()]);
        command.args(["--admin", &admin, "--take-over", &admin, "--status-listen", &self.status.to_string()]);
        command.args(more).env("BELLHOP_LOG_FORMAT", "json").stdout(Stdio::null());
        command
    }

    fn proxy(&self, more: &[&str]) -> Proxy {
        Proxy::from_command(&mut self.command(more))
    }

    /// What the admin socket answers.
    fn ask(&self, request: &str) -> String {
        ask(&self.admin(), request)
    }

    /// The process that answers on the status listener says this.
    fn metric(&self, series: &str) -> Option<u64> {
        let metrics = self.ask("GET /metrics");
        let line = metrics.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn ask(admin: &Path, request: &str) -> String {
    let Ok(mut socket) = UnixStream::connect(admin) else { return String::new() };
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = socket
        .write_all(format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes());
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    answer
}

/// F27: four times, and in the midst of traffic of every kind.
#[test]
fn f27_a_proxy_replaced_in_place_under_load_loses_nothing() {
    let place = Place::new(load::server());
    let mut proxy = place.proxy(&[]);
    let load = Load::start(place.listen);
    load.flows(200);
    for round in 0..4 {
        let successor = place.proxy(&[]);
        let mut before = std::mem::replace(&mut proxy, successor);
        assert_eq!(before.ends().code(), Some(0), "round {round}: {}", before.rest_of_log());
        load.flows(200);
        assert!(place.ask("GET /readyz").starts_with("HTTP/1.1 200"), "the successor has the admin socket");
        assert!(std::net::TcpStream::connect(place.status).is_ok(), "and the status listener");
    }
    let (answered, dialled) = (load.answered(), load.dialled());
    let failures = load.stop();
    assert!(failures.is_empty(), "{} of {answered} failed, at first {}", failures.len(), failures[0]);
    assert!(answered > 800 && dialled > 20, "{answered} answers on {dialled} connections");
    assert_eq!(proxy.child.try_wait().unwrap(), None);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ends().code(), Some(0));
    assert!(!place.admin().exists(), "the last one takes the admin socket's file with it");
}

/// F27: what is open stays with the proxy that accepted it, to its own end.
#[test]
fn f27_open_tunnels_end_with_the_proxy_that_has_them_and_new_ones_go_to_the_successor() {
    let (server, upstream) = listener();
    let place = Place::new(upstream);
    let mut first = place.proxy(&[]);
    let mut client = std::net::TcpStream::connect(place.listen).unwrap();
    let mut served = server.accept().unwrap().0;
    pass(&mut client, &mut served, b"\x01before");
    let second = place.proxy(&[]);
    first.tells("a successor serves the listeners");
    pass(&mut client, &mut served, b"after");
    let mut late = std::net::TcpStream::connect(place.listen).unwrap();
    let mut late_served = server.accept().unwrap().0;
    pass(&mut late, &mut late_served, b"\x01late");
    assert_eq!(first.child.try_wait().unwrap(), None, "it has a tunnel still");
    drop((client, served));
    assert_eq!(first.ends().code(), Some(0), "{}", first.rest_of_log());
    pass(&mut late_served, &mut late, b"still here");
    drop(second);
}

/// F27: a successor that is not ready accepts nothing, and its end changes nothing.
#[test]
fn f27_a_successor_that_ends_before_it_is_ready_leaves_the_proxy_unharmed() {
    let place = Place::new(load::server());
    let mut proxy = place.proxy(&[]);
    let load = Load::start(place.listen);
    load.flows(50);
    for round in 1..=2 {
        // It asks a control plane that is not there, and waits for its routes.
        let mut successor = place.proxy(&["--control", "http://127.0.0.1:1", "--require-routes"]);
        load.flows(50);
        assert!(place.ask("GET /readyz").starts_with("HTTP/1.1 200"), "the one that serves answers");
        // While one is on its way another is turned away.
        let second = place.command(&[]).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(1), "{told}");
        assert!(told.contains("cannot take over"), "{told}");
        successor.signal(Signal::KILL);
        successor.ends();
        until("the broken handover to be counted", || {
            let abandoned = place.metric("bellhop_proxy_handovers_total{outcome=\"abandoned\"}")?;
            (abandoned >= 2 * round).then_some(())
        });
        assert!(place.admin().exists());
    }
    load.flows(50);
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
    // It can be replaced still.
    let _successor = place.proxy(&[]);
    assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
    assert!(place.admin().exists());
}

/// F27: nobody watches a successor that hangs for ever; it is given up, and the next one has its turn.
#[test]
fn f27_a_successor_that_never_becomes_ready_is_given_up_ends_and_the_next_one_takes_over() {
    let place = Place::new(load::server());
    let mut proxy = place.proxy(&[]);
    let mut stuck = place.proxy(&["--control", "http://127.0.0.1:1", "--require-routes"]);
    proxy.tells("a successor did not come to serve; this proxy goes on");
    assert_eq!(stuck.ends().code(), Some(1));
    assert!(stuck.rest_of_log().contains("was not ready in time"));
    assert_eq!(place.metric("bellhop_proxy_handovers_total{outcome=\"abandoned\"}"), Some(1));
    let load = Load::start(place.listen);
    load.flows(50);
    let _next = place.proxy(&[]);
    assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
    load.flows(50);
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
    assert!(place.admin().exists(), "the file is the next one's");
}

/// A drain of the successor before it serves ends that one alone.
#[test]
fn f27_a_successor_that_is_told_to_go_before_it_is_ready_takes_no_connection() {
    let place = Place::new(load::server());
    let mut proxy = place.proxy(&[]);
    let mut successor = place.proxy(&["--control", "http://127.0.0.1:1", "--require-routes"]);
    successor.signal(Signal::TERM);
    assert_eq!(successor.ends().code(), Some(0), "{}", successor.rest_of_log());
    let load = Load::start(place.listen);
    load.flows(50);
    assert!(load.stop().is_empty());
    assert!(place.admin().exists(), "the file is the one before's");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ends().code(), Some(0));
    assert!(!place.admin().exists());
}

#[test]
fn sockets_are_handed_over_on_a_unix_socket_alone_and_to_those_who_ask_for_it_properly() {
    let place = Place::new(load::server());
    let mut proxy = place.proxy(&[]);
    let answer = place.ask("POST /handover");
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    proxy.signal(Signal::TERM);
    proxy.ends();
    // On a TCP listener the path does not exist.
    let (_server, upstream) = listener();
    let admin = unused();
    let _proxy = Proxy::start(&format!("exec $PROXY --upstream {upstream} --admin {admin}"));
    let mut socket = std::net::TcpStream::connect(admin).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let asked = "POST /handover HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: bellhop-handover/1\r\n\r\n";
    socket.write_all(asked.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}
