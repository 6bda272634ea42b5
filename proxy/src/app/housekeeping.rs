//! The housekeeping thread: routes, admin and metrics live here, so that none of them ever delays a request.

use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::runtime;

use crate::{
    admin::{self, Doors},
    drain::Phase,
    routes::Routes,
    shared::SharedRef,
};

/// Parsing a large table and serving admin requests happen on it.
const STACK_BYTES: usize = 1024 * 1024;

/// Starts it. It ends with the proxy, after a goodbye to control and a last look after the snapshot.
///
/// # Errors
/// When the thread or its runtime cannot be had.
pub(super) fn start(shared: SharedRef, routes: Routes, doors: Doors) -> io::Result<JoinHandle<()>> {
    let runtime =
        runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build()?;
    let thread = thread::Builder::new().name("housekeeping".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || {
        runtime.block_on(async {
            let drain = &shared.drain;
            let (leaving, ended) = (drain.reached(Phase::Draining), drain.reached(Phase::Ended));
            let routes = routes.run(&shared.tables, &shared.telemetry.housekeeping, leaving, ended);
            tokio::select! {
                () = async { tokio::join!(routes, drain.reached(Phase::Ended)); } => {}
                // Without a listener it returns at once; the proxy does not.
                () = async { admin::serve(doors, &shared).await; std::future::pending().await } => {}
            }
        });
    })
}
