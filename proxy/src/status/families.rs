//! Metrics of what all threads share: connections, the table in force, and control.

use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::{MetricFamily, MetricType};

use crate::{
    counters::Event,
    overload,
    routes::WatchState,
    shared::SharedRef,
    telemetry::{counter, family, float, gauge, pair},
};

/// All of them, as they stand now.
pub(super) fn of(shared: &SharedRef) -> Vec<MetricFamily> {
    let mut families = connections(shared);
    families.extend(table(shared));
    families.extend(memory(shared));
    families
}

fn connections(shared: &SharedRef) -> Vec<MetricFamily> {
    let counters = &shared.counters;
    let events = Event::ALL.map(|event| counter(vec![pair("event", event.as_str())], counters.of(event)));
    let bytes = [("sent", &counters.tunnelled_up), ("received", &counters.tunnelled_down)]
        .map(|(way, bytes)| counter(vec![pair("way", way)], bytes.load(Relaxed)));
    vec![
        family(
            "bellhop_proxy_connection_events_total",
            "What happened to client connections: accepted, what they turned out to speak, why they were refused or \
             ended.",
            MetricType::COUNTER,
            events.into(),
        ),
        family(
            "bellhop_proxy_tunnel_bytes_total",
            "Bytes that tunnels carried: sent by clients, received by them.",
            MetricType::COUNTER,
            bytes.into(),
        ),
        family(
            "bellhop_proxy_connections_open",
            "Client connections open.",
            MetricType::GAUGE,
            vec![gauge(Vec::new(), float(shared.places.held() as u64))],
        ),
    ]
}

fn memory(shared: &SharedRef) -> Vec<MetricFamily> {
    let plain = |name: &str, help: &str, value: f64| {
        family(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)])
    };
    let mut families = vec![plain(
        "bellhop_proxy_overloaded",
        "1 while memory is above its budget: requests are answered 503.",
        f64::from(u8::from(shared.overload.sheds())),
    )];
    if let Some(held) = overload::held() {
        let help = "Memory that the proxy holds and no file backs, in bytes.";
        families.push(plain("bellhop_proxy_memory_bytes", help, float(held)));
    }
    if let Some(budget) = shared.overload.budget() {
        let help = "The budget for that memory, in bytes; absent where there is none.";
        families.push(plain("bellhop_proxy_memory_budget_bytes", help, float(budget)));
    }
    families
}

fn table(shared: &SharedRef) -> Vec<MetricFamily> {
    let tables = &shared.tables;
    let plain = |name: &str, help: &str, value: f64| {
        family(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)])
    };
    let state = tables.watch_state();
    let states = WatchState::ALL
        .map(|one| gauge(vec![pair("state", one.as_str())], f64::from(u8::from(one == state))));
    let mut families = vec![
        family(
            "bellhop_proxy_watch_state",
            "1 for what the watch of routes is about: off, connecting, listing, following.",
            MetricType::GAUGE,
            states.into(),
        ),
        plain(
            "bellhop_proxy_routes_loaded",
            "1 once there is a table of routes; until then keyed requests go to the baseline as no-table.",
            f64::from(u8::from(tables.loaded())),
        ),
        plain(
            "bellhop_proxy_routes_stale",
            "1 while control has not been heard for 15 s; the last table stays in force.",
            f64::from(u8::from(tables.stale())),
        ),
        plain("bellhop_proxy_route_keys", "Routing keys in force.", float(tables.current().len() as u64)),
    ];
    if let Some(heard) = tables.heard() {
        let help = "Time since control confirmed the table, in seconds; absent before the first time.";
        families.push(plain("bellhop_proxy_table_age_seconds", help, heard.elapsed().as_secs_f64()));
    }
    if let Some(position) = tables.position() {
        let help =
            "The revision of control's store that the table stands at; it starts again with a new epoch.";
        families.push(plain("bellhop_proxy_table_revision", help, float(position.revision)));
    }
    families
}
