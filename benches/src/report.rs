//! What a run showed: a table for people, JSON for everything else.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::{
    compare::Comparison,
    machine::Machine,
    measure::{
        Sample,
        statistics::{Summary, ratio},
    },
    peers::Kind,
    scale::Scaling,
};

/// Prints the comparison; writes it to `json` too, where given.
///
/// # Errors
/// Where that file or standard output cannot be written.
pub fn comparison(comparison: &Comparison, json: Option<&Path>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", machine(&comparison.machine))?;
    writeln!(
        out,
        "{} rounds of {} s; medians, spread = (highest − lowest) ÷ median; × = {}'s CPU ÷ this peer's, same round\n",
        comparison.rounds,
        comparison.window_seconds,
        comparison.reference.name()
    )?;
    for (workload, samples) in &comparison.samples {
        writeln!(out, "### {}\n\n{}\n", workload.title(), table(samples, comparison.reference))?;
    }
    write_json(comparison, json)
}

/// Writes `what` to `json`, where given.
///
/// # Errors
/// Where that file cannot be written.
pub fn write_json(what: &impl serde::Serialize, json: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = json else { return Ok(()) };
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(serde_json::to_writer_pretty(file, what)?)
}

/// One line on the machine.
#[must_use]
pub fn machine(machine: &Machine) -> String {
    let versions: Vec<_> = machine.versions.values().map(String::as_str).collect();
    format!(
        "{}, {} cores, Linux {}, load before {:.2}\n{}",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.load_before,
        versions.join("; ")
    )
}

/// Prints what `scale` measured; writes it to `json` too, where given.
///
/// # Errors
/// Where that file or standard output cannot be written.
pub fn scaling(scaling: &Scaling, json: Option<&Path>) -> anyhow::Result<()> {
    let rows = scaling.peers.iter().map(|peer| {
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
    });
    let header = [
        "peer",
        "idle MiB",
        "busy MiB",
        "loaded MiB",
        "KiB per idle connection",
        "ready ms",
        "slowest ms",
        "binary MiB",
    ];
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", machine(&scaling.machine))?;
    writeln!(
        out,
        "PSS; busy: 64 HTTP/1 connections; loaded: {} sandboxes; idle connections: {}; starts: {}\n\n{}",
        scaling.sandboxes,
        scaling.connections,
        scaling.starts,
        markdown(&header, rows.collect())
    )?;
    write_json(scaling, json)
}

/// A Markdown table with numbers to the right.
#[must_use]
pub fn markdown(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn table(samples: &BTreeMap<Kind, Vec<Sample>>, reference: Kind) -> Table {
    let cpu = |kind: Kind| -> Vec<Option<f64>> {
        samples.get(&kind).map_or_else(Vec::new, |of_kind| of_kind.iter().map(|s| s.cpu_us).collect())
    };
    let of_reference = cpu(reference);
    let direct = samples.get(&Kind::Direct).and_then(|s| Summary::of(s.iter().map(|s| s.latency_us)));
    let rows = samples.iter().map(|(kind, of_kind)| {
        let cpu = cpu(*kind);
        let latency = Summary::of(of_kind.iter().map(|s| s.latency_us));
        let added = latency.zip(direct).map(|(l, d)| l.median - d.median).filter(|_| *kind != Kind::Direct);
        let spent = Summary::of(cpu.iter().copied().flatten());
        vec![
            kind.name().to_owned(),
            shown(spent.map(|s| s.median), 2),
            spent.map_or_else(String::new, |s| format!("{:.0} %", s.spread() * 100.0)),
            shown(ratio(&of_reference, &cpu).map(|s| s.median), 2),
            shown(Summary::of(of_kind.iter().map(|s| s.rate)).map(|s| s.median), 0),
            shown(latency.map(|s| s.median), 0),
            shown(added, 0),
            shown(Summary::of(of_kind.iter().filter_map(|s| s.p99_us)).map(|s| s.median), 0),
            of_kind
                .iter()
                .filter_map(|s| s.pss_kib)
                .max()
                .map_or_else(String::new, |kib| format!("{:.1}", mib(kib))),
            of_kind.iter().map(|s| s.errors).sum::<u64>().to_string(),
        ]
    });
    let header =
        ["peer", "CPU µs", "spread", "×", "req/s", "latency µs", "added µs", "p99 µs", "PSS MiB", "errors"];
    markdown(&header, rows.collect())
}

/// KiB as MiB.
#[must_use]
pub fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A number with `digits` behind the point, or nothing.
#[must_use]
pub fn shown(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(String::new, |n| format!("{n:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_without_a_process_has_a_rate_and_no_cost() {
        let sample = |cpu_us, latency_us| Sample {
            cpu_us,
            rate: 1000.0,
            latency_us,
            p99_us: None,
            pss_kib: cpu_us.map(|_| 2048),
            errors: 0,
        };
        let samples = BTreeMap::from([
            (Kind::Direct, vec![sample(None, 10.0)]),
            (Kind::Bellhop, vec![sample(Some(5.0), 25.0)]),
            (Kind::Haproxy, vec![sample(Some(10.0), 30.0)]),
        ]);
        let shown = table(&samples, Kind::Bellhop).to_string();
        let cells = |peer: &str| -> Vec<String> {
            let line = shown.lines().find(|l| l.contains(peer)).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("haproxy")[2..8], ["10.00", "0 %", "0.50", "1000", "30", "20"]);
        assert_eq!(cells("direct")[2..8], ["", "", "", "1000", "10", ""]);
    }
}
