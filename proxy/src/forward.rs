//! Third step: which upstream gets the request, and which after it if that one cannot be had.
//!
//! Endpoints are chosen in [`crate::endpoints`]; sending is the engines' business. A request that no byte of has reached
//! an endpoint may go to another one, then, where its override allows it, to the baseline (DESIGN §3.4, §3.8).

use std::net::SocketAddr;

use bellhop_api::watch::EndpointProtocol;
use bellhop_route::{Decision, Route, Verdict};
use smallvec::SmallVec;

use crate::{
    connection::{Arrival, Client},
    context::RequestContext,
    endpoints::Choices,
    error::{ErrorKind, RequestError, Side},
    respond,
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
    /// Replaced by this value.
    Set(String),
}

/// One attempt: where to, and what changes in the heads.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Where the request goes.
    pub(crate) target: Target,
    /// What becomes of `bellhop-decided`.
    pub(crate) decided: DecidedField,
    /// The member to append to the answer's `Proxy-Status`.
    pub(crate) proxy_status: Option<String>,
}

/// The attempts of one request, in order.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    choices: &'a Choices,
    context: &'a RequestContext,
    decision: &'a Decision,
    tried: SmallVec<[SocketAddr; MAX_ENDPOINTS]>,
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
        Self { client, choices, context, decision, tried: SmallVec::new(), fell_back: false }
    }

    /// The attempt to make now.
    ///
    /// # Errors
    /// The decision was to refuse, or no endpoint is left.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Attempt, RequestError> {
        let target = match &self.decision.verdict {
            Verdict::Refused(reason) => {
                return Err(RequestError::upstream(Side::Sandbox, ErrorKind::Refused(*reason), None));
            }
            Verdict::Sandbox(route) if !self.fell_back => self.endpoint(route)?,
            Verdict::Sandbox(_) | Verdict::Baseline(_) => Target::Baseline,
        };
        Ok(Attempt { target, decided: self.decided_field(target), proxy_status: self.evidence(target) })
    }

    /// Whether another attempt may follow one that ended in `error`.
    pub(crate) fn continue_after(&mut self, target: Target, error: &RequestError) -> bool {
        let Target::Sandbox { endpoint, .. } = target else { return false };
        if error.side != Side::Sandbox {
            return false;
        }
        self.choices.failed(endpoint);
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

    /// Whether the baseline answers in a sandbox's place.
    pub(crate) fn fell_back(&self) -> bool {
        self.fell_back
    }

    fn endpoint(&self, route: &Route) -> Result<Target, RequestError> {
        let key = self.decision.key.as_ref();
        let endpoint = key.and_then(|key| self.choices.choose(key, route, &self.tried));
        let none_left = || RequestError::upstream(Side::Sandbox, ErrorKind::NoHealthyEndpoint, None);
        Ok(Target::Sandbox { endpoint: endpoint.ok_or_else(none_left)?, protocol: route.protocol })
    }

    fn evidence(&self, target: Target) -> Option<String> {
        let endpoint = match target {
            Target::Baseline => None,
            Target::Sandbox { endpoint, .. } => Some(endpoint),
        };
        respond::evidence(self.client, self.decision, self.fell_back, endpoint)
    }

    /// Removed before the application, told to the next proxy (DESIGN §3.7).
    fn decided_field(&self, target: Target) -> DecidedField {
        let already = self.context.already.as_deref();
        if target == Target::Baseline && matches!(self.client.arrival, Arrival::Inbound { .. }) {
            return if already.is_some() { DecidedField::Remove } else { DecidedField::Keep };
        }
        if !matches!(self.decision.verdict, Verdict::Sandbox(_)) {
            return DecidedField::Keep;
        }
        let mut value = already.unwrap_or_default().to_owned();
        for destination in &self.decision.decided {
            if !value.is_empty() {
                value.push_str(", ");
            }
            value.push_str(&destination.to_string());
        }
        DecidedField::Set(value)
    }
}
