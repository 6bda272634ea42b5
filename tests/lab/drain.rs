//! Leaving: rows F11 and F27.

use std::{
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bellhop_e2e::{Host, Network, Process, TestApp, TestProxy, User, client, paths, wait};
use libtest_mimic::Trial;

use crate::{apart, load::Load, stage::PORT};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("f11_a_proxy_told_to_go_under_load_loses_nothing", under_load),
        apart("f11_an_open_websocket_ends_at_the_deadline", open_tunnel),
        apart("f11_a_second_sigterm_ends_at_once", second_signal),
        apart("f27_sockets_are_handed_to_the_proxys_own_user_and_to_root_alone", only_own_user),
    ]
}

const SECOND: Duration = Duration::from_secs(1);

/// A caller with a proxy, and what it calls.
struct Leaving {
    proxy: TestProxy,
    app: TestApp,
    tunnels: TestApp,
    network: Network,
}

impl Leaving {
    fn set(drain_timeout: &str) -> Result<Self> {
        let network = Network::with_hosts(&["caller", "callee"])?;
        let app = TestApp::http(network.host("callee"), PORT, "baseline")?;
        let tunnels = TestApp::tcp(network.host("callee"), PORT + 1, upgrade)?;
        let arguments = ["--drain-timeout", drain_timeout];
        let proxy = TestProxy::intercepting(network.host("caller"), &[], &arguments)?;
        Ok(Self { proxy, app, tunnels, network })
    }

    fn caller(&self) -> &Host {
        self.network.host("caller")
    }

    /// Tells the proxy to go, and waits until it says that it is going.
    fn terminate(&self) -> Result<()> {
        self.proxy.terminate()?;
        wait::until("the proxy to be unready", 5 * SECOND, || {
            let ready = self.proxy.status("/readyz")?;
            ensure!(ready.status == 503, "{ready:?}");
            Ok(())
        })
    }

    /// An upgraded connection through the proxy.
    fn websocket(&self) -> Result<std::net::TcpStream> {
        self.caller().enter(|| {
            let mut stream = client::dial(self.tunnels.v4())?;
            stream.write_all(
                b"GET /chat HTTP/1.1\r\nHost: callee\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.extend(byte);
            }
            ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
            Ok(stream)
        })
    }
}

/// Answers 101 and echoes.
fn upgrade(mut stream: std::net::TcpStream) {
    let mut head = [0; 2048];
    let _ = stream.read(&mut head);
    let _ = stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    if let Ok(mut back) = stream.try_clone() {
        let _ = std::io::copy(&mut stream, &mut back);
    }
}

fn echoes(stream: &mut std::net::TcpStream) -> Result<()> {
    let mut word = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut word)?;
    ensure!(&word == b"ping", "{word:?}");
    Ok(())
}

/// F11.
fn under_load() -> Result<()> {
    let mut leaving = Leaving::set("20s")?;
    let to = leaving.app.v4();
    let fine = |reply: &bellhop_e2e::Reply| {
        ensure!(reply.status == 200, "{reply:?}");
        Ok(())
    };
    let load = Load::start(leaving.caller(), to, 8, "none", fine);
    load.flows(100)?;
    let caller = leaving.caller().clone();
    let slow = thread::spawn(move || client::get(&caller, to, "/?wait=3000", &[]));
    // Under way: one more request than the load has had answered or has in flight is hard to tell; its connection is.
    wait::until("the slow request", 5 * SECOND, || {
        ensure!(leaving.app.served() > load.answered(), "not there yet");
        Ok(())
    })?;
    leaving.terminate()?;
    // It still accepts, and each answer says that its connection closes.
    let (answered, ()) = (load.answered(), load.flows(200)?);
    ensure!(load.answered() > answered, "no traffic while it drains");
    let reply = client::get(leaving.caller(), to, "/", &[])?;
    ensure!(reply.status == 200 && reply.header("connection") == "close", "{reply:?}");
    let (answered, dialled) = load.stop()?;
    ensure!(dialled > 50, "{answered} answers on {dialled} connections: they were not told to close");
    let slow = slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    ensure!(slow.status == 200, "{slow:?}");
    let status = leaving.proxy.ended_within(15 * SECOND)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// F11.
fn open_tunnel() -> Result<()> {
    let mut leaving = Leaving::set("3s")?;
    let mut websocket = leaving.websocket()?;
    echoes(&mut websocket)?;
    let from = Instant::now();
    leaving.terminate()?;
    echoes(&mut websocket)?;
    ensure!(
        client::get(leaving.caller(), leaving.app.v4(), "/", &[])?.status == 200,
        "it does not accept any more"
    );
    let (rest, _) = client::read_to_end(&mut websocket)?;
    ensure!(rest.is_empty(), "{rest:?}");
    let took = from.elapsed();
    ensure!(took > 2 * SECOND && took < 8 * SECOND, "the tunnel ended after {took:?}");
    let status = leaving.proxy.ended_within(5 * SECOND)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// F11.
fn second_signal() -> Result<()> {
    let mut leaving = Leaving::set("60s")?;
    let mut websocket = leaving.websocket()?;
    echoes(&mut websocket)?;
    leaving.terminate()?;
    echoes(&mut websocket)?;
    let from = Instant::now();
    leaving.proxy.terminate()?;
    leaving.proxy.ended_within(5 * SECOND)?;
    ensure!(from.elapsed() < 2 * SECOND, "it took {:?}", from.elapsed());
    Ok(())
}

/// F27: the admin socket's mode keeps others away; where somebody has widened it, the proxy itself does.
fn only_own_user() -> Result<()> {
    let network = Network::with_hosts(&["host"])?;
    let host = network.host("host");
    let admin = host.directory().join("admin");
    let socket = format!("unix:{}", admin.display());
    let mut proxy = TestProxy::plain(
        host,
        &["--listen", "127.0.0.1:8000", "--upstream", "127.0.0.1:1", "--admin", &socket],
    )?;
    std::fs::set_permissions(&admin, std::fs::Permissions::from_mode(0o666))?;
    let successor = |user| {
        let mut command = host.command(user, paths::program("bellhop-proxy")?);
        command.args(["--listen", "127.0.0.1:8000", "--upstream", "127.0.0.1:1", "--admin", &socket]);
        command.args(["--take-over", &socket, "--status-listen", "127.0.0.1:15020"]);
        anyhow::Ok(command)
    };
    let output = successor(User::App)?.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("403"), "{said}");
    proxy.alive()?;
    ensure!(proxy.metric("bellhop_proxy_handovers_total")? == 1.0, "it is not counted");
    // A successor takes no admin socket that others may connect to.
    std::fs::set_permissions(&admin, std::fs::Permissions::from_mode(0o600))?;
    let root = Process::start("successor", successor(User::Root)?, host.directory())?;
    let status = proxy.ended_within(15 * SECOND)?;
    ensure!(status.success(), "{status}");
    drop(root);
    Ok(())
}
