//! What one worker counts.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::{
    access_log::Lines,
    labels::{Because, DecisionKind, Dial, Listener, Mark, Protocol, Side, StatusClass, Tunnel, UpstreamEnd},
    spans::Queue,
    tally::{Count, Dimensions, Durations, Tally},
};

/// By what requests are counted.
pub(crate) type RequestLabels = (Listener, Protocol, DecisionKind, Because, StatusClass);

/// The numbers of one worker. Written by its thread alone, read by whoever scrapes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Requests that have ended.
    pub(crate) requests: Tally<RequestLabels>,
    /// How long they took, from the head's last byte to the last byte of the answer.
    pub(crate) durations: Durations<(Protocol, DecisionKind)>,
    /// Requests under way.
    pub(crate) in_flight: Tally<Protocol>,
    /// Remarks beside decisions.
    pub(crate) marks: Tally<Mark>,
    /// Bytes of clients' HTTP/1 connections.
    pub(crate) http1: Traffic,
    /// Bytes of clients' HTTP/2 connections, frames and all.
    pub(crate) http2: Traffic,
    /// Tunnels begun.
    pub(crate) tunnels: Tally<Tunnel>,
    /// Tunnels open.
    pub(crate) tunnels_open: Tally<Tunnel>,
    /// Upstream connections open.
    pub(super) upstreams_open: Tally<Side>,
}

/// Bytes of clients' connections, as they pass.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Sent by clients.
    pub(crate) sent: Count,
    /// Received by them.
    pub(crate) received: Count,
}

/// What is rare, and counted by all threads in one place.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Dials to upstreams.
    pub(super) dials: Tally<(Side, Dial)>,
    /// Requests that were sent a second time.
    pub(super) retries: Tally<Side>,
    /// Requests that would have been, and the budget was spent.
    pub(super) retries_refused: Tally<Side>,
    /// HTTP/2 connections to upstreams that ended.
    pub(super) upstream_ends: Tally<(Side, UpstreamEnd)>,
    /// Endpoints that were set aside for a while.
    pub(super) set_aside: Tally<()>,
}

/// Where a worker's accounts go. When all workers have dropped theirs, the access log and the export of spans end.
#[derive(Debug, Clone)]
pub(super) struct Sinks {
    /// The access log.
    pub(super) log: Lines,
    /// The spans.
    pub(super) spans: Queue,
}

/// A worker's access to telemetry: its counters, the access log, and spans. One for each worker, lent to its connections.
#[derive(Debug)]
pub(crate) struct WorkerTelemetry {
    counters: Arc<Counters>,
    sinks: Sinks,
    /// Keeps this type on its thread: [`Counters`] have one writer.
    _on_one_thread: Cell<()>,
}

impl WorkerTelemetry {
    pub(super) fn new(counters: Arc<Counters>, sinks: Sinks) -> Rc<Self> {
        Rc::new(Self { counters, sinks, _on_one_thread: Cell::new(()) })
    }

    /// What this worker counts.
    #[inline]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline]
    pub(super) fn log(&self) -> &Lines {
        &self.sinks.log
    }

    #[inline]
    pub(super) fn spans(&self) -> &Queue {
        &self.sinks.spans
    }

    /// Counts a tunnel, open until the guard drops.
    pub(crate) fn tunnel(self: &Rc<Self>, what: Tunnel) -> Open<Tunnel> {
        self.counters.tunnels.count(what);
        Open::new(self, what, |counters| &counters.tunnels_open)
    }

    /// Counts an upstream connection, open until the guard drops.
    pub(crate) fn upstream(self: &Rc<Self>, side: Side) -> Open<Side> {
        Open::new(self, side, |counters| &counters.upstreams_open)
    }
}

/// Stands for something that is open. Dropping it takes it off its gauge.
#[derive(Debug)]
pub(crate) struct Open<D: Dimensions + Copy> {
    telemetry: Rc<WorkerTelemetry>,
    what: D,
    gauge: fn(&Counters) -> &Tally<D>,
}

impl<D: Dimensions + Copy> Open<D> {
    pub(super) fn new(telemetry: &Rc<WorkerTelemetry>, what: D, gauge: fn(&Counters) -> &Tally<D>) -> Self {
        gauge(&telemetry.counters).count(what);
        Self { telemetry: Rc::clone(telemetry), what, gauge }
    }
}

impl<D: Dimensions + Copy> Drop for Open<D> {
    fn drop(&mut self) {
        (self.gauge)(&self.telemetry.counters).take_one(self.what);
    }
}
