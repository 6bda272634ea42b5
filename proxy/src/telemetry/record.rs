//! The record of one request: made when its head is read, written when it is dropped, so that cancelled requests are
//! seen too.

use std::{
    rc::Rc,
    time::{Instant, SystemTime},
};

use bellhop_route::{Decision, Reason, Verdict};

use crate::config::AccessLog as LogRequests;

use super::{
    access_log::Line,
    counters::WorkerTelemetry,
    labels::{Because, DecisionKind, Label as _, Listener, Mark, Protocol, StatusClass},
};

/// One request, from its head to its end. The clock is read twice: by the caller at the head, and on drop.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    telemetry: Rc<WorkerTelemetry>,
    started: Instant,
    listener: Listener,
    protocol: Protocol,
    decision: DecisionKind,
    reason: Option<Reason>,
    /// It carried a key, or tried to.
    keyed: bool,
    malformed: bool,
    stale: bool,
    status: u16,
    line: Option<Box<Line>>,
}

impl RequestRecord {
    /// Begins a record; `started` is when the head was complete.
    #[inline]
    pub(crate) fn begin(
        telemetry: &Rc<WorkerTelemetry>,
        listener: Listener,
        protocol: Protocol,
        started: Instant,
    ) -> Self {
        telemetry.counters().in_flight.count(protocol);
        Self {
            telemetry: Rc::clone(telemetry),
            started,
            listener,
            protocol,
            decision: DecisionKind::Undecided,
            reason: None,
            keyed: false,
            malformed: false,
            stale: false,
            status: 0,
            line: None,
        }
    }

    /// Notes the decision. From here on [`RequestRecord::describe`] knows whether a line will be written.
    #[inline]
    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.malformed = decision.marks.malformed;
        self.stale = decision.marks.stale;
        (self.decision, self.reason) = match &decision.verdict {
            Verdict::Sandbox(_) => (DecisionKind::Sandbox, None),
            Verdict::Baseline(reason) => (DecisionKind::Baseline, Some(*reason)),
            Verdict::Refused(reason) => (DecisionKind::Refused, Some(*reason)),
        };
        self.keyed = self.reason != Some(Reason::NoKey);
        if self.wants_line() {
            let line = self.line.get_or_insert_default();
            line.key = decision.key.as_ref().map(ToString::to_string);
            line.destination = decision.destination.as_ref().map(ToString::to_string);
        }
    }

    /// The baseline answers after all: `fallback`, for one.
    pub(crate) fn fell_back(&mut self, reason: Reason) {
        (self.decision, self.reason) = (DecisionKind::Baseline, Some(reason));
    }

    /// The proxy itself answers, or ends the request.
    pub(crate) fn refused(&mut self, reason: Reason) {
        (self.decision, self.reason) = (DecisionKind::Refused, Some(reason));
    }

    /// The status that the client is sent; the last one counts, so a 100 is overwritten.
    #[inline]
    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// Whether the access log gets a line about this request.
    #[inline]
    fn wants_line(&self) -> bool {
        match self.telemetry.log_requests() {
            LogRequests::Off => false,
            LogRequests::Keyed => self.keyed,
            LogRequests::All => true,
        }
    }

    /// Lets `fill` add to the request's line; not called where none will be written.
    #[inline]
    pub(crate) fn describe(&mut self, fill: impl FnOnce(&mut Line)) {
        if self.wants_line() {
            fill(self.line.get_or_insert_default());
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let counters = self.telemetry.counters();
        let taken = self.started.elapsed();
        let class = StatusClass::from(self.status);
        counters.in_flight.take_one(self.protocol);
        counters.requests.count((self.listener, self.protocol, self.decision, Because(self.reason), class));
        counters.durations.observe((self.protocol, self.decision), taken);
        if self.malformed {
            counters.marks.count(Mark::Malformed);
        }
        if self.stale {
            counters.marks.count(Mark::Stale);
        }
        if let Some(mut line) = self.line.take() {
            line.time = SystemTime::now();
            line.duration = taken;
            line.listener = self.listener.as_str();
            line.protocol = self.protocol.as_str();
            line.decision = self.decision.as_str();
            line.reason = self.reason.map(Reason::as_str);
            line.malformed = self.malformed;
            line.stale = self.stale;
            line.status = self.status;
            self.telemetry.log().write(line);
        }
    }
}
