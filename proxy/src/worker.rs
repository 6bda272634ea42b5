//! A worker: one OS thread with a current-thread runtime. A connection lives and dies on its worker; request state is
//! `!Send` and lock-free.
//!
//! A panic loses the connection whose task it was, alone: the runtime catches it at the task, and it is counted.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tokio::{runtime, sync::mpsc};

use crate::{
    buffer::Buffers,
    connection::{self, Accepted},
    counters::Event,
    drain::Phase,
    endpoints::Endpoints,
    http1::Lines,
    patrol::Patrol,
    retries::Retries,
    shared::SharedRef,
    telemetry::{Side, WorkerTelemetry},
};

/// Request state lives on the heap, in tasks; a worker's stack carries calls alone.
const STACK_BYTES: usize = 1024 * 1024;

/// Steps of connections between two looks at the sockets. With many connections each look brings many steps; to go through
/// them without another look in between costs a busy worker less, and no step takes long.
const EVENT_INTERVAL: u32 = 256;

/// Sockets taken up in one look. The kernel touches each as it reports it; so few are still in the core's caches when their
/// turn comes, and no look costs more for that than it saves.
const EVENTS_AT_ONCE: usize = 64;

/// What the connections of one worker share, without a lock.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What all threads share.
    pub(crate) shared: SharedRef,
    /// What this worker counts and logs.
    pub(crate) telemetry: Rc<WorkerTelemetry>,
    /// Sandbox endpoints in use.
    pub(crate) endpoints: Rc<Endpoints>,
    /// Buffers that no connection holds.
    pub(crate) buffers: Rc<Buffers>,
    /// Lists of fields that no request holds.
    pub(crate) lines: Rc<Lines>,
    /// How often requests are sent a second time.
    pub(crate) retries: Retries,
    /// The coarse clock that ends what takes too long.
    pub(crate) patrol: Rc<Patrol>,
}

impl Worker {
    /// Worker number `number`, without connections. Made on its own thread.
    pub(crate) fn new(shared: SharedRef, number: usize) -> Self {
        let telemetry = shared.telemetry.worker(number);
        let (endpoints, buffers, lines) = <(Rc<Endpoints>, Rc<Buffers>, Rc<Lines>)>::default();
        let patrol = Rc::new(Patrol::new(Rc::clone(&buffers), Rc::clone(&lines)));
        let retries = Retries::new(shared.config.limits.retry_budget);
        Self { shared, telemetry, endpoints, buffers, lines, retries, patrol }
    }

    /// Whether a request is sent a second time, which is counted either way. One that no upstream saw a byte of is
    /// `unseen`, and always is.
    #[cold]
    pub(crate) fn retries(&self, side: Side, unseen: bool) -> bool {
        let granted = unseen || self.retries.take();
        self.shared.telemetry.retried(side, granted);
        granted
    }
}

/// The acceptor's end of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    connections: mpsc::UnboundedSender<Accepted>,
    held: Arc<AtomicUsize>,
}

/// A worker's thread; ends after the last [`Handle`] was dropped and the last connection ended.
pub(crate) type Thread = thread::JoinHandle<()>;

/// Starts worker number `number`.
///
/// # Errors
/// When the thread or its runtime cannot be had.
pub(crate) fn start(shared: SharedRef, number: usize) -> io::Result<(Handle, Thread)> {
    let (connections, arriving) = mpsc::unbounded_channel();
    let held = Arc::new(AtomicUsize::new(0));
    let handle = Handle { connections, held: Arc::clone(&held) };
    let mut runtime = runtime::Builder::new_current_thread();
    runtime.enable_io().enable_time().event_interval(EVENT_INTERVAL).max_io_events_per_tick(EVENTS_AT_ONCE);
    let thread = thread::Builder::new().name(format!("worker-{number}")).stack_size(STACK_BYTES);
    let thread = thread.spawn(move || match runtime.build_local(runtime::LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(work(shared, number, arriving, held)),
        Err(error) => tracing::error!(%error, "a worker has no runtime"),
    })?;
    Ok((handle, thread))
}

impl Handle {
    /// Connections that the worker holds.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Hands a connection over. It is dropped, and so closed, where the worker is gone.
    pub(crate) fn take(&self, accepted: Accepted) {
        self.held.fetch_add(1, Relaxed);
        if self.connections.send(accepted).is_err() {
            self.held.fetch_sub(1, Relaxed);
        }
    }
}

/// Ends with the proxy; what connections are left then are cut as the runtime is dropped.
async fn work(
    shared: SharedRef,
    number: usize,
    arriving: mpsc::UnboundedReceiver<Accepted>,
    held: Arc<AtomicUsize>,
) {
    let worker = Rc::new(Worker::new(shared, number));
    let muster = async {
        worker.shared.drain.reached(Phase::Draining).await;
        worker.patrol.muster();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serve_all(&worker, arriving, held) => {}
        () = muster => {}
        () = worker.shared.overload.relieve(|| worker.patrol.relieve()) => {}
        () = worker.shared.drain.reached(Phase::Ended) => {}
    }
}

async fn serve_all(
    worker: &Rc<Worker>,
    mut arriving: mpsc::UnboundedReceiver<Accepted>,
    held: Arc<AtomicUsize>,
) {
    while let Some(accepted) = arriving.recv().await {
        let held = Held { worker: Rc::clone(worker), count: Arc::clone(&held) };
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let _held = held;
            connection::serve(worker, accepted).await;
        });
    }
}

/// One connection's place on its worker.
struct Held {
    worker: Rc<Worker>,
    count: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
        if thread::panicking() {
            self.worker.shared.counters.count(Event::Panicked);
        }
    }
}
