//! The housekeeping thread: routes, admin, metrics and the export of spans live here, so that none of them ever delays a
//! request.

use std::{
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use bellhop_spans::Exporter;
use tokio::runtime;

use crate::{
    admin::{self, Bound, Doors},
    drain::Phase,
    handover::Predecessor,
    program,
    routes::Routes,
    shared::SharedRef,
    status,
    telemetry::Spans,
};

/// How often a proxy that takes over looks whether it is ready.
const LOOK: Duration = Duration::from_millis(10);

/// What starting needed is given back so long after it: the first table is there by then, or will not be soon.
const STARTED: Duration = Duration::from_secs(1);

/// Parsing a large table and serving admin requests happen on it.
const STACK_BYTES: usize = 1024 * 1024;

/// What the thread begins with.
#[derive(Debug)]
pub(super) struct House {
    /// Routes that are to be followed.
    pub(super) routes: Routes,
    /// The proxy's own listeners.
    pub(super) doors: Doors,
    /// The proxy whose place this one takes.
    pub(super) predecessor: Option<Predecessor>,
    /// Where spans go.
    pub(super) exporter: Option<Exporter>,
}

async fn settle() {
    tokio::time::sleep(STARTED).await;
    program::give_back();
}

impl House {
    /// Starts it. It ends with the proxy, after a goodbye to control, a last look after the snapshot and the last spans.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be had.
    pub(super) fn start(self, shared: SharedRef) -> io::Result<JoinHandle<()>> {
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().max_blocking_threads(2).build()?;
        let thread = thread::Builder::new().name("housekeeping".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || runtime.block_on(self.keep(&shared)))
    }

    async fn keep(self, shared: &SharedRef) {
        let Self { routes, doors, predecessor, exporter } = self;
        let drain = &shared.drain;
        let (leaving, ended) = (drain.reached(Phase::Draining), drain.reached(Phase::Ended));
        let routes = routes.run(&shared.tables, &shared.telemetry.housekeeping, leaving, ended);
        let admin = matches!(doors.admin, Some(Bound::Unix(..)));
        let doors = async {
            shared.succession.opened().await;
            admin::serve(doors, shared).await;
        };
        let succeed = async {
            if let Some(predecessor) = predecessor {
                succeed(shared, predecessor, admin).await;
            }
        };
        let spans = async {
            if let Some((waiting, exporter)) = shared.telemetry.waiting_spans().zip(exporter) {
                let spans = Spans::default();
                waiting.export(exporter, |account| spans.of(&account), drain.reached(Phase::Ended)).await;
            }
        };
        tokio::select! {
            () = async { tokio::join!(routes, spans, drain.reached(Phase::Ended)); } => {}
            // They may come to their end before the proxy does.
            () = async {
                tokio::join!(doors, succeed, shared.overload.watch(), settle());
                std::future::pending().await
            } => {}
        }
    }
}

/// Takes the place of the one before: lets it go when ready, and accepts then. Who comes in between waits in a queue of
/// the kernel's; and two never serve at once, should the one before have waited too long.
async fn succeed(shared: &SharedRef, predecessor: Predecessor, admin: bool) {
    let path = predecessor.path().to_owned();
    let path = path.display();
    tracing::info!(%path, "has the listeners of the proxy there, and accepts when it is ready");
    let mut looks = tokio::time::interval(LOOK);
    while !status::is_ready(shared) && !predecessor.goes_on() {
        looks.tick().await;
    }
    match tokio::task::spawn_blocking(move || predecessor.dismiss(admin)).await {
        Ok(Ok(true)) => tracing::info!(%path, "takes over; the proxy there drains"),
        Ok(Ok(false)) => {
            tracing::error!(%path, "was not ready in time: the proxy there goes on, and this one ends");
            return shared.advance(Phase::Ended);
        }
        Ok(Err(error)) => {
            tracing::warn!(%path, %error, "takes over; the proxy there is gone or does not answer");
        }
        Err(error) => tracing::error!(%error, "takes over, and could not tell"),
    }
    shared.open();
}
