//! The lab: real services, real interception. Cases share one set of services, which is slow to start; each is a test
//! with a name of its own.
//!
//! As root these tests run, and one that cannot is a failure. Otherwise they are skipped, with the reason.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on standard output why it is skipped"
)]

mod chain;
mod check;
mod connections;
mod control_plane;
mod drain;
mod endpoints;
mod http2_peers;
mod input;
mod intercept;
mod load;
mod network;
mod replicas;
mod services;
mod stage;

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};

use chain::Chain;

/// What the cases of [`services`] share, started by the first that needs it.
#[derive(Clone, Default)]
struct Fixture(Arc<OnceLock<Result<RwLock<Chain>, String>>>);

impl Fixture {
    fn chain(&self) -> Result<&RwLock<Chain>> {
        let chain =
            self.0.get_or_init(|| Chain::start().map(RwLock::new).map_err(|error| format!("{error:#}")));
        chain.as_ref().map_err(|error| anyhow!("the services did not start: {error}"))
    }
}

/// A case that leaves the chain as it found it, and may run beside others.
fn shared(fixture: &Fixture, name: &str, case: fn(&Chain) -> Result<()>) -> Trial {
    let fixture = fixture.clone();
    trial(name, move || case(&fixture.chain()?.read().unwrap_or_else(PoisonError::into_inner)))
}

/// A case that breaks something for a while, and runs alone on the chain.
fn alone(fixture: &Fixture, name: &str, case: fn(&mut Chain) -> Result<()>) -> Trial {
    let fixture = fixture.clone();
    trial(name, move || case(&mut fixture.chain()?.write().unwrap_or_else(PoisonError::into_inner)))
}

/// A case with a network of its own.
fn apart(name: &str, case: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    trial(name, case)
}

fn trial(name: &str, case: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, || case().map_err(|error| Failed::from(format!("{error:#}"))))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Cases wait for most of their time.
    arguments.test_threads.get_or_insert(4);
    let fixture = Fixture::default();
    let mut trials = network::trials();
    trials.extend(check::trials());
    trials.extend(endpoints::trials());
    trials.extend(connections::trials());
    trials.extend(control_plane::trials());
    trials.extend(drain::trials());
    trials.extend(http2_peers::trials());
    trials.extend(input::trials());
    trials.extend(intercept::trials());
    trials.extend(replicas::trials());
    trials.extend(services::trials(&fixture));
    if let Err(why) = bellhop_e2e::net::allowed() {
        println!("the lab is skipped: {why}; run `tests/run` as root");
        trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(fixture);
    conclusion.exit_code()
}
