//! Which endpoint of a route a client's connection uses.
//!
//! Chosen once for each client connection, key and destination: the less loaded of two picked at random, kept while it is
//! healthy. One that failed is set aside for a while by all connections of the worker, but never the last of a route.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use bellhop_route::{Destination, Route, RoutingKey};

/// How long an endpoint is set aside after its first failure; doubled with each further one.
const ASIDE_FIRST: Duration = Duration::from_secs(1);
/// The longest that an endpoint is set aside.
const ASIDE_MOST: Duration = Duration::from_secs(30);
/// Choices that one client's connection remembers; one that uses more keys chooses anew, oldest first.
const MAX_CHOICES: usize = 64;

/// What a worker knows of the endpoints that its connections use. Only those in use or set aside are in it.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    known: RefCell<HashMap<SocketAddr, Standing>>,
    /// Whether one of them has failed lately: without that no success changes anything.
    failing: Cell<bool>,
}

#[derive(Debug, Default)]
struct Standing {
    /// Client connections of this worker that have chosen it.
    load: u32,
    failures: u32,
    aside_until: Option<Instant>,
}

impl Endpoints {
    /// The endpoint was reached.
    #[inline]
    pub(crate) fn succeeded(&self, endpoint: SocketAddr) {
        if !self.failing.get() {
            return;
        }
        let mut known = self.known.borrow_mut();
        if let Some(standing) = known.get_mut(&endpoint) {
            standing.failures = 0;
            standing.aside_until = None;
        }
        self.failing.set(known.values().any(|standing| standing.failures > 0));
    }

    /// The endpoint could not be reached, or broke off before it answered.
    pub(crate) fn failed(&self, endpoint: SocketAddr, now: Instant) {
        self.failing.set(true);
        let mut all = self.known.borrow_mut();
        all.retain(|_, standing| standing.load > 0 || standing.aside_until.is_some_and(|until| until > now));
        let standing = all.entry(endpoint).or_default();
        let longer = ASIDE_FIRST.saturating_mul(1 << standing.failures.min(5));
        standing.failures = standing.failures.saturating_add(1);
        standing.aside_until = Some(now + longer.min(ASIDE_MOST));
    }

    fn is_healthy(&self, endpoint: SocketAddr, now: Instant) -> bool {
        self.known.borrow().get(&endpoint).is_none_or(|s| s.aside_until.is_none_or(|until| until <= now))
    }

    fn load(&self, endpoint: SocketAddr) -> u32 {
        self.known.borrow().get(&endpoint).map_or(0, |standing| standing.load)
    }

    fn take(&self, endpoint: SocketAddr) {
        self.known.borrow_mut().entry(endpoint).or_default().load += 1;
    }

    fn give_back(&self, endpoint: SocketAddr) {
        let mut all = self.known.borrow_mut();
        if let Some(standing) = all.get_mut(&endpoint) {
            standing.load = standing.load.saturating_sub(1);
            if standing.load == 0 && standing.aside_until.is_none() {
                all.remove(&endpoint);
            }
        }
    }

    fn less_loaded_of_two(&self, among: &[SocketAddr]) -> Option<SocketAddr> {
        let first = *among.get(fastrand::usize(..among.len().max(1)))?;
        let second = *among.get(fastrand::usize(..among.len()))?;
        Some(if self.load(second) < self.load(first) { second } else { first })
    }
}

/// The choices of one client's connection.
#[derive(Debug)]
pub(crate) struct Choices {
    endpoints: Rc<Endpoints>,
    chosen: RefCell<Vec<Choice>>,
}

#[derive(Debug)]
struct Choice {
    key: RoutingKey,
    destination: Destination,
    endpoint: SocketAddr,
    evidence: Option<Rc<str>>,
}

impl Choices {
    /// No choice made yet.
    pub(crate) fn new(endpoints: &Rc<Endpoints>) -> Self {
        Self { endpoints: Rc::clone(endpoints), chosen: RefCell::default() }
    }

    /// The endpoint for one request: the one chosen before while it is healthy, else a new choice. `tried` are not
    /// chosen again; `None` where no other is left.
    pub(crate) fn choose(&self, key: &RoutingKey, route: &Route, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let mut chosen = self.chosen.borrow_mut();
        let fits = |endpoint: &SocketAddr| route.endpoints.contains(endpoint) && !tried.contains(endpoint);
        let before = chosen.iter().position(|c| c.key == *key && c.destination == route.destination);
        if let Some(choice) = before.and_then(|at| chosen.get(at))
            && fits(&choice.endpoint)
            && (route.endpoints.len() == 1 || self.endpoints.is_healthy(choice.endpoint, Instant::now()))
        {
            return Some(choice.endpoint);
        }
        let now = Instant::now();
        let open: Vec<_> = route.endpoints.iter().copied().filter(fits).collect();
        let healthy: Vec<_> = open.iter().copied().filter(|e| self.endpoints.is_healthy(*e, now)).collect();
        let endpoint =
            self.endpoints.less_loaded_of_two(if healthy.is_empty() { &open } else { &healthy })?;
        if let Some(old) = before.or((chosen.len() >= MAX_CHOICES).then_some(0)) {
            self.endpoints.give_back(chosen.remove(old).endpoint);
        }
        self.endpoints.take(endpoint);
        let (key, destination) = (key.clone(), route.destination.clone());
        chosen.push(Choice { key, destination, endpoint, evidence: None });
        Some(endpoint)
    }

    /// What is told of a request that went to the chosen `endpoint`, written by `write` when it is asked for first.
    pub(crate) fn evidence(
        &self,
        key: &RoutingKey,
        destination: &Destination,
        endpoint: SocketAddr,
        write: impl FnOnce() -> Option<String>,
    ) -> Option<Rc<str>> {
        let mut chosen = self.chosen.borrow_mut();
        let this = |c: &&mut Choice| c.endpoint == endpoint && c.key == *key && c.destination == *destination;
        let Some(choice) = chosen.iter_mut().find(this) else { return write().map(Rc::from) };
        if choice.evidence.is_none() {
            choice.evidence = write().map(Rc::from);
        }
        choice.evidence.clone()
    }

    /// The endpoint was reached.
    pub(crate) fn succeeded(&self, endpoint: SocketAddr) {
        self.endpoints.succeeded(endpoint);
    }

    /// The endpoint could not be reached, or broke off before it answered.
    pub(crate) fn failed(&self, endpoint: SocketAddr) {
        self.endpoints.failed(endpoint, Instant::now());
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        for choice in self.chosen.get_mut() {
            self.endpoints.give_back(choice.endpoint);
        }
    }
}
