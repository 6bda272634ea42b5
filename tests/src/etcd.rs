//! A real etcd of several members, each on a host of its own.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    net::{Host, User},
    process::Process,
    wait,
};

/// Within this the members have a leader.
const START: Duration = Duration::from_secs(60);

/// The members that there are. One that was killed can be started again on what it had.
#[derive(Debug)]
pub struct TestEtcd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    host: Host,
    process: Option<Process>,
}

impl TestEtcd {
    /// Starts one member on each host, and waits until they have a leader.
    ///
    /// # Errors
    /// When they do not, or there is no etcd (Debian: `etcd-server`, `etcd-client`).
    pub fn start(hosts: &[&Host]) -> Result<Self> {
        let members = hosts.iter().map(|host| Member { host: (*host).clone(), process: None }).collect();
        let mut etcd = Self { members };
        for at in 0..hosts.len() {
            etcd.start_again(at)?;
        }
        etcd.leads()?;
        Ok(etcd)
    }

    /// Starts a member, on what it had before.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self, at: usize) -> Result<()> {
        let peer = |host: &Host| format!("{}=http://{}:2380", host.name, host.v4);
        let cluster: Vec<_> = self.members.iter().map(|member| peer(&member.host)).collect();
        let member = self.members.get_mut(at).context("no such member")?;
        let (name, v4, directory) = (&member.host.name, member.host.v4, member.host.directory());
        let (client, peer) = (format!("http://{v4}:2379"), format!("http://{v4}:2380"));
        let mut command = member.host.command(User::Root, "etcd");
        command.args(["--name", name, "--log-level", "warn", "--initial-cluster", &cluster.join(",")]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        // many tests share the machine
        command.args(["--heartbeat-interval", "200", "--election-timeout", "2000"]);
        command.arg("--data-dir").arg(directory.join(format!("{name}-data")));
        member.process = Some(Process::start(name, command, directory)?);
        Ok(())
    }

    /// Kills a member (SIGKILL).
    pub fn kill(&mut self, at: usize) {
        if let Some(member) = self.members.get_mut(at) {
            member.process = None;
        }
    }

    /// Takes a member's host off the network, or puts it back.
    ///
    /// # Errors
    /// When the link cannot be set.
    pub fn cut(&self, at: usize, cut: bool) -> Result<()> {
        let member = self.members.get(at).context("no such member")?;
        let state = if cut { "down" } else { "up" };
        member.host.run("ip", &["link", "set", "eth0", state], "").map(drop)
    }

    /// `HOST:PORT` of every member, with commas.
    #[must_use]
    pub fn addresses(&self) -> String {
        let all: Vec<_> = self.members.iter().map(|member| format!("{}:2379", member.host.v4)).collect();
        all.join(",")
    }

    /// Which member leads, once one does.
    ///
    /// # Errors
    /// When none does in time.
    pub fn leads(&self) -> Result<usize> {
        wait::until("etcd has a leader", START, || {
            let leads = (0..self.members.len()).find(|at| self.is_leader(*at).unwrap_or(false));
            if leads.is_none() {
                thread::sleep(Duration::from_millis(100));
            }
            leads.context("no member leads")
        })
    }

    /// Runs `etcdctl` against the first member.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let member = self.members.first().context("no member")?;
        let endpoint = format!("--endpoints=http://{}:2379", member.host.v4);
        member.host.run("etcdctl", &[&[&*endpoint][..], arguments].concat(), "")
    }

    fn is_leader(&self, at: usize) -> Result<bool> {
        let member = self.members.get(at).context("no such member")?;
        ensure!(member.process.is_some(), "it was killed");
        let endpoint = format!("--endpoints=http://{}:2379", member.host.v4);
        let mut command = member.host.command(User::Root, "etcdctl");
        command.env("ETCDCTL_API", "3").args([
            &endpoint,
            "--command-timeout=2s",
            "endpoint",
            "status",
            "-w",
            "json",
        ]);
        let status: Value = serde_json::from_slice(&command.output()?.stdout)?;
        let status = status.pointer("/0/Status").context("no status")?;
        let leader = status.get("leader").filter(|leader| leader.as_u64() != Some(0));
        Ok(leader.is_some() && leader == status.pointer("/header/member_id"))
    }
}
