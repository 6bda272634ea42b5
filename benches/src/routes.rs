//! Route tables of any size, made up: for lookups in this process, and as a snapshot file for a real proxy.

use std::{fs::File, io::Write, net::SocketAddr, path::Path};

use anyhow::Context;
use bellhop_api::{
    DnsLabel,
    watch::{EndpointProtocol, Fallback, KeyUnit, RouteState, RouteUnit, Unit},
};
use bellhop_route::{RouteTable, TableBuilder, digest};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::peers::KEY;

/// The destination that all routes are for.
pub const DESTINATION: &str = "items.default:8080";

/// The name of the `nth` key; the first is [`KEY`].
#[must_use]
pub fn key(nth: usize) -> String {
    if nth == 0 { KEY.to_owned() } else { format!("pull-request-{nth}") }
}

/// The unit of one key.
///
/// # Errors
/// Where the key is none.
pub fn unit(key: &str, endpoint: SocketAddr) -> anyhow::Result<Unit> {
    let route = RouteUnit {
        destination: DESTINATION.parse()?,
        state: RouteState::Active,
        endpoints: vec![endpoint],
        fallback: Fallback::None,
        protocol: EndpointProtocol::Same,
        requires: Vec::new(),
        sandbox: Some(format!("default/{key}").into()),
    };
    let mut unit = KeyUnit { key: key.parse()?, gone: false, routes: vec![route], digest: String::new() };
    unit.digest = digest(&unit).to_string();
    Ok(Unit::Key(unit))
}

/// A table of `keys` keys.
///
/// # Errors
/// Where a unit does not compile.
pub fn table(keys: usize, endpoint: SocketAddr) -> anyhow::Result<RouteTable> {
    let mut table = TableBuilder::new(DnsLabel::default_namespace());
    for nth in 0..keys {
        table.put(&unit(&key(nth), endpoint)?)?;
    }
    Ok(table.finish())
}

/// A snapshot of `keys` keys, as a proxy writes it.
///
/// # Errors
/// Where the file cannot be written.
pub fn snapshot(file: &Path, keys: usize, endpoint: SocketAddr) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    for nth in 0..keys {
        serde_json::to_writer(&mut rest, &unit(&key(nth), endpoint)?)?;
        rest.push(b'\n');
    }
    let xxh3 = format!("{:016x}", xxh3_64(&rest));
    let head = json!({"bellhop_snapshot": 1, "position": null, "units": keys, "xxh3": xxh3});
    let mut out = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    writeln!(out, "{head}")?;
    Ok(out.write_all(&rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_table_holds_its_keys_and_the_first_is_the_loads() {
        let endpoint = "127.0.0.1:9".parse().unwrap();
        let table = table(3, endpoint).unwrap();
        assert_eq!(table.len(), 3);
        let routes = table.key(KEY).unwrap();
        assert_eq!(routes.route(&DESTINATION.parse().unwrap()).unwrap().endpoints[..], [endpoint]);
    }
}
