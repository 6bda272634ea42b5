//! The proxy itself, by what its admin listener says.

use std::fs;

use serde_json::Value;

use super::{Finding, Host, Wanted, admin};
use crate::config::AdminAddress;

/// Fewer connections than this are soon all there are.
const FEW: u64 = 1000;

pub(super) fn all(wanted: &Wanted, host: &Host) -> [Finding; 3] {
    [proxy(wanted), control(wanted, host), descriptors(wanted, host)]
}

/// Whether it runs, and is ready.
fn proxy(wanted: &Wanted) -> Finding {
    const CHECK: &str = "proxy";
    let admin = &wanted.admin;
    if *admin == AdminAddress::Off {
        return Finding::unknown(
            CHECK,
            "it has no admin listener to ask",
            "give --admin to the proxy and to this check",
        );
    }
    match admin::get(admin, "/readyz") {
        Ok(reply) if reply.status == 200 => Finding::well(CHECK, format!("{} at {admin}", reply.body.trim())),
        Ok(reply) => {
            let found = format!("not ready at {admin}: {}", reply.body.trim());
            Finding::wrong(CHECK, found, "see the proxy's log")
        }
        Err(error) => {
            let next = "start the proxy, or say where it is: --admin IP:PORT or unix:PATH";
            Finding::wrong(CHECK, format!("does not answer at {admin}: {error}"), next)
        }
    }
}

/// Whether it hears its control plane.
fn control(wanted: &Wanted, host: &Host) -> Finding {
    const CHECK: &str = "control";
    let Some(config) = &host.config else {
        return Finding::unknown(
            CHECK,
            "the proxy does not tell what it watches",
            "start the proxy, or give its --admin",
        );
    };
    let Some(url) = config.pointer("/routing/control").and_then(Value::as_str) else {
        return Finding::wrong(
            CHECK,
            "the proxy has no control plane: no request is ever routed to a sandbox",
            "give it --control http://HOST:PORT",
        );
    };
    let routes = admin::get(&wanted.admin, "/routes?limit=0").ok().and_then(|reply| reply.json());
    let watch = routes.as_ref().and_then(|routes| routes.get("watch")?.as_str()).unwrap_or("unknown");
    if watch == "following" {
        return Finding::well(CHECK, format!("{url} is heard"));
    }
    let heard = routes.as_ref().and_then(|routes| routes.get("heardSecondsAgo")?.as_f64());
    let heard = heard.map_or("never".to_owned(), |seconds| format!("{seconds:.0} s ago"));
    let found = format!("{url} is not heard: the watch is {watch}; last heard {heard}");
    Finding::wrong(
        CHECK,
        found,
        "see that control runs there and can be reached from this host; see the proxy's log",
    )
}

/// Whether its descriptors are enough for its connections.
fn descriptors(wanted: &Wanted, host: &Host) -> Finding {
    const CHECK: &str = "descriptors";
    let owner = host.on(wanted.plan.outbound_port()).find_map(|socket| {
        host.owners(socket).into_iter().find(|process| process.name.starts_with("bellhop"))
    });
    let limit = owner.and_then(|process| fs::read_to_string(format!("/proc/{}/limits", process.pid)).ok());
    let limit =
        limit.as_ref().and_then(|limits| limits.lines().find_map(|line| line.strip_prefix("Max open files")));
    let limit = limit
        .and_then(|line| line.split_whitespace().next())
        .map(|soft| soft.parse::<u64>().unwrap_or(u64::MAX));
    let most = host.config.as_ref().and_then(|config| config.pointer("/limits/max_connections")?.as_u64());
    let room = limit.map(|limit| limit.saturating_sub(100) / 3);
    match (limit, most) {
        (Some(limit), _) if room.is_some_and(|room| room < FEW) => {
            let room = room.unwrap_or_default();
            Finding::wrong(
                CHECK,
                format!("the proxy may open {limit}, which is room for {room} connections"),
                "raise its hard limit (ulimit -n, LimitNOFILE=): three for each connection, and 100",
            )
        }
        (Some(limit), Some(most)) => Finding::well(CHECK, format!("{limit}, for at most {most} connections")),
        (Some(limit), None) => Finding::well(CHECK, limit.to_string()),
        (None, _) => Finding::unknown(
            CHECK,
            "the proxy's process cannot be seen",
            "run this as root, beside the proxy",
        ),
    }
}
