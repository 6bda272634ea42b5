//! `scale` as tables and as a page.

use std::io::Write;

use super::{
    html::{Page, Section},
    machine, markdown, mib, numbers,
    numbers::Row,
    shown,
    svg::{Bar, Line, bars, lines},
    write_json, write_page,
};
use crate::{
    cli,
    measure::statistics::Summary,
    peers::Kind,
    scale::{Scaled, Scaling},
};

/// Prints what `scale` measured; writes JSON and page where asked for.
///
/// # Errors
/// Where a file or standard output cannot be written.
pub fn scaling(scaling: &Scaling, common: &cli::Common) -> anyhow::Result<()> {
    write_json(scaling, common.json.as_deref())?;
    let rows = rows(scaling);
    write_page(&page(scaling, &rows), common.html.as_deref())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n", machine(&scaling.machine))?;
    for part in parts(scaling) {
        if !part.rows.is_empty() {
            writeln!(out, "### {}\n\n{}\n", part.title, markdown(&part.header, part.rows))?;
        }
    }
    writeln!(out, "{}", numbers::table(&rows))?;
    Ok(())
}

/// One table.
struct Part {
    title: String,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn parts(scaling: &Scaling) -> [Part; 5] {
    [peers(scaling), tables(scaling), watchers(scaling), paged(scaling), churned(scaling)]
}

fn peers(scaling: &Scaling) -> Part {
    let row = |peer: &Scaled| {
        vec![
            peer.kind.name().to_owned(),
            shown(Some(mib(peer.idle_kib)), 1),
            shown(Some(mib(peer.busy_kib)), 1),
            shown(peer.loaded_kib.map(mib), 1),
            shown(Some(peer.connection_kib), 2),
            shown(Some(peer.start_ms.median), 1),
            shown(Some(peer.start_ms.high), 1),
            shown(peer.binary_kib.map(mib), 1),
        ]
    };
    Part {
        title: format!(
            "Memory (PSS) idle, with 64 busy connections, with {} sandboxes, for each of {} idle connections; {} starts",
            scaling.sandboxes, scaling.connections, scaling.starts
        ),
        header: vec![
            "peer",
            "idle MiB",
            "busy MiB",
            "loaded MiB",
            "KiB per idle connection",
            "ready ms",
            "slowest ms",
            "binary MiB",
        ],
        rows: scaling.peers.iter().map(row).collect(),
    }
}

fn tables(scaling: &Scaling) -> Part {
    let row = |size: &crate::scale::TableSize| {
        vec![
            size.routes.to_string(),
            shown(Some(size.alone.hot.median), 0),
            shown(Some(size.alone.random.median), 0),
            shown(Some(mib(size.alone.table_kib)), 1),
            shown(Some(size.cpu_us), 2),
            shown(Some(mib(size.pss_kib)), 1),
            shown(Some(size.ready_ms), 0),
            shown(Some(mib(size.snapshot_kib)), 1),
        ]
    };
    Part {
        title: "Route tables: a decision and a table alone; a proxy that reads it from a snapshot".to_owned(),
        header: vec![
            "routes",
            "hot key ns",
            "random key ns",
            "table MiB",
            "proxy CPU µs per request",
            "proxy PSS MiB",
            "ready ms",
            "snapshot MiB",
        ],
        rows: scaling.tables.iter().map(row).collect(),
    }
}

fn watchers(scaling: &Scaling) -> Part {
    let ms = |ms| shown(Some(ms), 1);
    let row = |watched: &crate::scale::Watched| {
        let (got, force) = (watched.distributed, watched.in_force);
        let tls = if watched.tls { " with TLS" } else { "" };
        let mut row = vec![format!("{} watchers{tls}", watched.watchers), watched.changes.to_string()];
        row.extend([got.p50_ms, got.p99_ms, got.max_ms, force.p50_ms, force.p99_ms, force.max_ms].map(ms));
        row.push(shown(Some(mib(watched.pss_kib)), 1));
        row.push(shown(Some(watched.opened_ms / 1e3), 1));
        row
    };
    let real = |real: &crate::scale::Real| {
        let force = real.in_force;
        let mut row = vec![format!("{} real proxies", real.proxies), real.changes.to_string()];
        row.resize(5, String::new());
        row.extend([force.p50_ms, force.p99_ms, force.max_ms].map(ms));
        row.resize(10, String::new());
        row
    };
    let rows = scaling.real.iter().map(real).chain(scaling.watched.iter().map(row)).collect();
    Part {
        title: "A change until each watcher has it, and until it is in force".to_owned(),
        header: vec![
            "on one control process",
            "changes",
            "there ms p50",
            "p99",
            "max",
            "in force ms p50",
            "p99",
            "max",
            "control PSS MiB",
            "opened s",
        ],
        rows,
    }
}

fn paged(scaling: &Scaling) -> Part {
    let row = |paged: &crate::scale::Paged| {
        let selector = if paged.selector.is_empty() { "all" } else { &paged.selector };
        let times = [paged.times.p50_ms, paged.times.p99_ms, paged.times.max_ms];
        let mut row = vec![paged.listed.to_string(), selector.to_owned(), paged.came.to_string()];
        row.extend(times.map(|ms| shown(Some(ms), 1)));
        row.push(shown(Some(mib(paged.pss_kib)), 1));
        row
    };
    Part {
        title: "The first page of a list, chosen by labels, from an embedded store".to_owned(),
        header: vec!["sandboxes", "selector", "came", "ms p50", "p99", "max", "control PSS MiB"],
        rows: scaling.paged.iter().map(row).collect(),
    }
}

fn churned(scaling: &Scaling) -> Part {
    let row = |churned: &crate::scale::Churned| {
        let numbers = [churned.changes, churned.requests, churned.baseline, churned.sandbox, churned.errors];
        numbers.map(|number| number.to_string()).to_vec()
    };
    Part {
        title: "Changes of the route that a load uses, 64 HTTP/1 connections".to_owned(),
        header: vec!["changes", "requests", "by baseline", "by sandbox", "failed"],
        rows: scaling.churned.iter().map(row).collect(),
    }
}

/// The rows of DESIGN §6 that `scale` knows.
fn rows(scaling: &Scaling) -> Vec<Row> {
    let bellhop = scaling.peers.iter().find(|peer| peer.kind == Kind::Bellhop);
    let memory = |value: fn(&Scaled) -> Option<u64>| bellhop.and_then(value).map(mib);
    let hot = |routes| {
        let size = scaling.tables.iter().find(|size| size.routes == routes)?;
        Some(size.alone.hot.median)
    };
    let watched = |count, tls| {
        scaling.watched.iter().find(move |watched| watched.watchers == count && watched.tls == tls)
    };
    let real = scaling.real.as_ref();
    vec![
        Row::at_most("memory idle", 5.0, "MiB", memory(|peer| Some(peer.idle_kib))),
        Row::at_most("memory with 64 busy connections", 12.0, "MiB", memory(|peer| Some(peer.busy_kib))),
        Row::at_most("memory with 10,000 sandboxes", 20.0, "MiB", memory(|peer| peer.loaded_kib)),
        Row::at_most(
            "memory per idle HTTP/1 connection",
            4.0,
            "KiB",
            bellhop.map(|peer| peer.connection_kib),
        ),
        Row::at_most(
            "decision, 1,000,000 routes ÷ 1 route",
            1.2,
            "×",
            hot(1_000_000).zip(hot(1)).map(|(many, one)| many / one),
        ),
        Row::at_most(
            "in force on 1,000 watchers, TLS, p99",
            250.0,
            "ms",
            watched(1_000, true).map(|watched| watched.in_force.p99_ms),
        ),
        Row::at_most("in force on 10 real proxies, p99", 20.0, "ms", real.map(|real| real.in_force.p99_ms)),
        Row::at_most(
            "control with 10,000 watchers",
            300.0,
            "MiB",
            watched(10_000, false).map(|watched| mib(watched.pss_kib)),
        ),
        Row::at_most("start → ready, median", 30.0, "ms", bellhop.map(|peer| peer.start_ms.median)),
        Row::at_most("binary", 10.0, "MiB", memory(|peer| peer.binary_kib)),
        Row::at_most(
            "failed requests over 1,000 route changes",
            0.0,
            "",
            scaling.churned.as_ref().map(|churned| churned.errors as f64),
        ),
    ]
}

fn page(scaling: &Scaling, rows: &[Row]) -> Page {
    let mut page = Page::new("How Bellhop grows", &machine(&scaling.machine));
    page.section(numbers::section(rows));
    let plots: [Vec<(&str, String)>; 5] =
        [peer_plots(scaling), table_plots(scaling), Vec::new(), Vec::new(), Vec::new()];
    for (part, plots) in parts(scaling).into_iter().zip(plots) {
        if part.rows.is_empty() {
            continue;
        }
        let mut section = Section::new(&part.title);
        if let Ok(plots) = <[(&str, String); 2]>::try_from(plots) {
            section.plots(plots);
        }
        section.table(part.header.into_iter().map(str::to_owned).collect(), part.rows);
        page.section(section);
    }
    page
}

fn peer_plots(scaling: &Scaling) -> Vec<(&'static str, String)> {
    let plot = |value: fn(&Scaled) -> Summary| {
        let bar = |peer: &Scaled| Bar {
            label: peer.kind.name().to_owned(),
            value: value(peer),
            ours: peer.kind.is_bellhop(),
        };
        bars(&scaling.peers.iter().map(bar).collect::<Vec<_>>())
    };
    vec![
        ("KiB for each idle connection", plot(|peer| flat(peer.connection_kib))),
        ("ms from start to ready", plot(|peer| peer.start_ms)),
    ]
}

fn flat(value: f64) -> Summary {
    Summary { median: value, low: value, high: value }
}

fn table_plots(scaling: &Scaling) -> Vec<(&'static str, String)> {
    let line = |label: &str, value: fn(&crate::scale::TableSize) -> f64| Line {
        label: label.to_owned(),
        points: scaling.tables.iter().map(|size| (size.routes as f64, value(size))).collect(),
    };
    vec![
        (
            "ns for a decision, by routes",
            lines(
                &[
                    line("hot key", |size| size.alone.hot.median),
                    line("random keys", |size| size.alone.random.median),
                ],
                true,
            ),
        ),
        ("MiB of a proxy, by routes", lines(&[line("PSS", |size| mib(size.pss_kib))], true)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::{Churned, TableSize, tables::Alone};

    fn scaling() -> Scaling {
        let size = |routes, ns| TableSize {
            routes,
            alone: Alone { hot: flat(ns), random: flat(2.0 * ns), table_kib: 10 },
            cpu_us: 9.0,
            pss_kib: 5_000,
            ready_ms: 8.0,
            snapshot_kib: 1,
        };
        Scaling {
            machine: crate::machine::Machine::look(&[]),
            connections: 1,
            sandboxes: 1,
            starts: 1,
            peers: Vec::new(),
            tables: vec![size(1, 100.0), size(1_000_000, 130.0)],
            watched: Vec::new(),
            paged: Vec::new(),
            real: None,
            churned: Some(Churned { changes: 1, requests: 2, baseline: 1, sandbox: 1, errors: 0 }),
        }
    }

    #[test]
    fn a_million_routes_are_set_against_one_and_no_failure_reaches_zero() {
        let rows = rows(&scaling());
        let reached = |what: &str| rows.iter().find(|row| row.what.contains(what)).unwrap().reached;
        assert_eq!(reached("decision"), Some(false));
        assert_eq!(reached("failed requests"), Some(true));
        assert_eq!(reached("binary"), None);
    }

    #[test]
    fn a_page_shows_what_was_measured_and_leaves_the_rest_out() {
        let page = page(&scaling(), &rows(&scaling())).render();
        assert!(page.contains("random keys") && page.contains("<svg"), "{page}");
        assert!(!page.contains("idle connections; 1 starts"), "{page}");
    }
}
