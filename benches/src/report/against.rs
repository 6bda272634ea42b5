//! A run set against an earlier one. Costs are compared as parts of what the peers took in the same run, since machines
//! and their moods differ; memory as it is. What became worse is told only where the rounds of the two runs do not
//! overlap.

use std::path::Path;

use anyhow::Context;

use super::compared::cpus;
use crate::{
    compare::Comparison,
    measure::statistics::{Summary, ratio},
    peers::Kind,
    workload::Workload,
};

/// Differences below this part are never told.
const LEAST: f64 = 0.03;
/// What Bellhop is set against.
const PEERS: [Kind; 3] = [Kind::HaproxyTcp, Kind::HyperRelay, Kind::Haproxy];

/// Something that changed beyond noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What.
    pub what: String,
    /// Before.
    pub before: Summary,
    /// Now.
    pub now: Summary,
}

impl Change {
    /// Whether it became worse.
    #[must_use]
    pub fn worse(&self) -> bool {
        self.now.median > self.before.median
    }
}

/// An earlier run's JSON.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> anyhow::Result<Comparison> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no comparison's JSON", path.display()))
}

/// What changed from `earlier` to `now`.
#[must_use]
pub fn changes(earlier: &Comparison, now: &Comparison) -> Vec<Change> {
    let mut changes = Vec::new();
    for workload in now.samples.keys() {
        for own in [Kind::Bellhop, Kind::BellhopIntercepted] {
            for peer in PEERS {
                let part = |run| part(run, *workload, own, peer);
                let what = format!("{}: CPU of {} ÷ {}", workload.name(), own.name(), peer.name());
                changes.extend(change(what, part(earlier), part(now)));
            }
            let memory = |run| memory(run, *workload, own);
            let what = format!("{}: PSS of {} in KiB", workload.name(), own.name());
            changes.extend(change(what, memory(earlier), memory(now)));
        }
    }
    changes
}

fn part(run: &Comparison, workload: Workload, own: Kind, peer: Kind) -> Option<Summary> {
    let samples = run.samples.get(&workload)?;
    ratio(&cpus(samples, own), &cpus(samples, peer))
}

fn memory(run: &Comparison, workload: Workload, own: Kind) -> Option<Summary> {
    let samples = run.samples.get(&workload)?.get(&own)?;
    Summary::of(samples.iter().filter_map(|sample| sample.pss_kib).map(|kib| kib as f64))
}

fn change(what: String, before: Option<Summary>, now: Option<Summary>) -> Option<Change> {
    let (before, now) = before.zip(now)?;
    let apart = now.low > before.high || now.high < before.low;
    let large = (now.median - before.median).abs() > before.median * LEAST;
    (apart && large).then_some(Change { what, before, now })
}

/// For people.
#[must_use]
pub fn told(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let sign = if change.worse() { "WORSE " } else { "better" };
        let percent = (change.now.median / change.before.median - 1.0) * 100.0;
        format!(
            "{sign} {}: {:.2} → {:.2} ({percent:+.0} %)",
            change.what, change.before.median, change.now.median
        )
    };
    let mut lines: Vec<_> = changes.iter().map(line).collect();
    lines.sort_unstable();
    let worse = changes.iter().filter(|change| change.worse()).count();
    lines.insert(
        0,
        format!(
            "Against the earlier run, beyond the noise of both: {worse} worse, {} better",
            changes.len() - worse
        ),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compared::tests::{comparison, sample};

    fn run(bellhop: &[f64]) -> Comparison {
        let load = Workload::Http1x64;
        let mut samples: Vec<_> =
            bellhop.iter().map(|cpu| (load, Kind::Bellhop, sample(Some(*cpu), 1.0))).collect();
        samples.extend(bellhop.iter().map(|_| (load, Kind::Haproxy, sample(Some(10.0), 1.0))));
        comparison(&samples)
    }

    #[test]
    fn what_overlaps_or_is_small_is_not_told_and_what_does_neither_is() {
        let earlier = run(&[8.0, 8.2, 8.4]);
        assert_eq!(changes(&earlier, &run(&[8.3, 9.0, 9.5])), [], "overlaps");
        assert_eq!(changes(&run(&[8.0; 3]), &run(&[8.1; 3])), [], "small");
        let worse = changes(&earlier, &run(&[9.0, 9.1, 9.2]));
        assert!(worse.len() == 1 && worse[0].worse(), "{worse:?}");
        assert!(
            told(&worse).contains("1 worse, 0 better") && told(&worse).contains("WORSE"),
            "{}",
            told(&worse)
        );
        let better = changes(&earlier, &run(&[7.0, 7.1, 7.2]));
        assert!(better.len() == 1 && !better[0].worse(), "{better:?}");
    }
}
