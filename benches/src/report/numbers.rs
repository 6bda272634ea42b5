//! The numbers to reach (DESIGN §6): what each row asks for, what was measured, and whether that is reached.

use comfy_table::Table;

use super::{compared::cpus, html::Section, markdown};
use crate::{
    compare::Comparison,
    measure::statistics::{Summary, ratio},
    peers::Kind,
    workload::Workload,
};

/// One thing to reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What.
    pub what: String,
    /// The limit, for people.
    pub reach: String,
    /// What was measured, for people.
    pub measured: String,
    /// Whether that is within the limit; `None` where it was not measured.
    pub reached: Option<bool>,
}

impl Row {
    /// `value` has to be at most `limit`; both are told with `unit`.
    #[must_use]
    pub fn at_most(what: &str, limit: f64, unit: &str, value: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            reach: format!("≤ {limit} {unit}").trim_end().to_owned(),
            measured: value.map_or_else(
                || "not measured".to_owned(),
                |value| format!("{value:.2} {unit}").trim_end().to_owned(),
            ),
            reached: value.map(|value| value <= limit),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.reached {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "–",
        }
    }
}

/// Limits of CPU per request, as parts of what a peer takes in the same round.
const CPU: [(Workload, Kind, f64); 9] = [
    (Workload::Http1x64, Kind::Haproxy, 0.9),
    (Workload::Http1x64, Kind::HaproxyTcp, 1.15),
    (Workload::Http1x64, Kind::HyperRelay, 0.85),
    (Workload::Http1x64, Kind::Envoy, 0.35),
    (Workload::Http1x1000, Kind::Haproxy, 0.5),
    (Workload::Http1x1000, Kind::HaproxyTcp, 1.15),
    (Workload::Http2x8, Kind::Haproxy, 1.0),
    (Workload::Http2x8, Kind::Envoy, 0.6),
    (Workload::Http2x8, Kind::HyperRelay, 1.15),
];

/// The rows that a comparison knows.
#[must_use]
pub fn of_comparison(comparison: &Comparison) -> Vec<Row> {
    let mut rows: Vec<_> =
        CPU.iter().map(|(load, kind, limit)| cpu(comparison, *load, *kind, *limit)).collect();
    let added = added_latency(comparison);
    rows.push(Row::at_most("added median latency, one connection", 1.0, "× haproxy's", added));
    rows
}

fn cpu(comparison: &Comparison, workload: Workload, kind: Kind, limit: f64) -> Row {
    let ratio = comparison
        .samples
        .get(&workload)
        .and_then(|samples| ratio(&cpus(samples, Kind::Bellhop), &cpus(samples, kind)));
    let what = format!("CPU per request, {}", workload.title());
    let mut row = Row::at_most(&what, limit, &format!("× {}", kind.name()), ratio.map(|ratio| ratio.median));
    if let Some(Summary { low, high, .. }) = ratio {
        row.measured.push_str(&format!(" ({low:.2} to {high:.2})"));
    }
    row
}

/// Bellhop's added latency ÷ HAProxy's, round by round.
fn added_latency(comparison: &Comparison) -> Option<f64> {
    let samples = comparison.samples.get(&Workload::Http1x1)?;
    let latencies = |kind: Kind| samples.get(&kind).into_iter().flatten().map(|sample| sample.latency_us);
    let added = |kind: Kind| -> Vec<Option<f64>> {
        latencies(kind).zip(latencies(Kind::Direct)).map(|(own, direct)| Some(own? - direct?)).collect()
    };
    ratio(&added(Kind::Bellhop), &added(Kind::Haproxy)).map(|ratio| ratio.median)
}

/// As a table.
#[must_use]
pub fn table(rows: &[Row]) -> Table {
    markdown(&HEADER, cells(rows))
}

const HEADER: [&str; 4] = ["what", "reach", "measured", ""];

fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    let cells =
        |row: &Row| vec![row.what.clone(), row.reach.clone(), row.measured.clone(), row.verdict().into()];
    rows.iter().map(cells).collect()
}

/// As a section of a page.
#[must_use]
pub fn section(rows: &[Row]) -> Section {
    let mut section = Section::new("The numbers to reach");
    section.table(HEADER.map(str::to_owned).into(), cells(rows));
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compared::tests::{comparison, sample};

    #[test]
    fn a_row_is_reached_at_its_limit_missed_above_it_and_open_where_nothing_was_measured() {
        let measured = comparison(&[
            (Workload::Http1x64, Kind::Bellhop, sample(Some(9.0), 1.0)),
            (Workload::Http1x64, Kind::Haproxy, sample(Some(10.0), 1.0)),
            (Workload::Http1x64, Kind::HyperRelay, sample(Some(10.0), 1.0)),
        ]);
        let rows = of_comparison(&measured);
        let verdict = |peer: &str| {
            let row =
                rows.iter().find(|row| row.what.contains("64 conn") && row.reach.ends_with(peer)).unwrap();
            row.verdict()
        };
        assert_eq!(verdict("× haproxy"), "reached");
        assert_eq!(verdict("× hyper-relay"), "missed");
        assert_eq!(verdict("× envoy"), "–");
    }

    #[test]
    fn added_latency_is_told_as_a_part_of_haproxys() {
        let measured = comparison(&[
            (Workload::Http1x1, Kind::Direct, sample(None, 10.0)),
            (Workload::Http1x1, Kind::Haproxy, sample(Some(1.0), 30.0)),
            (Workload::Http1x1, Kind::Bellhop, sample(Some(1.0), 25.0)),
        ]);
        assert_eq!(added_latency(&measured), Some(0.75));
    }
}
