//! A proxy whose listeners were opened by whoever started it (`LISTEN_FDS`, sd_listen_fds(3)): row F27.

use std::{
    fs::{Permissions, set_permissions},
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    harness::{PROGRAM, Proxy, listener, pass, unused},
    load::{self, Load},
};

/// A command that starts the proxy with these two sockets as descriptors 3 and 4. They come as standard input and output
/// and are moved by a shell, whose process the proxy then is.
fn with_sockets(sockets: [&TcpListener; 2], names: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    let line =
        "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec $PROXY ".to_owned() + arguments;
    command
        .args(["-c", &line])
        .env("PROXY", PROGRAM)
        .env("BELLHOP_LOG_FORMAT", "json")
        .env("BELLHOP_ADMIN", "off");
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    let [first, second] = sockets.map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    command
}

fn refused(mut command: Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

/// F27, as systemd does it: the sockets stay open while one process ends and the next one starts.
#[test]
fn f27_proxies_that_are_handed_the_same_sockets_one_after_another_lose_nothing() {
    let upstream = load::server();
    let ((listen, address), (status, _)) = (listener(), listener());
    let status_address = status.local_addr().unwrap();
    let arguments = format!(
        "--listen {address} --upstream {upstream} --status-listen {status_address} --drain-timeout 20s"
    );
    let start = || Proxy::from_command(&mut with_sockets([&listen, &status], "listen:status", &arguments));
    let mut proxy = start();
    assert_eq!(proxy.addresses, [address]);
    let load = Load::start(address);
    for _ in 0..4 {
        load.flows(150);
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
        proxy = start();
        assert!(std::net::TcpStream::connect(status_address).is_ok());
    }
    load.flows(150);
    let answered = load.answered();
    let failures = load.stop();
    assert!(failures.is_empty(), "{} of {answered} failed, at first {}", failures.len(), failures[0]);
}

/// F27: both proxies have the same sockets from the supervisor, and the admin socket passes from one to the next.
#[test]
fn f27_a_proxy_that_is_handed_sockets_takes_over_from_one_that_was_handed_the_same() {
    let upstream = load::server();
    let ((listen, address), (status, status_address)) = (listener(), listener());
    let directory = tempfile::tempdir().unwrap();
    let admin = directory.path().join("admin");
    let arguments = format!(
        "--listen {address} --upstream {upstream} --status-listen {status_address} --admin unix:{0} --take-over unix:{0}",
        admin.display()
    );
    let start = || Proxy::from_command(&mut with_sockets([&listen, &status], "listen:status", &arguments));
    let mut proxy = start();
    let load = Load::start(address);
    for _ in 0..3 {
        load.flows(150);
        let mut before = std::mem::replace(&mut proxy, start());
        assert_eq!(before.ends().code(), Some(0), "{}", before.rest_of_log());
        assert!(admin.exists(), "the admin socket's file is the next one's");
    }
    load.flows(150);
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn sockets_that_fit_no_listener_are_refused_by_name() {
    let ((one, first), (two, second)) = (listener(), listener());
    let pair = |listen: SocketAddr| format!("--listen {listen} --upstream 127.0.0.1:1");
    for (names, arguments, told) in [
        ("listen:bellhop-proxy.socket", pair(first), vec!["bellhop-proxy.socket", "outbound", "status"]),
        ("listen", pair(first), vec!["LISTEN_FDNAMES", "2", "1"]),
        ("", pair(first), vec!["LISTEN_FDNAMES"]),
        ("listen:status", pair(first), vec!["status", "fits no listener"]),
        ("listen:listen", pair(first), vec!["listen", "fits no listener"]),
        ("outbound:listen", pair(second), vec!["outbound", "fits no listener"]),
    ] {
        let said = refused(with_sockets([&one, &two], names, &arguments));
        for word in told {
            assert!(said.contains(word), "{names:?}: {word} in {said}");
        }
    }
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let (one, address) = listener();
    let arguments = format!("--listen {address} --upstream 127.0.0.1:1");
    let mut command = with_sockets([&one, &one], "status:listen", &arguments);
    command.stdin(Stdio::null());
    assert!(refused(command).contains("no listening"));
    // A descriptor that is not there.
    let mut command = with_sockets([&one, &one], "listen:status:admin", &arguments);
    assert!(
        refused({
            command.env("LISTEN_FDS", "3");
            command
        })
        .contains("no listening")
    );
}

/// Whoever may connect there may drain the proxy; systemd's own default is that everybody may.
#[test]
fn an_admin_socket_that_is_open_to_others_than_its_owner_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    let admin = UnixListener::bind(&path).unwrap();
    let (listen, address) = listener();
    let arguments = format!("--listen {address} --upstream 127.0.0.1:1 --admin unix:{}", path.display());
    let with = |mode| {
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let mut command = with_sockets([&listen, &listen], "listen:admin", &arguments);
        command.stdout(Stdio::from(OwnedFd::from(admin.try_clone().unwrap()))).env_remove("BELLHOP_ADMIN");
        command
    };
    for (mode, told) in [(0o666, "0666"), (0o660, "0660"), (0o604, "0604"), (0o601, "0601")] {
        let said = refused(with(mode));
        assert!(said.contains(told) && said.contains("SocketMode=0600"), "{said}");
    }
    let mut proxy = Proxy::from_command(&mut with(0o600));
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
    assert!(path.exists(), "the file is of whoever made the socket");
}

/// The variables stay in the environment of whatever a service starts; they are not meant for that.
#[test]
fn sockets_for_another_process_are_none_of_this_one() {
    let (server, upstream) = listener();
    let line = format!("LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=listen exec $PROXY --upstream {upstream}");
    let proxy = Proxy::start(&line);
    let (mut client, mut served) = (proxy.dial(), server.accept().unwrap().0);
    pass(&mut client, &mut served, b"\x01word");
}

/// F27 by systemd's own tool.
#[test]
fn f27_systemd_socket_activate_starts_a_proxy_that_serves() {
    const TOOL: &str = "systemd-socket-activate";
    let there = Command::new(TOOL).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{TOOL} is missing");
        println!("skipped: {TOOL} is missing (Debian package systemd)");
        return;
    }
    let upstream = load::server();
    let address = unused();
    let mut command = Command::new(TOOL);
    command.args(["-l", &address.to_string(), "--fdname=listen", "-E", "BELLHOP_LOG_FORMAT=json", PROGRAM]);
    command.args(["--listen", &address.to_string(), "--upstream", &upstream.to_string(), "--admin", "off"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It starts the proxy with the first connection, which is served.
    crate::harness::until("the tool listens", || std::net::TcpStream::connect(address).ok());
    let load = Load::start(address);
    load.flows(50);
    let failures = load.stop();
    let _ = child.kill();
    let _ = child.wait();
    assert!(failures.is_empty(), "{failures:?}");
}
