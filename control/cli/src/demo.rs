//! `bellhop demo`: the whole of Bellhop on this machine in a few seconds, without root and without anything set up.

mod scene;
mod service;
mod story;

use bellhop_api::DestinationError;

use self::{
    scene::{CHAIN, Scene},
    service::Caller,
};
use crate::{
    exit::Failure,
    output::{self, Paint},
};

/// Something of the demo could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the demo cannot start: {what}: {why}")]
struct CannotStart {
    what: &'static str,
    why: String,
}

impl CannotStart {
    fn new(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self { what, why: why.to_string() }
    }
}

impl From<CannotStart> for Failure {
    fn from(why: CannotStart) -> Self {
        Self::Refused(why.to_string())
    }
}

impl From<DestinationError> for CannotStart {
    fn from(why: DestinationError) -> Self {
        Self::new("a destination", why)
    }
}

/// The requests of the demo: what a person would say, and the keys.
const REQUESTS: [(&str, &str); 5] = [
    ("no key: the baseline everywhere", ""),
    ("one key, of a sandbox of the last service", "pr-15"),
    ("another key, of a sandbox of the middle service", "pr-16"),
    ("two keys: both sandboxes in one request", "pr-15:pr-16"),
    ("a key that nobody knows: the baseline, and the answer says why", "pr-99"),
];

/// Runs the demo; all that it started has ended when it returns, Ctrl-C included.
///
/// # Errors
/// When something of it cannot be started, or an answer is not the expected one.
pub(crate) async fn run(keep: bool, paint: Paint) -> Result<(), Failure> {
    tokio::select! {
        done = play(keep, paint) => done,
        pressed = tokio::signal::ctrl_c() => {
            pressed.map_err(|why| CannotStart::new("the handler of Ctrl-C", why))?;
            output::line("\nEnding what the demo started.");
            Ok(())
        }
    }
}

async fn play(keep: bool, paint: Paint) -> Result<(), Failure> {
    output::line(
        &paint.dim("Starting a control plane, three services with a proxy each, and two sandboxes …"),
    );
    let scene = Scene::set().await?;
    output::line(&scene.picture(paint));
    let caller = Caller::new();
    let mut surprises = 0_usize;
    for (said, keys) in REQUESTS {
        let baggage = (!keys.is_empty())
            .then(|| http::HeaderValue::from_str(&format!("routing-key={keys}")))
            .transpose()
            .map_err(|why| CannotStart::new("a key", why))?;
        let call = caller.call(scene.entry(), baggage.as_ref()).await;
        let header = if keys.is_empty() { String::new() } else { format!("baggage: routing-key={keys}") };
        output::line(&format!("{}  {}", paint.bold(said), paint.dim(&header)));
        output::line(&story::draw(&call, &CHAIN, paint));
        if story::versions(&call) != scene.expected(keys) {
            surprises += 1;
        }
    }
    if surprises > 0 {
        return Err(Failure::Refused(format!(
            "{surprises} of {} requests took another path than they should; please report this",
            REQUESTS.len()
        )));
    }
    if keep {
        output::line(&scene.instructions(paint));
        std::future::pending::<()>().await;
    }
    output::line(&format!(
        "All as it should be. {}",
        paint.dim("Go on with `bellhop demo --keep`, or with the README's five-minute tour.")
    ));
    Ok(())
}
