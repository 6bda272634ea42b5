//! The upstream connections that one client's connection owns (DESIGN §3.4): one to each destination that its requests
//! were sent to, so that what the upstream ties to a connection is tied to this client's, and no answer can reach
//! another.
//!
//! An upstream at its stream limit makes streams wait, also where a second connection could be opened: without a proxy
//! the client would have had that one connection too, and would have waited the same way.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared},
};
use tokio::{
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    Engine,
    upstream::{Ending, Upstream},
};
use crate::{
    error::{ErrorKind, RequestError, Side},
    telemetry,
    upstream::Whither,
};

/// How long the outcome of detection's dial stands for requests that come after it.
const FAILED_DIAL_HOLDS: Duration = Duration::from_secs(1);

/// The side that errors of a connection belong to.
pub(crate) fn side(whither: &Whither) -> Side {
    match whither {
        Whither::Baseline | Whither::Authority(_) => Side::Baseline,
        Whither::Endpoint(_) => Side::Sandbox,
    }
}

type Begun = Result<Rc<Upstream>, Rc<RequestError>>;
type Beginning = Shared<LocalBoxFuture<'static, Begun>>;

#[derive(Debug, Clone)]
enum Slot {
    Open(Rc<Upstream>),
    Beginning(Beginning),
}

#[derive(Debug)]
struct Entry {
    number: u64,
    whither: Whither,
    slot: Slot,
    used: u64,
}

impl Entry {
    fn is_dead(&self) -> bool {
        matches!(&self.slot, Slot::Open(upstream) if !upstream.is_usable())
    }

    fn is_idle(&self) -> bool {
        matches!(&self.slot, Slot::Open(upstream) if upstream.is_idle())
    }
}

/// An upstream's connection, and whether it was there before it was asked for.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The connection.
    pub(crate) upstream: Rc<Upstream>,
    /// Whether it was dialled for somebody else; its upstream may be about to close it.
    pub(crate) reused: bool,
}

/// The connections of one client's connection.
#[derive(Debug)]
pub(crate) struct Pool {
    entries: RefCell<Vec<Entry>>,
    clock: Cell<u64>,
    max_idle: usize,
    /// Who gave the last answer.
    answered: RefCell<Option<Whither>>,
    /// When the baseline's dial failed before the first request came, and how.
    failed: Cell<Option<(Instant, ErrorKind)>>,
}

impl Pool {
    /// A pool that keeps so many idle connections besides the baseline's.
    pub(crate) fn new(max_idle: usize) -> Self {
        Self {
            entries: RefCell::default(),
            clock: Cell::new(0),
            max_idle,
            answered: RefCell::default(),
            failed: Cell::new(None),
        }
    }

    /// Remembers that detection could not reach the baseline: the requests that come at once are told so, without a
    /// second attempt (MATRICES F4).
    pub(crate) fn note_failed_dial(&self, error: &io::Error) {
        self.failed.set(Some((Instant::now(), ErrorKind::of_connect(error))));
    }

    fn check_failed_dial(&self, whither: &Whither) -> Result<(), RequestError> {
        match self.failed.get() {
            Some((at, kind)) if *whither == Whither::Baseline && at.elapsed() < FAILED_DIAL_HOLDS => {
                Err(RequestError::upstream(Side::Baseline, kind, None))
            }
            _ => Ok(()),
        }
    }

    /// Remembers who gave the last answer.
    pub(crate) fn note_answer(&self, whither: &Whither) {
        let mut answered = self.answered.borrow_mut();
        if answered.as_ref() != Some(whither) {
            *answered = Some(whither.clone());
        }
    }

