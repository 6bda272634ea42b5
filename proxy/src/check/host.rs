//! What the host says, read once: who listens where (proc(5), `net/tcp`), which processes there are, what the proxy tells
//! of itself.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use serde_json::Value;

use super::{admin, flags::Wanted};

/// A listening TCP socket of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    /// Whose it is.
    pub(super) uid: u32,
    inode: u64,
}

/// A process of this host, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
    /// The user that it acts as.
    pub(super) uid: u32,
    /// Whether it has this network; unknown where that may not be read.
    pub(super) here: Option<bool>,
}

/// What the host says.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) listening: Vec<Listening>,
    pub(super) processes: Vec<Process>,
    /// The proxy's user: as told, or who has the outbound port.
    pub(super) uid: Option<u32>,
    /// The proxy's effective configuration, by its admin listener.
    pub(super) config: Option<Value>,
}

impl Host {
    pub(super) fn look(wanted: &Wanted) -> Self {
        let mut listening = Vec::new();
        for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            listening.extend(text.lines().skip(1).filter_map(listening_of));
        }
        let has_outbound = |one: &&Listening| one.port == wanted.plan.outbound_port();
        let uid = wanted.uid.or_else(|| listening.iter().find(has_outbound).map(|one| one.uid));
        let config = admin::get(&wanted.admin, "/config").ok().and_then(|answer| answer.json());
        Self { listening, processes: processes(), uid, config }
    }

    /// Who listens on this port.
    pub(super) fn on(&self, port: u16) -> impl Iterator<Item = &Listening> {
        self.listening.iter().filter(move |one| one.port == port)
    }

    /// The processes that have this socket; none where that may not be read.
    pub(super) fn owners(&self, of: &Listening) -> Vec<&Process> {
        let target = PathBuf::from(format!("socket:[{}]", of.inode));
        let has = |process: &&Process| {
            let descriptors =
                fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
            descriptors.filter_map(|one| fs::read_link(one.path()).ok()).any(|link| link == target)
        };
        self.processes
            .iter()
            .filter(|process| process.uid == of.uid || process.uid == 0)
            .filter(has)
            .collect()
    }

    /// A list of addresses in the proxy's configuration.
    pub(super) fn configured(&self, listener: &str) -> Vec<std::net::SocketAddr> {
        let listed =
            self.config.as_ref().and_then(|config| config.pointer(&format!("/listeners/{listener}")));
        let listed = listed.and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(|address| address.as_str()?.parse().ok()).collect()
    }
}

/// One line of `net/tcp` or `net/tcp6`: number, local and remote address, state, queues, timers, retries, user, time-out,
/// inode. Addresses are words of 32 bits in the machine's order, in hexadecimal.
fn listening_of(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state) = (fields.get(1)?, fields.get(3)?);
    if *state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some(Listening {
        ip: ip_of(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

fn ip_of(hexadecimal: &str) -> Option<IpAddr> {
    let word =
        |at: usize| u32::from_str_radix(hexadecimal.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hexadecimal.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

fn processes() -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let process = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        // Real, effective, saved, of the file system: sockets belong to the effective one.
        let uid = field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
        let here = fs::read_link(format!("/proc/{pid}/ns/net")).ok().map(|theirs| Some(theirs) == own);
        Some(Process { pid, name: field("Name:")?.trim().to_owned(), uid, here })
    };
    pids.filter_map(process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_with_their_owner() {
        let line = "   0: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 4242 1 x";
        let found = listening_of(line).unwrap();
        assert_eq!(
            (found.ip, found.port, found.uid, found.inode),
            ("127.0.0.1".parse().unwrap(), 15001, 1337, 4242)
        );
        let line = "   1: 00000000000000000000000001000000:3A99 00000000000000000000000000000000:0000 0A \
                    00000000:00000000 00:00000000 00000000     0        0 7 1 x";
        assert_eq!(listening_of(line).unwrap().ip, "::1".parse::<IpAddr>().unwrap());
        let established = line.replace(" 0A ", " 01 ");
        assert_eq!(listening_of(&established), None);
        for broken in ["", "a b c", "0: 0100007F 0 0A", "0: zz:1 0 0A 0 0 0 0 0 0"] {
            assert_eq!(listening_of(broken), None, "{broken}");
        }
    }

    #[test]
    fn this_process_is_seen_with_its_network() {
        let all = processes();
        let own = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert_eq!((own.uid, own.here), (rustix::process::geteuid().as_raw(), Some(true)));
    }
}
