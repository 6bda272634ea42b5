//! A lab network: one namespace a host, each tied by a veth pair to a bridge that has a namespace of its own, so that
//! nothing of it shows on the machine. IPv4 and IPv6.
//!
//! Names carry the id of the process that made them, which is the record of what must go: a network is removed when
//! it is dropped, a panic included, and what a killed process left is removed by the next one that makes a network.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tempfile::TempDir;

/// What all namespaces of all labs begin with.
const PREFIX: &str = "bellhop";
static NETWORKS: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// As whom a program runs in a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// root, who writes packet filters.
    Root,
    /// The proxy, whose traffic is not redirected.
    Proxy,
    /// An application.
    App,
}

impl User {
    /// The user id; those of proxies and applications belong to nobody.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Proxy => 61_337,
            Self::App => 61_001,
        }
    }
}

/// Some hosts on one bridge. Dropping it kills what still runs in them and removes them.
#[derive(Debug)]
pub struct Network {
    hosts: BTreeMap<String, Host>,
    namespaces: Vec<String>,
    directory: TempDir,
}

/// One host of a network.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    namespace: String,
    directory: Arc<Path>,
}

impl Network {
    /// Makes a network with these hosts. Programs in them can resolve each host's name to its IPv4 address, and the
    /// name with `6` behind it to its IPv6 address.
    ///
    /// # Errors
    /// When `ip` fails, which it does without root.
    pub fn with_hosts(names: &[&str]) -> Result<Self> {
        SWEEP.call_once(sweep);
        let id = format!("{PREFIX}{}-{}", process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        // Programs of several users write here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        let mut network = Self { hosts: BTreeMap::new(), namespaces: Vec::new(), directory };
        let switch = format!("{id}-switch");
        network.add_namespace(&switch)?;
        ip(
            &switch,
            "link add bridge type bridge forward_delay 0 mcast_snooping 0\nlink set bridge up\nlink set lo up\n",
        )?;
        for (at, name) in names.iter().enumerate() {
            network.add_host(name, u8::try_from(at)? + 11, &id, &switch)?;
        }
        network.write_hosts_files()?;
        Ok(network)
    }

    /// The host of this name.
    ///
    /// # Panics
    /// When there is none: the test is wrong.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that asks for a host that it did not make is wrong")]
    pub fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).expect("no such host in this network")
    }

    /// Where programs write their output and their state.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn add_namespace(&mut self, name: &str) -> Result<()> {
        run(Command::new("ip").args(["netns", "add", name]), "")?;
        self.namespaces.push(name.to_owned());
        Ok(())
    }

    fn add_host(&mut self, name: &str, number: u8, id: &str, switch: &str) -> Result<()> {
        let namespace = format!("{id}-{name}");
        self.add_namespace(&namespace)?;
        let v4 = Ipv4Addr::new(10, 77, 0, number);
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number));
        ip(
            switch,
            &format!(
                "link add port{number} type veth peer name eth0 netns {namespace}\n\
                 link set port{number} master bridge\nlink set port{number} up\n"
            ),
        )?;
        ip(
            &namespace,
            &format!(
                "link set lo up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\nlink set eth0 up\n"
            ),
        )?;
        let directory = self.directory.path().into();
        self.hosts.insert(name.to_owned(), Host { name: name.to_owned(), v4, v6, namespace, directory });
        Ok(())
    }

    /// `ip netns exec` mounts `/etc/netns/NAME/hosts` over `/etc/hosts`.
    fn write_hosts_files(&self) -> Result<()> {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for Host { name, v4, v6, .. } in self.hosts.values() {
            text += &format!("{v4} {name}\n{v6} {name}6\n");
        }
        for host in self.hosts.values() {
            let directory = Path::new("/etc/netns").join(&host.namespace);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("hosts"), &text)?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.namespaces.iter().rev().for_each(|name| remove(name));
        if std::env::var_os("BELLHOP_LAB_KEEP").is_some() {
            self.directory.disable_cleanup(true);
        }
    }
}

impl Host {
    /// A command that will run in this host.
    #[must_use]
    pub fn command(&self, user: User, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        if user != User::Root {
            let id = user.id().to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
            // The checkout may lie where these users cannot read.
            command.args(["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--"]);
        }
        command.arg(program.as_ref()).env("HOME", &*self.directory);
        command
    }

    /// Runs a command in this host to its end, as root.
    ///
    /// # Errors
    /// When it fails; the error holds its output.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        run(self.command(User::Root, program).args(arguments), input)
    }

    /// Runs `work` on a thread of its own that sees this host's network.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does, so that assertions may stand in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.move_in()?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into this host's network for good.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn move_in(&self) -> Result<()> {
        let path = PathBuf::from("/run/netns").join(&self.namespace);
        let namespace = File::open(&path).with_context(|| path.display().to_string())?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter {}", path.display()))
    }

    /// Where programs of this network write their output and their state.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn ip(namespace: &str, batch: &str) -> Result<()> {
    run(Command::new("ip").args(["-n", namespace, "-batch", "-"]), batch).map(drop)
}

fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ({}):\n{text}{errors}", output.status);
    Ok(text)
}

/// Kills what runs in a namespace and removes it.
fn remove(namespace: &str) {
    let pids = run(Command::new("ip").args(["netns", "pids", namespace]), "").unwrap_or_default();
    let others = pids.split_whitespace().filter(|pid| *pid != process::id().to_string());
    for pid in others.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = Command::new("ip").args(["netns", "delete", namespace]).stderr(Stdio::null()).status();
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(namespace));
}

/// Removes what processes left that were killed.
fn sweep() {
    let Ok(list) = run(Command::new("ip").args(["netns", "list"]), "") else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists())
        {
            remove(name);
        }
    }
}

/// Whether this process may make networks.
///
/// # Errors
/// When it may not; the error says what is missing.
pub fn allowed() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    Ok(())
}
