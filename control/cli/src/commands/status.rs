//! `status`: how the whole stands.

use bellhop_api::answers::{ReplicaStatus, SystemStatus};

use super::{
    Session,
    inform::{age, proxy_row},
};
use crate::{exit::Failure, output};

/// Proxies in the table; `-o wide` and `bellhop proxies` show all.
const SHOWN: usize = 20;

/// Tells how the whole stands.
pub(super) async fn status(session: &Session) -> Result<(), Failure> {
    let found: SystemStatus = session.client.get("/v1/status").await?;
    output::print(session.output, &found, |wide| text(&found, wide))?;
    if found.healthy { Ok(()) } else { Err(Failure::Unhealthy(found.problems.join("; "))) }
}

fn text(found: &SystemStatus, wide: bool) -> String {
    let SystemStatus { store, objects, proxies, .. } = found;
    let newest = store.newest.map_or_else(|| "unknown".to_owned(), |newest| newest.to_string());
    let state = if store.healthy { "healthy" } else { "NOT HEALTHY" };
    let mut parts = vec![
        format!(
            "Store: {} · {state} · revision {} (newest {newest}) · epoch {}\n\
             Objects: {} services · {} sandboxes · {} groups\n\
             Proxies: {} connected ({} current, {} behind) · {} lost",
            store.kind,
            store.revision,
            store.epoch,
            objects.services,
            objects.sandboxes,
            objects.groups,
            proxies.connected,
            proxies.current,
            proxies.behind,
            proxies.lost
        ),
        output::table(
            &["REPLICA", "ADDRESS", "LEASE", "REVISION", "UPTIME", "VERSION"],
            found.replicas.iter().map(replica_row).collect(),
        ),
    ];
    if !found.items.is_empty() {
        // those that need a look come first
        let mut items: Vec<_> = found.items.iter().collect();
        items.sort_by_key(|proxy| proxy.current);
        let shown = if wide { items.len() } else { SHOWN };
        let mut head = vec!["PROXY", "WORKLOAD", "STATE", "KEYS", "CURRENT", "TABLE AGE", "VERSION"];
        if wide {
            head.extend(["LAST HEARD", "WATCHING", "TABLE"]);
        }
        let rows = items.iter().take(shown).map(|proxy| proxy_row(proxy, wide)).collect();
        let mut table = output::table(&head, rows);
        if let Some(more) = items.len().checked_sub(shown).filter(|more| *more > 0) {
            table.push_str(&format!("\n{more} more; see bellhop proxies"));
        }
        parts.push(table);
    }
    parts.join("\n\n")
}

fn replica_row(replica: &ReplicaStatus) -> Vec<String> {
    let unknown = || "-".to_owned();
    let address = replica.address.clone().unwrap_or_else(unknown);
    if !replica.answers {
        return vec![replica.id.clone(), address, "does not answer".to_owned()];
    }
    vec![
        replica.id.clone(),
        address,
        if replica.holds_lease == Some(true) { "yes" } else { "no" }.to_owned(),
        replica.revision.map_or_else(unknown, |revision| revision.to_string()),
        replica.uptime_seconds.map_or_else(unknown, age),
        replica.version.clone().unwrap_or_else(unknown),
    ]
}
