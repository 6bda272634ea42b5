//! Who may, who listens, and who else is let through: the rules know the proxy by its ports and its user alone.

use std::fs;

use super::{
    Finding, Host, Wanted,
    host::{Listening, Process},
};

/// capabilities(7).
const NET_ADMIN: u64 = 12;

/// Whether rules can be read and written from here.
pub(super) fn capability() -> Finding {
    const CHECK: &str = "capability";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
        Some(mask) if mask & (1 << NET_ADMIN) != 0 => Finding::well(CHECK, "CAP_NET_ADMIN is there"),
        Some(_) => Finding::wrong(
            CHECK,
            "CAP_NET_ADMIN is missing: rules can be neither written nor read from here",
            "run this, and bellhop-proxy intercept, as root or with that capability",
        ),
        None => Finding::unknown(CHECK, "/proc/self/status tells no capabilities", "mount /proc"),
    }
}

/// Whether the proxy, and nobody else, has the ports that traffic is led to.
pub(super) fn ports(wanted: &Wanted, host: &Host) -> Finding {
    const CHECK: &str = "ports";
    const START: &str =
        "start the proxy with --intercepted, or name its ports (--outbound-port, --inbound-port)";
    let mut ports = vec![wanted.plan.outbound_port()];
    if wanted.plan.leads_in() {
        ports.push(wanted.plan.inbound_port());
    }
    let (mut seen, mut unseen) = (Vec::new(), Vec::new());
    for port in ports {
        let mut sockets = host.on(port).peekable();
        if sockets.peek().is_none() {
            let found = format!("nobody listens on {port}: connections that are led there are refused");
            return Finding::wrong(CHECK, found, START);
        }
        for socket in sockets {
            match judge(host, socket) {
                Ok(true) => seen.push(format!("{}:{port}", socket.ip)),
                Ok(false) => unseen.push(format!("{}:{port}", socket.ip)),
                Err(found) => {
                    return Finding::wrong(CHECK, found, "end that program, or give the proxy other ports");
                }
            }
        }
    }
    if unseen.is_empty() {
        Finding::well(CHECK, format!("the proxy listens on {}", seen.join(", ")))
    } else {
        let found = format!("the proxy's user listens on {}, but not with which program", unseen.join(", "));
        Finding::unknown(CHECK, found, "run this as root, where the proxy's processes can be seen")
    }
}

/// Whether it is the proxy; false where only its user is known.
fn judge(host: &Host, socket: &Listening) -> Result<bool, String> {
    let Listening { ip, port, uid, .. } = socket;
    let owners = host.owners(socket);
    // The supervisor may hold it too, or alone until the proxy is there.
    let is_ours = |process: &&&Process| process.name.starts_with("bellhop") || process.name == "systemd";
    match (owners.first(), owners.iter().any(|process| is_ours(&process))) {
        (Some(Process { name, pid, .. }), false) => {
            Err(format!("{name} (process {pid}) listens on {ip}:{port}, which should be the proxy's"))
        }
        _ if host.uid.is_some_and(|wanted| wanted != *uid) && *uid != 0 => {
            Err(format!("user {uid} listens on {ip}:{port}, and the proxy's user is another"))
        }
        (owner, _) => Ok(owner.is_some()),
    }
}

/// Whether anybody else runs as the proxy's user: what that one sends passes the proxy by.
pub(super) fn proxy_user(host: &Host) -> Finding {
    const CHECK: &str = "proxy-user";
    let Some(uid) = host.uid else {
        return Finding::unknown(
            CHECK,
            "the proxy's user is not known",
            "give --proxy-uid, or start the proxy",
        );
    };
    if uid == 0 {
        return Finding::wrong(
            CHECK,
            "the proxy runs as root: what anybody sends as root passes it by",
            "give the proxy a user of its own",
        );
    }
    let own = std::process::id();
    let others = host.processes.iter().filter(|process| {
        process.uid == uid
            && process.pid != own
            && process.here != Some(false)
            && !process.name.starts_with("bellhop")
    });
    let (sure, unsure): (Vec<_>, Vec<_>) = others.partition(|process| process.here == Some(true));
    let names = |processes: &[&Process]| {
        let told =
            processes.iter().take(5).map(|process| format!("{} (process {})", process.name, process.pid));
        told.collect::<Vec<_>>().join(", ")
    };
    if !sure.is_empty() {
        let found =
            format!("user {uid} is the proxy's, and runs {} too, whose calls pass it by", names(&sure));
        return Finding::wrong(
            CHECK,
            found,
            "give the application another user, or the proxy one of its own",
        );
    }
    if !unsure.is_empty() {
        let found = format!("user {uid} runs {}, perhaps in this network", names(&unsure));
        return Finding::unknown(CHECK, found, "run this as root");
    }
    Finding::well(CHECK, format!("user {uid} runs nothing else, as far as processes can be seen from here"))
}
