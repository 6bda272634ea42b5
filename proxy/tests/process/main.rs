//! `bellhop-proxy` as a process: its command line, its signals, its limits, its successors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the helpers of a test are the test")]

mod activation;
mod harness;
mod load;
mod overload;
mod slow;
mod units;
mod upgrade;

use std::{
    io::Read as _,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use harness::{DEADLINE, PROGRAM, Proxy, listener, pass};

fn output(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(args).env_remove("BELLHOP_LISTEN").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn wrong_usage_exits_with_64_and_names_every_fault() {
    let (code, told) = output(&["--listen", "here", "--upstream", "route:1", "--workers", "none"]);
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("--listen \"here\"") && told.contains("--workers \"none\""), "{told}");
    assert_eq!(output(&["--no-such-flag"]).0, Some(64));
    let (code, told) = output(&[]);
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("no listener"), "{told}");
}

#[test]
fn help_and_version_are_no_errors() {
    let (code, help) = output(&["--help"]);
    assert_eq!(code, Some(0));
    for heading in ["Listeners:", "Routes:", "Telemetry:", "Admin:", "Limits:", "Process:", "Exit status:"] {
        assert!(help.contains(heading), "{heading}");
    }
    let (code, version) = output(&["--version"]);
    assert_eq!((code, version.trim()), (Some(0), concat!("bellhop-proxy ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn an_address_in_use_is_named_and_nothing_runs() {
    let (_listener, address) = listener();
    let address = address.to_string();
    let (code, told) = output(&["--listen", &address, "--upstream", "127.0.0.1:1", "--admin", "off"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("--listen") && told.contains(&address) && told.contains("in use"), "{told}");
}

/// F11: what is in flight finishes, new connections are still served, and the process exits with 0.
#[test]
fn sigterm_lets_connections_come_to_their_end_and_exits_with_0() {
    let (listener, address) = listener();
    let mut proxy = Proxy::before(address, "");
    let (mut client, mut server) = (proxy.dial(), listener.accept().unwrap().0);
    pass(&mut client, &mut server, b"\x01before");
    proxy.signal(Signal::TERM);
    pass(&mut client, &mut server, b"after");
    let (mut late_client, mut late_server) = (proxy.dial(), listener.accept().unwrap().0);
    pass(&mut late_client, &mut late_server, b"\x01late");
    drop((client, server));
    pass(&mut late_server, &mut late_client, b"still here");
    drop((late_client, late_server));
    assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
}

/// F11: open tunnels end at the deadline.
#[test]
fn what_is_open_at_the_drain_deadline_is_cut_and_the_exit_is_still_0() {
    let (listener, address) = listener();
    let mut proxy = Proxy::before(address, "--drain-timeout 500ms");
    let (mut client, mut server) = (proxy.dial(), listener.accept().unwrap().0);
    pass(&mut client, &mut server, b"\x01before");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ends().code(), Some(0), "{}", proxy.rest_of_log());
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
}

/// F11.
#[test]
fn a_second_sigterm_ends_the_process_at_once() {
    let (listener, address) = listener();
    let mut proxy = Proxy::before(address, "");
    let (mut client, mut server) = (proxy.dial(), listener.accept().unwrap().0);
    pass(&mut client, &mut server, b"\x01before");
    proxy.signal(Signal::TERM);
    let began = Instant::now();
    // Signals of a kind that nobody has taken yet are one signal (signal(7)).
    while proxy.child.try_wait().unwrap().is_none() && began.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(50));
        proxy.signal(Signal::TERM);
    }
    assert_eq!(proxy.ends().code(), Some(1), "{}", proxy.rest_of_log());
    assert!(began.elapsed() < DEADLINE, "it took its time");
}
