//! The lab itself: what the other cases stand on.

use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_e2e::{Network, TestApp, User, client, wait};
use libtest_mimic::Trial;

use crate::apart;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        apart("network::hosts_reach_each_other_over_both_families", both_families),
        apart("network::a_network_leaves_nothing_behind", nothing_left),
    ]
}

fn both_families() -> Result<()> {
    let network = Network::with_hosts(&["here", "there"])?;
    let (here, there) = (network.host("here"), network.host("there"));
    let app = TestApp::http(there, 8080, "baseline")?;
    for to in [app.v4(), app.v6()] {
        ensure!(client::get(here, to, "/", &[])?.version()? == "baseline", "{to}, HTTP/1.1");
        ensure!(client::get2(here, to, "/", &[])?.version()? == "baseline", "{to}, HTTP/2");
    }
    let names =
        String::from_utf8(here.command(User::App, "getent").args(["hosts", "there6"]).output()?.stdout)?;
    ensure!(names.starts_with(&there.v6.to_string()), "{names}");
    Ok(())
}

fn nothing_left() -> Result<()> {
    let network = Network::with_hosts(&["alone"])?;
    let host = network.host("alone").clone();
    let mut child = host.command(User::App, "sleep").arg("600").spawn()?;
    let name = format!("/proc/{}/comm", child.id());
    wait::until("the program", Duration::from_secs(10), || {
        ensure!(std::fs::read_to_string(&name)?.trim() == "sleep", "it has not begun");
        Ok(())
    })?;
    drop(network);
    ensure!(!child.wait()?.success(), "the program of a removed host ended by itself");
    ensure!(!host.directory().exists(), "{} is still there", host.directory().display());
    ensure!(host.enter(|| Ok(())).is_err(), "the namespace is still there");
    Ok(())
}
