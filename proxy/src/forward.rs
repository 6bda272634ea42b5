//! Third step: which upstream gets the request, and which after it if that one cannot be had.
//!
//! Endpoints are chosen in [`crate::endpoints`]; sending is the engines' business. A request that no byte of has reached
//! an endpoint may go to another one, then, where its override allows it, to the baseline (DESIGN §3.4, §3.8).

use std::{net::SocketAddr, rc::Rc};

use bellhop_api::watch::EndpointProtocol;
use bellhop_route::{Decision, Reason, Route, Verdict};

use crate::{
    connection::{Arrival, Client},
    context::RequestContext,
    endpoints::Choices,
    error::{ErrorKind, RequestError, Side},
    respond,
    telemetry::RequestRecord,
};

/// Endpoints of one route that one request tries at most: a time-out each is as long as a caller should wait.
const MAX_ENDPOINTS: usize = 2;

/// Where one attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The destination's own, shared version.
    Baseline,
    /// A route's endpoint.
    Sandbox {
        /// Its address.
        endpoint: SocketAddr,
        /// What it speaks.
        protocol: EndpointProtocol,
    },
}

impl Target {
    /// The side that errors of this attempt belong to.
    pub(crate) fn side(self) -> Side {
        match self {
            Self::Baseline => Side::Baseline,
            Self::Sandbox { .. } => Side::Sandbox,
        }
    }
}

/// What becomes of the request's `bellhop-decided` field on its way on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecidedField {
    /// The head goes on as it is.
    Keep,
    /// Taken off before the application.
    Remove,
    /// One more value, beside those that are there.
    Add(Vec<u8>),
}

/// One attempt: where to, and what changes in the heads.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Where the request goes.
    pub(crate) target: Target,
    /// What becomes of `bellhop-decided`.
    pub(crate) decided: DecidedField,
    /// The member to append to the answer's `Proxy-Status`.
    pub(crate) proxy_status: Option<Rc<str>>,
    fell_back: bool,
}

impl Attempt {
    /// Notes who is asked.
    #[inline]
    pub(crate) fn note(&self, record: &mut RequestRecord) {
        if self.fell_back {
            record.fell_back(Reason::Fallback);
        }
        if let Some(endpoint) = endpoint_of(self.target) {
            record.asked(endpoint);
        }
    }
}

/// The attempts of one request, in order.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    choices: &'a Choices,
    context: &'a RequestContext,
    decision: &'a Decision,
    tried: Vec<SocketAddr>,
    fell_back: bool,
}

impl<'a> Attempts<'a> {
    /// Nothing tried yet.
    #[inline]
    pub(crate) fn new(
        client: &'a Client,
        choices: &'a Choices,
        context: &'a RequestContext,
        decision: &'a Decision,
    ) -> Self {
        Self { client, choices, context, decision, tried: Vec::new(), fell_back: false }
    }

    /// The attempt to make now.
    ///
    /// # Errors
    /// The decision was to refuse, or no endpoint is left.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Attempt, RequestError> {
        if let Verdict::Sandbox(route) = &self.decision.verdict {
            // No name among its endpoints resolves yet: there is nothing to try before the fallback.
            self.fell_back |= route.fallback && route.endpoints.is_empty();
        }
        let target = match &self.decision.verdict {
            Verdict::Refused(reason) => {
                return Err(RequestError::upstream(Side::Sandbox, ErrorKind::Refused(*reason), None));
            }
            Verdict::Sandbox(route) if !self.fell_back => self.endpoint(route)?,
            Verdict::Sandbox(_) | Verdict::Baseline(_) => Target::Baseline,
        };
        let (decided, proxy_status) = (self.decided_field(target), self.evidence(target));
        Ok(Attempt { target, decided, proxy_status, fell_back: self.fell_back })
    }

    /// Whether another attempt may follow one that ended in `error`.
    pub(crate) fn continue_after(&mut self, target: Target, error: &RequestError) -> bool {
        let Target::Sandbox { endpoint, .. } = target else { return false };
        if error.side != Side::Sandbox {
            return false;
        }
        // It answered, and will answer others.
        if error.kind != ErrorKind::NotOffered {
            self.choices.failed(endpoint);
            self.client.worker.shared.telemetry.set_aside();
        }
        if !error.kind.is_unsent() {
            return false;
        }
        self.tried.push(endpoint);
        let Verdict::Sandbox(route) = &self.decision.verdict else { return false };
        let another =
            self.tried.len() < MAX_ENDPOINTS && route.endpoints.iter().any(|e| !self.tried.contains(e));
        self.fell_back = !another && route.fallback;
        another || self.fell_back
    }

    /// Whether the last attempt went to the baseline in a sandbox's place.
    pub(crate) fn fell_back(&self) -> bool {
        self.fell_back
    }

    fn endpoint(&self, route: &Route) -> Result<Target, RequestError> {
        let key = self.decision.key.as_ref();
        let endpoint = key.and_then(|key| self.choices.choose(key, route, &self.tried));
        let none_left = || RequestError::upstream(Side::Sandbox, ErrorKind::NoHealthyEndpoint, None);
        Ok(Target::Sandbox { endpoint: endpoint.ok_or_else(none_left)?, protocol: route.protocol })
    }

    /// Written once for each choice of an endpoint: it says the same of each of its requests.
    #[inline]
    fn evidence(&self, target: Target) -> Option<Rc<str>> {
        let Decision { verdict, key, marks, .. } = self.decision;
        let write = || respond::evidence(self.client, self.decision, self.fell_back, endpoint_of(target));
        match (verdict, key, endpoint_of(target)) {
            (Verdict::Sandbox(route), Some(key), Some(endpoint)) if !marks.malformed && !marks.stale => {
                self.choices.evidence(key, &route.destination, endpoint, write)
            }
            _ => write().map(Rc::from),
        }
    }

    /// Removed before the application, told to the next proxy (DESIGN §3.7).
    fn decided_field(&self, target: Target) -> DecidedField {
        if target == Target::Baseline && matches!(self.client.arrival, Arrival::Inbound { .. }) {
            return if self.context.already.is_some() { DecidedField::Remove } else { DecidedField::Keep };
        }
        if self.decision.decided.is_empty() {
            return DecidedField::Keep;
        }
        let mut value = Vec::with_capacity(64);
        let table = self.client.worker.shared.tables.current();
        self.decision.decided.write(&table, endpoint_of(target), &mut value);
        DecidedField::Add(value)
    }
}

fn endpoint_of(target: Target) -> Option<SocketAddr> {
    match target {
        Target::Baseline => None,
        Target::Sandbox { endpoint, .. } => Some(endpoint),
    }
}
