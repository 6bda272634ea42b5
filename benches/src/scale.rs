//! What Bellhop takes when it grows: memory idle, busy, with many routes and with many connections; how quickly it is
//! there; how long a change takes until it is in force everywhere; and that changes cost no request.

mod churn;
mod door;
mod idle;
mod pages;
mod peer;
mod start_up;
pub mod tables;
mod watcher;
mod watchers;

use serde::Serialize;

pub(crate) use self::start_up::ready as is_ready;
pub use self::{
    churn::Churned,
    pages::Paged,
    peer::Scaled,
    tables::TableSize,
    watchers::{Real, Watched},
};
use crate::{
    cli::{self, Part},
    compare::select,
    install,
    machine::Machine,
    peers::Kind,
    report,
    stage::Stage,
};

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub struct Scaling {
    /// What it was made on.
    pub machine: Machine,
    /// Idle connections held.
    pub connections: usize,
    /// Sandboxes loaded.
    pub sandboxes: usize,
    /// Starts measured.
    pub starts: usize,
    /// By peer.
    pub peers: Vec<Scaled>,
    /// By number of routes.
    pub tables: Vec<TableSize>,
    /// By number of watchers.
    pub watched: Vec<Watched>,
    /// Pages of a long list.
    pub paged: Vec<Paged>,
    /// Real proxies.
    pub real: Option<Real>,
    /// Route changes under load.
    pub churned: Option<Churned>,
}

/// Measures and reports.
///
/// # Errors
/// Where a peer does not start, routes wrongly, or a load fails.
pub async fn run(options: cli::Scale) -> anyhow::Result<()> {
    let kinds: Vec<_> = select(&options.beside.peers)
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Direct | Kind::BellhopLogged | Kind::BellhopIntercepted))
        .collect();
    let (kinds, _) = install::present(&kinds, options.beside.install).await?;
    install::possible(&[crate::workload::Workload::Http1x64], options.beside.install).await?;
    let mut scaling = Scaling {
        machine: Machine::look(&kinds),
        connections: options.connections,
        sandboxes: options.sandboxes,
        starts: options.starts,
        peers: Vec::new(),
        tables: Vec::new(),
        watched: Vec::new(),
        paged: Vec::new(),
        real: None,
        churned: None,
    };
    let stage = Stage::set(&options.common, kinds.contains(&Kind::Bellhop)).await?;
    let wants = |part| options.parts.is_empty() || options.parts.contains(&part);
    if wants(Part::Peers) {
        for &kind in &kinds {
            eprintln!("{}", kind.name());
            scaling.peers.push(peer::scale(kind, &options, &stage).await?);
        }
    }
    if kinds.contains(&Kind::Bellhop) {
        bellhop(&mut scaling, &options, &stage, wants).await?;
    }
    report::scaled::scaling(&scaling, &options.common)
}

async fn bellhop(
    scaling: &mut Scaling,
    options: &cli::Scale,
    stage: &Stage,
    wants: impl Fn(Part) -> bool,
) -> anyhow::Result<()> {
    if wants(Part::Churn) {
        eprintln!("route changes under load");
        scaling.churned = Some(churn::measure(stage).await?);
    }
    if wants(Part::Watchers) {
        eprintln!("real proxies");
        scaling.real = Some(watchers::real(stage).await?);
        for &count in &options.watchers {
            for &tls in options.tls.values() {
                eprintln!("{count} watchers{}", if tls { " with TLS" } else { "" });
                scaling.watched.push(watchers::measure(stage, count, tls).await?);
            }
        }
    }
    if wants(Part::Pages) {
        eprintln!("a page of {} sandboxes", options.listed);
        scaling.paged = pages::measure(stage, options.listed).await?;
    }
    if wants(Part::Tables) {
        for &keys in &options.routes {
            eprintln!("{keys} routes");
            scaling.tables.push(tables::measure(stage, keys).await?);
        }
    }
    Ok(())
}
