//! The side-by-side comparison.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    cli, install,
    machine::Machine,
    measure::{Method, Sample},
    peers::{Kind, Peer},
    progress::Progress,
    report,
    stage::Stage,
    verify,
    workload::{Files, Load, Workload},
};

/// A reason that stands in a table is cut after so many characters; standard error has it whole.
const BLANK_CHARS: usize = 200;

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// What it was made on.
    pub machine: Machine,
    /// Length of a window in seconds.
    pub window_seconds: f64,
    /// Rounds.
    pub rounds: u32,
    /// Who ratios are told against.
    pub reference: Kind,
    /// Samples by workload and peer, in the order of the rounds.
    pub samples: BTreeMap<Workload, BTreeMap<Kind, Vec<Sample>>>,
    /// Requests per second that saturate each peer in the open loop's setting.
    #[serde(default)]
    pub saturation: BTreeMap<Kind, f64>,
    /// Peers that took no part, and how to get them.
    #[serde(default)]
    pub absent: BTreeMap<Kind, String>,
    /// Points that have no samples, and why.
    #[serde(default)]
    pub blanks: BTreeMap<Workload, BTreeMap<Kind, String>>,
    /// How many points failed.
    #[serde(default)]
    pub failures: usize,
}

/// Runs the comparison and reports it.
///
/// # Errors
/// Where a peer does not start or routes wrongly; and, after the report, where a point failed.
pub async fn run(options: cli::Compare) -> anyhow::Result<()> {
    let earlier = options.against.as_deref().map(report::against::read).transpose()?;
    let (kinds, mut absent) =
        install::present(&select(&options.beside.peers), options.beside.install).await?;
    let wanted = if options.workloads.is_empty() { Workload::value_variants() } else { &options.workloads };
    let workloads = install::possible(wanted, options.beside.install).await?;
    let stage = Stage::set(&options.common, kinds.iter().any(|kind| kind.is_bellhop())).await?;
    let files = Files::write(stage.dir())?;
    let (peers, more) = start(&kinds, &workloads, &stage).await?;
    absent.extend(more);
    let mut comparison = Comparison {
        machine: Machine::look(&kinds),
        window_seconds: options.seconds,
        rounds: options.rounds,
        reference: options.reference.unwrap_or_else(|| default_reference(&kinds)),
        samples: BTreeMap::new(),
        saturation: BTreeMap::new(),
        absent,
        blanks: BTreeMap::new(),
        failures: 0,
    };
    let window = Duration::from_secs_f64(options.seconds);
    let method = Method { stage: &stage, files: &files, window };
    comparison.measure(&method, &peers, &workloads).await?;
    drop(peers);
    report::comparison(&comparison, earlier.as_ref(), &options)?;
    ensure!(comparison.failures == 0, "{} points failed: see above", comparison.failures);
    Ok(())
}

impl Comparison {
    async fn measure(
        &mut self,
        method: &Method<'_>,
        peers: &[Peer],
        workloads: &[Workload],
    ) -> anyhow::Result<()> {
        let points = workloads.len() * peers.len() * usize::try_from(self.rounds)?;
        let progress = Progress::new(points)?;
        for &workload in workloads {
            for round in 0..self.rounds {
                for peer in rotated(peers, round) {
                    let blank =
                        self.blanks.get(&workload).is_some_and(|kinds| kinds.contains_key(&peer.kind));
                    if !blank {
                        progress.at(&format!("{} · {}", workload.name(), peer.kind.name()));
                        self.point(method, peer, workload).await;
                    }
                    progress.step();
                }
            }
        }
        progress.end();
        Ok(())
    }

    /// One point. A failure is told and leaves the others alone.
    async fn point(&mut self, method: &Method<'_>, peer: &Peer, workload: Workload) {
        if let Some(why) = peer.kind.cannot(workload) {
            self.blank(workload, peer.kind, why.to_owned());
            return;
        }
        let measured = match workload.load() {
            Load::Oha(part) => self.open_loop(method, peer, workload, part).await,
            _ => method.measure(peer, workload, None).await,
        };
        match measured {
            Ok(sample) => {
                self.samples.entry(workload).or_default().entry(peer.kind).or_default().push(sample);
            }
            Err(error) => {
                eprintln!("{} · {}: {error:#}", workload.name(), peer.kind.name());
                self.failures += 1;
                let why: String = format!("failed: {error:#}").chars().take(BLANK_CHARS).collect();
                self.blank(workload, peer.kind, why);
            }
        }
    }

    async fn open_loop(
        &mut self,
        method: &Method<'_>,
        peer: &Peer,
        workload: Workload,
        part: f64,
    ) -> anyhow::Result<Sample> {
        let saturation = match self.saturation.get(&peer.kind) {
            Some(known) => *known,
            None => {
                let rate = method.saturation(peer, workload).await?;
                self.saturation.insert(peer.kind, rate);
                rate
            }
        };
        method.measure(peer, workload, Some(saturation * part)).await
    }

    fn blank(&mut self, workload: Workload, kind: Kind, why: String) {
        self.blanks.entry(workload).or_default().insert(kind, why);
    }
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

/// Starts every peer and proves its routing. An intercepting proxy may fail for reasons of the machine (a kernel without
/// packet filters): it is then told and left out.
async fn start(
    kinds: &[Kind],
    workloads: &[Workload],
    stage: &Stage,
) -> anyhow::Result<(Vec<Peer>, BTreeMap<Kind, String>)> {
    let (mut peers, mut absent) = (Vec::new(), BTreeMap::new());
    for &kind in kinds {
        let started = async {
            let peer = kind.start(stage).await?;
            verify::verify(&peer, workloads).await?;
            anyhow::Ok(peer)
        };
        match started.await {
            Ok(peer) => peers.push(peer),
            Err(error) if kind == Kind::BellhopIntercepted => {
                eprintln!("{} takes no part: {error:#}", kind.name());
                absent.insert(kind, format!("{error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((peers, absent))
}

/// Each round begins with another peer, so that none has the same neighbour's traces in its caches all the time.
fn rotated(peers: &[Peer], round: u32) -> impl Iterator<Item = &Peer> {
    let first = round as usize % peers.len().max(1);
    peers.iter().cycle().skip(first).take(peers.len())
}
