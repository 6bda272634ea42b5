//! The comparison as tables and as a page.

use std::collections::BTreeMap;

use comfy_table::Table;

use super::{
    html::{Page, Section},
    machine, markdown, mib, numbers,
    numbers::Row,
    shown,
    svg::{Bar, bars},
};
use crate::{
    compare::Comparison,
    measure::{
        Sample,
        statistics::{Summary, ratio},
    },
    peers::Kind,
    workload::{Unit, Workload},
};

/// How it was measured, in one line.
pub(super) fn method(comparison: &Comparison) -> String {
    format!(
        "{} rounds, windows of {} s; medians, spread = (highest − lowest) ÷ median; × = {}'s CPU ÷ this peer's, same \
         round",
        comparison.rounds,
        comparison.window_seconds,
        comparison.reference.name()
    )
}

/// The workloads that there is something to say of.
pub(super) fn workloads(comparison: &Comparison) -> Vec<Workload> {
    let mut all: Vec<_> = comparison.samples.keys().chain(comparison.blanks.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// One peer's figures under one workload.
struct Figures {
    cpu: Option<Summary>,
    ratio: Option<f64>,
    rate: Option<f64>,
    latency: Option<Summary>,
    added: Option<f64>,
    p99: Option<f64>,
    pss: Option<u64>,
    errors: u64,
}

type Samples = BTreeMap<Kind, Vec<Sample>>;

fn figures(samples: &Samples, kind: Kind, reference: Kind) -> Option<Figures> {
    let of_kind = samples.get(&kind)?;
    let cpu = cpus(samples, kind);
    let median = |value: fn(&Sample) -> Option<f64>| Summary::of(of_kind.iter().filter_map(value));
    let latency = median(|sample| sample.latency_us);
    let direct = samples.get(&Kind::Direct);
    let direct = direct.and_then(|of_direct| Summary::of(of_direct.iter().filter_map(|s| s.latency_us)));
    Some(Figures {
        ratio: ratio(&cpus(samples, reference), &cpu).map(|ratio| ratio.median),
        cpu: Summary::of(cpu.into_iter().flatten()),
        rate: median(|sample| Some(sample.rate)).map(|rate| rate.median),
        added: latency
            .zip(direct)
            .map(|(own, direct)| own.median - direct.median)
            .filter(|_| kind != Kind::Direct),
        latency,
        p99: median(|sample| sample.p99_us).map(|p99| p99.median),
        pss: of_kind.iter().filter_map(|sample| sample.pss_kib).max(),
        errors: of_kind.iter().map(|sample| sample.errors).sum(),
    })
}

/// CPU of each round.
pub(super) fn cpus(samples: &Samples, kind: Kind) -> Vec<Option<f64>> {
    samples.get(&kind).map_or_else(Vec::new, |of_kind| of_kind.iter().map(|sample| sample.cpu_us).collect())
}

/// The table of one workload.
pub(super) fn table(comparison: &Comparison, workload: Workload) -> Table {
    let rows = kinds(comparison, workload).into_iter().map(|kind| row(comparison, workload, kind));
    let header = header(workload);
    markdown(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows.collect())
}

fn header(workload: Workload) -> Vec<String> {
    let cpu = match workload.unit() {
        Unit::Request => "CPU µs".to_owned(),
        unit => format!("CPU µs per {}", unit.name()),
    };
    let rate = match workload.unit() {
        Unit::Request => "req/s".to_owned(),
        unit => format!("{}/s", unit.name()),
    };
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut header = text(&["peer"]);
    header.push(cpu);
    header.extend(text(&["spread", "×"]));
    header.push(rate);
    header.extend(text(&["latency µs", "added µs", "p99 µs", "PSS MiB", "errors"]));
    header
}

fn kinds(comparison: &Comparison, workload: Workload) -> Vec<Kind> {
    let measured = comparison.samples.get(&workload).into_iter().flat_map(BTreeMap::keys);
    let blank = comparison.blanks.get(&workload).into_iter().flat_map(BTreeMap::keys);
    let mut kinds: Vec<_> = measured.chain(blank).copied().collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn row(comparison: &Comparison, workload: Workload, kind: Kind) -> Vec<String> {
    let samples = comparison.samples.get(&workload);
    let mut cells = vec![kind.name().to_owned()];
    let Some(figures) = samples.and_then(|samples| figures(samples, kind, comparison.reference)) else {
        cells.resize(header(workload).len(), "–".to_owned());
        return cells;
    };
    cells.extend([
        shown(figures.cpu.map(|cpu| cpu.median), 2),
        figures.cpu.map_or_else(String::new, |cpu| format!("{:.0} %", cpu.spread() * 100.0)),
        shown(figures.ratio, 2),
        shown(figures.rate, 0),
        shown(figures.latency.map(|latency| latency.median), 0),
        shown(figures.added, 0),
        shown(figures.p99, 0),
        shown(figures.pss.map(mib), 1),
        figures.errors.to_string(),
    ]);
    cells
}

/// The page.
pub(super) fn page(comparison: &Comparison, rows: &[Row]) -> Page {
    let mut page = Page::new("How Bellhop compares", &machine(&comparison.machine));
    page.note(&method(comparison));
    for (kind, how) in &comparison.absent {
        page.note(&format!("{} took no part: {how}", kind.name()));
    }
    page.section(numbers::section(rows));
    for workload in workloads(comparison) {
        page.section(section(comparison, workload));
    }
    page
}

fn section(comparison: &Comparison, workload: Workload) -> Section {
    let mut section = Section::new(workload.title());
    let samples = comparison.samples.get(&workload);
    let kinds = kinds(comparison, workload);
    let plot = |value: &dyn Fn(&Figures) -> Option<Summary>| -> Vec<Bar> {
        let bar = |kind: &Kind| {
            let figures = samples.and_then(|samples| figures(samples, *kind, comparison.reference))?;
            let value = value(&figures)?;
            Some(Bar { label: kind.name().to_owned(), value, ours: kind.is_bellhop() })
        };
        kinds.iter().filter_map(bar).collect()
    };
    let cpu = plot(&|figures| figures.cpu);
    let latency = plot(&|figures| {
        let latency = figures.latency?;
        let high = figures.p99.unwrap_or(latency.high).max(latency.median);
        Some(Summary { high, low: latency.median, ..latency })
    });
    section.plots([
        (&*format!("CPU of the proxy, µs per {}", workload.unit().name()), bars(&cpu)),
        ("Latency, µs: median, and a whisker to the 99th percentile", bars(&latency)),
    ]);
    let rows = kinds.iter().map(|kind| row(comparison, workload, *kind)).collect();
    section.table(header(workload), rows);
    for (kind, why) in comparison.blanks.get(&workload).into_iter().flatten() {
        section.note(&format!("{}: {why}", kind.name()));
    }
    section
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sample(cpu_us: Option<f64>, latency_us: f64) -> Sample {
        Sample {
            cpu_us,
            rate: 1000.0,
            latency_us: Some(latency_us),
            p99_us: None,
            pss_kib: cpu_us.map(|_| 2048),
            errors: 0,
        }
    }

    pub(crate) fn comparison(samples: &[(Workload, Kind, Sample)]) -> Comparison {
        let mut by_workload: BTreeMap<Workload, Samples> = BTreeMap::new();
        for (workload, kind, sample) in samples {
            by_workload.entry(*workload).or_default().entry(*kind).or_default().push(*sample);
        }
        Comparison {
            machine: crate::machine::Machine::look(&[]),
            window_seconds: 1.0,
            rounds: 1,
            reference: Kind::Bellhop,
            samples: by_workload,
            saturation: BTreeMap::new(),
            absent: BTreeMap::new(),
            blanks: BTreeMap::new(),
            failures: 0,
        }
    }

    #[test]
    fn a_peer_without_a_process_has_a_rate_and_no_cost_and_one_that_cannot_has_dashes() {
        let load = Workload::WebSocket;
        let mut comparison = comparison(&[
            (load, Kind::Direct, sample(None, 10.0)),
            (load, Kind::Bellhop, sample(Some(5.0), 25.0)),
            (load, Kind::Haproxy, sample(Some(10.0), 30.0)),
        ]);
        comparison.blanks.entry(load).or_default().insert(Kind::HyperRelay, "no <upgrades>".to_owned());
        let shown = table(&comparison, load).to_string();
        let cells = |peer: &str| -> Vec<String> {
            let line = shown.lines().find(|l| l.contains(peer)).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("haproxy")[2..8], ["10.00", "0 %", "0.50", "1000", "30", "20"]);
        assert_eq!(cells("direct")[2..8], ["", "", "", "1000", "10", ""]);
        assert_eq!(cells("hyper-relay")[2..5], ["–", "–", "–"]);
        let page = page(&comparison, &[]).render();
        assert!(page.contains("no &lt;upgrades&gt;") && page.contains("<svg"), "{page}");
    }

    #[test]
    fn what_is_stored_reads_back_the_same() {
        let comparison = comparison(&[(Workload::Http1x64, Kind::Bellhop, sample(Some(5.0), 25.0))]);
        let text = serde_json::to_string(&comparison).unwrap();
        let back: Comparison = serde_json::from_str(&text).unwrap();
        assert_eq!(
            table(&back, Workload::Http1x64).to_string(),
            table(&comparison, Workload::Http1x64).to_string()
        );
    }
}