    /// Lets all connections go: each ends with its last stream.
    pub(crate) fn clear(&self) {
        self.entries.borrow_mut().clear();
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    fn find(&self, whither: &Whither) -> Option<Slot> {
        let mut entries = self.entries.borrow_mut();
        let at = entries.iter().position(|entry| entry.whither == *whither)?;
        if entries.get(at)?.is_dead() {
            entries.swap_remove(at);
            return None;
        }
        let entry = entries.get_mut(at)?;
        entry.used = self.tick();
        Some(entry.slot.clone())
    }

    fn insert(&self, number: u64, whither: Whither, slot: Slot) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|entry| entry.whither != whither && !entry.is_dead());
        entries.push(Entry { number, whither, slot, used: number });
    }

    /// Lets go of the idle connections that were used least recently, where there are too many. Asked whenever a stream
    /// has ended, since that is what makes a connection idle.
    #[inline]
    pub(crate) fn trim(&self) {
        if self.entries.borrow().len() > self.max_idle {
            self.let_go();
        }
    }

    #[cold]
    fn let_go(&self) {
        let mut entries = self.entries.borrow_mut();
        let idle = |entry: &&Entry| entry.whither != Whither::Baseline && entry.is_idle();
        for _ in self.max_idle..entries.iter().filter(idle).count() {
            let oldest = entries.iter().filter(idle).min_by_key(|entry| entry.used).map(|entry| entry.number);
            entries.retain(|entry| Some(entry.number) != oldest);
        }
    }

    fn settle(&self, number: u64, begun: &Begun) {
        let mut entries = self.entries.borrow_mut();
        match begun {
            Err(_) => entries.retain(|entry| entry.number != number),
            Ok(upstream) => {
                if let Some(entry) = entries.iter_mut().find(|entry| entry.number == number) {
                    entry.slot = Slot::Open(Rc::clone(upstream));
                }
            }
        }
    }

    /// Forgets a connection that ended, and says whether the client's connection has to end with it: where the
    /// upstream closed in silence, and gave the last answer or none was given yet.
    fn forget(&self, number: u64, ending: Ending) -> bool {
        let mut entries = self.entries.borrow_mut();
        let Some(at) = entries.iter().position(|entry| entry.number == number) else { return false };
        let entry = entries.swap_remove(at);
        let answered = self.answered.borrow();
        ending == Ending::Idle && answered.as_ref().is_none_or(|last| *last == entry.whither)
    }
}

impl Engine {
    /// Takes over the baseline's connection that detection dialled, or dials.
    pub(crate) fn adopt(
        self: &Rc<Self>,
        dial: impl Future<Output = io::Result<(TcpStream, Bytes)>> + 'static,
    ) {
        let dialled = async move { dial.await.map_err(failed_dial) };
        // Polled by the nursery; whoever wants the connection finds it in the pool.
        drop(self.begin(Whither::Baseline, dialled));
    }

    /// The connection to `whither`, dialled where there is none.
    ///
    /// # Errors
    /// What the dial failed with, or that the upstream closed at once. Nothing of a request was sent.
    pub(crate) async fn upstream(self: &Rc<Self>, whither: &Whither) -> Result<Lease, RequestError> {
        match self.pool.find(whither) {
            Some(Slot::Open(upstream)) => Ok(Lease { upstream, reused: true }),
            Some(Slot::Beginning(beginning)) => taken(beginning.await, true),
            None => {
                self.pool.check_failed_dial(whither)?;
                let dialled = super::dial::dial(Rc::clone(&self.client), whither.clone());
                let beginning =
                    self.begin(whither.clone(), async move { Ok((dialled.await?, Bytes::new())) });
                taken(beginning.await, false)
            }
        }
    }

    fn begin<F>(self: &Rc<Self>, whither: Whither, dial: F) -> Beginning
    where
        F: Future<Output = Result<(TcpStream, Bytes), RequestError>> + 'static,
    {
        let engine = Rc::clone(self);
        let number = self.pool.tick();
        let side = side(&whither);
        let begun = async move {
            let begun = match dial.await {
                Ok((socket, first)) => engine.start(number, side, socket, first).await,
                Err(error) => Err(error),
            };
            let begun = begun.map_err(Rc::new);
            engine.pool.settle(number, &begun);
            begun
        };
        let beginning = begun.boxed_local().shared();
        self.pool.insert(number, whither, Slot::Beginning(beginning.clone()));
        // Polled also when nobody waits for it any more: the next request will want it.
        self.cradle.add(beginning.clone().map(drop));
        beginning
    }

    async fn start(
        self: &Rc<Self>,
        number: u64,
        side: Side,
        socket: TcpStream,
        first: Bytes,
    ) -> Result<Rc<Upstream>, RequestError> {
        let (upstream, driver) = Upstream::begin(socket, first, &self.client.worker.shared.config)
            .await
            .map_err(|error| RequestError::upstream(side, ErrorKind::Reset, Some(error)))?;
        let engine = Rc::clone(self);
        let side = telemetry::Side::from(side);
        let open = self.client.worker.telemetry.upstream(side);
        self.cradle.add(async move {
            let ending = driver.await;
            drop(open);
            engine.client.worker.shared.telemetry.upstream_ended(side, ending.into());
            if engine.pool.forget(number, ending) {
                engine.door.say_goodbye();
            }
        });
        Ok(Rc::new(upstream))
    }
}

/// The failed dial of a baseline.
pub(crate) fn failed_dial(error: io::Error) -> RequestError {
    RequestError::upstream(Side::Baseline, ErrorKind::of_connect(&error), Some(error))
}

fn taken(begun: Begun, reused: bool) -> Result<Lease, RequestError> {
    match begun {
        Ok(upstream) => Ok(Lease { upstream, reused }),
        Err(error) => Err(RequestError::upstream(error.side, error.kind, None)),
    }
}
