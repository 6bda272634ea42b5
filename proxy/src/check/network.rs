//! What the kernel does with connections besides the rules.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use serde_json::Value;

use super::{Finding, Host};

/// Whether IPv6 is as the proxy expects it.
pub(super) fn ipv6(host: &Host) -> Finding {
    const CHECK: &str = "ipv6";
    let addresses = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    let is_loopback = |line: &&str| line.starts_with("00000000000000000000000000000001 ");
    let (loopback, others): (Vec<_>, Vec<_>) = addresses.lines().partition(is_loopback);
    let wanted: Vec<SocketAddr> = ["outbound", "inbound"]
        .iter()
        .flat_map(|listener| host.configured(listener))
        .filter(SocketAddr::is_ipv6)
        .collect();
    let told = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if loopback.is_empty() && others.is_empty() {
        return match (wanted.is_empty(), host.config.is_some()) {
            (true, true) => Finding::well(CHECK, "off, and the proxy expects none"),
            (true, false) => Finding::unknown(
                CHECK,
                "off; whether the proxy expects it is not known",
                "start the proxy, or give its --admin",
            ),
            (false, _) => Finding::wrong(
                CHECK,
                format!("off on this host, and the proxy is told to listen on {told}"),
                "turn it on (sysctl net.ipv6.conf.all.disable_ipv6=0, and for lo), or give the proxy IPv4 listeners alone: \
                 --outbound 127.0.0.1:15001 --inbound 0.0.0.0:15006",
            ),
        };
    }
    if loopback.is_empty() {
        return Finding::wrong(
            CHECK,
            "on, but not for loopback: connections that are led to the proxy by IPv6 are refused",
            "sysctl net.ipv6.conf.lo.disable_ipv6=0, and start the proxy again",
        );
    }
    // Such a listener is passed over where there is no IPv6 as the proxy starts.
    let missing = wanted.iter().find(|address| {
        !host
            .on(address.port())
            .any(|socket| socket.ip == address.ip() || socket.ip.is_unspecified() && socket.ip.is_ipv6())
    });
    if let Some(address) = missing {
        return Finding::wrong(
            CHECK,
            format!("on, and the proxy does not listen on {address}: IPv6 came after it"),
            "start the proxy again",
        );
    }
    Finding::well(CHECK, if wanted.is_empty() { "on" } else { "on, and the proxy listens there" })
}

/// Whether programs change addresses as applications connect: what was dialled is then no service's address any more.
pub(super) fn socket_load_balancing() -> Finding {
    const CHECK: &str = "socket-load-balancing";
    const NEXT: &str = "have it leave pods alone (Cilium: socketLB.hostNamespaceOnly=true)";
    let unknown = |why: String| {
        let next = "install bpftool and run this as root on the host; with Cilium, see that \
                    socketLB.hostNamespaceOnly is true";
        Finding::unknown(
            CHECK,
            format!("programs that change addresses at connect(2) cannot be looked for: {why}"),
            next,
        )
    };
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let listed = Command::new("bpftool").args(["-j", "cgroup", "tree"]).env("PATH", path).output();
    let listed = match listed {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            return unknown(format!("bpftool says {}", String::from_utf8_lossy(&said).trim()));
        }
        Err(error) => return unknown(format!("bpftool: {error}")),
    };
    let Ok(groups) = serde_json::from_slice::<Value>(&listed) else {
        return unknown("bpftool's answer is no JSON".to_owned());
    };
    match connect_programs(&groups) {
        found if found.is_empty() => Finding::well(CHECK, "no program changes addresses at connect(2)"),
        found => {
            let found = format!("programs may change addresses at connect(2): {}", found.join(", "));
            Finding::wrong(CHECK, found, NEXT)
        }
    }
}

/// Programs attached to connect(2), by name or number, with their group. The type is `connect4` or
/// `cgroup_inet4_connect`, by version.
fn connect_programs(groups: &Value) -> Vec<String> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for group in groups.as_array().into_iter().flatten() {
        for program in group.get("programs").and_then(Value::as_array).into_iter().flatten() {
            let kind = text(program, "attach_type");
            if ["connect4", "connect6", "inet4_connect", "inet6_connect"]
                .iter()
                .any(|one| kind.ends_with(one))
            {
                let (name, id) = (text(program, "name"), program.get("id").cloned().unwrap_or_default());
                let name = if name.is_empty() { format!("program {id}") } else { name };
                found.push(format!("{name} ({kind}, {})", text(group, "cgroup")));
            }
        }
    }
    found
}

/// Redirected connections are known by their entry there.
pub(super) fn conntrack() -> Finding {
    const CHECK: &str = "conntrack";
    let directory = Path::new("/proc/sys/net/netfilter");
    let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
    match (number("nf_conntrack_count"), number("nf_conntrack_max")) {
        (Some(count), Some(most)) if most > 0 && count >= most / 10 * 9 => Finding::wrong(
            CHECK,
            format!("{count} of {most} entries are in use: new connections are dropped soon"),
            "raise net.netfilter.nf_conntrack_max",
        ),
        (Some(count), Some(most)) => Finding::well(CHECK, format!("{count} of {most} entries in use")),
        // Within a namespace the limit may be out of sight.
        (Some(count), None) => Finding::well(CHECK, format!("{count} entries in use")),
        (None, _) => Finding::wrong(
            CHECK,
            "the kernel tracks no connections: none can be led to the proxy",
            "modprobe nf_conntrack, or a kernel that has it",
        ),
    }
}

/// Other proxies' rules need it. These do not, and it lets the network reach what listens on loopback.
pub(super) fn route_localnet() -> Finding {
    const CHECK: &str = "route-localnet";
    let interfaces = fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    let is_on = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let mut on: Vec<_> = interfaces
        .filter(|entry| is_on(&entry.path().join("route_localnet")))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    on.sort_unstable();
    Finding::well(
        CHECK,
        match on.as_slice() {
            [] => "off, and not needed".to_owned(),
            on => format!(
                "on for {}; Bellhop does not need it: turn it off unless something else does",
                on.join(", ")
            ),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_at_connect_are_found_whatever_the_tool_calls_it() {
        let groups = serde_json::json!([
            { "cgroup": "/sys/fs/cgroup/a", "programs": [
                { "id": 7, "attach_type": "cgroup_inet4_connect", "name": "cil_sock4_connect" },
                { "id": 8, "attach_type": "cgroup_device", "name": "" },
                { "id": 9, "attach_type": "connect6", "name": "" },
            ]},
            { "cgroup": "/sys/fs/cgroup/b" },
        ]);
        assert_eq!(
            connect_programs(&groups),
            [
                "cil_sock4_connect (cgroup_inet4_connect, /sys/fs/cgroup/a)",
                "program 9 (connect6, /sys/fs/cgroup/a)",
            ]
        );
        assert!(connect_programs(&serde_json::json!([])).is_empty());
    }
}
