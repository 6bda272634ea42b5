//! The side-by-side comparison.

use std::collections::BTreeMap;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    cli, install,
    machine::Machine,
    measure::{Sample, measure},
    peers::{Kind, Peer},
    report,
    stage::Stage,
    verify,
    workload::Workload,
};

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// What it was made on.
    pub machine: Machine,
    /// Length of a window in seconds.
    pub window_seconds: u64,
    /// Rounds.
    pub rounds: u32,
    /// Who ratios are told against.
    pub reference: Kind,
    /// Samples by workload and peer, in the order of the rounds.
    pub samples: BTreeMap<Workload, BTreeMap<Kind, Vec<Sample>>>,
}

/// Runs the comparison and reports it.
///
/// # Errors
/// Where a peer does not start, routes wrongly, or a load fails.
pub async fn run(options: cli::Compare) -> anyhow::Result<()> {
    let kinds = select(&options.common.peers);
    let kinds = install::present(&kinds, options.common.install).await?;
    let workloads =
        if options.workloads.is_empty() { Workload::value_variants() } else { &options.workloads };
    let mut comparison = Comparison {
        machine: Machine::look(&kinds),
        window_seconds: options.seconds,
        rounds: options.rounds,
        reference: options.reference.unwrap_or_else(|| default_reference(&kinds)),
        samples: BTreeMap::new(),
    };
    let stage = Stage::set(&options.common, kinds.contains(&Kind::Bellhop)).await?;
    let peers = start(&kinds, &stage).await?;

    let points = workloads.len() * peers.len() * usize::try_from(options.rounds)?;
    let progress = progress(points)?;
    for &workload in workloads {
        for round in 0..options.rounds {
            for peer in rotated(&peers, round) {
                progress.set_message(format!("{} · {}", workload.name(), peer.kind.name()));
                let sample = measure(peer, workload, options.seconds, &stage).await?;
                let of_workload = comparison.samples.entry(workload).or_default();
                of_workload.entry(peer.kind).or_default().push(sample);
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    report::comparison(&comparison, options.common.json.as_deref())
}

/// All peers where none are named; each once, in the order of [`Kind`].
pub(crate) fn select(named: &[Kind]) -> Vec<Kind> {
    let all = Kind::value_variants().iter().copied();
    all.filter(|kind| named.is_empty() || named.contains(kind)).collect()
}

fn default_reference(kinds: &[Kind]) -> Kind {
    [Kind::Bellhop, Kind::Haproxy, Kind::HyperRelay]
        .into_iter()
        .find(|kind| kinds.contains(kind))
        .unwrap_or(Kind::Direct)
}

/// Starts every peer and proves its routing.
async fn start(kinds: &[Kind], stage: &Stage) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for kind in kinds {
        let peer = kind.start(stage).await?;
        verify::verify(&peer).await?;
        peers.push(peer);
    }
    Ok(peers)
}

/// Each round begins with another peer, so that none has the same neighbour's traces in its caches all the time.
fn rotated(peers: &[Peer], round: u32) -> impl Iterator<Item = &Peer> {
    let first = round as usize % peers.len().max(1);
    peers.iter().cycle().skip(first).take(peers.len())
}

/// Silent where standard error is no terminal.
fn progress(points: usize) -> anyhow::Result<ProgressBar> {
    let style =
        ProgressStyle::with_template("[{elapsed_precise} of about {duration_precise}] {pos}/{len} {msg}")?;
    Ok(ProgressBar::new(points as u64).with_style(style))
}
