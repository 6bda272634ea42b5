//! The record of one request: made when its head is read, written when it is dropped, so that cancelled requests are
//! seen too.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use bellhop_route::{Decision, HeadView, Reason, Verdict};

use super::{
    account::Account,
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
    malformed: bool,
    stale: bool,
    status: u16,
    /// Whether the access log gets a line about it.
    logged: bool,
    /// Whether it makes a span.
    traced: bool,
    account: Option<Box<Account>>,
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
            malformed: false,
            stale: false,
            status: 0,
            logged: false,
            traced: false,
            account: None,
        }
    }

    /// Notes the decision. From here on [`RequestRecord::describe`] knows whether anything will be told.
    #[inline]
    pub(crate) fn decided(&mut self, decision: &Decision, head: &(impl HeadView + ?Sized)) {
        self.malformed = decision.marks.malformed;
        self.stale = decision.marks.stale;
        (self.decision, self.reason) = match &decision.verdict {
            Verdict::Sandbox(_) => (DecisionKind::Sandbox, None),
            Verdict::Baseline(reason) => (DecisionKind::Baseline, Some(*reason)),
            Verdict::Refused(reason) => (DecisionKind::Refused, Some(*reason)),
        };
        let keyed = self.reason != Some(Reason::NoKey);
        self.logged = self.telemetry.log().wants(keyed);
        self.traced = self.telemetry.spans().wants(keyed, head);
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

    /// Takes an account of the request, as far as it goes; it is told whether it is for a span, and not asked for where
    /// nothing will be told.
    #[inline]
    pub(crate) fn describe(&mut self, account: impl FnOnce(bool) -> Account) {
        if self.logged || self.traced {
            self.account = Some(Box::new(account(self.traced)));
        }
    }

    /// Notes the endpoint that is asked.
    pub(crate) fn asked(&mut self, endpoint: SocketAddr) {
        if let Some(account) = &mut self.account {
            account.endpoint = Some(endpoint);
        }
    }

    /// What is told of a request that has ended.
    #[cold]
    fn tell(&self, mut account: Box<Account>, taken: Duration) {
        account.time = SystemTime::now();
        account.duration = taken;
        account.listener = self.listener.as_str();
        account.protocol = self.protocol.as_str();
        account.decision = self.decision.as_str();
        account.reason = self.reason.map(Reason::as_str);
        account.malformed = self.malformed;
        account.stale = self.stale;
        account.status = self.status;
        if self.traced && self.logged {
            self.telemetry.spans().push(account.clone());
        } else if self.traced {
            return self.telemetry.spans().push(account);
        }
        self.telemetry.log().write(account);
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
        if let Some(account) = self.account.take() {
            self.tell(account, taken);
        }
    }
}
