//! What there is to tell of one request: a line of the log and a span, when it has ended, however it ended.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::extract::MatchedPath;
use bellhop_spans::trace;
use http::{HeaderMap, Method, StatusCode, Version, request::Parts};
use opentelemetry::trace::SpanContext;

use super::spans::Queue;
use crate::access::{Caller, Peer};

/// See the module. Told when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) route: Option<MatchedPath>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) parent: Option<SpanContext>,
    pub(super) who: Option<String>,
    /// None where whoever asked has hung up before there was one.
    pub(super) status: Option<StatusCode>,
    pub(super) begun: SystemTime,
    pub(super) ended: SystemTime,
    since: Instant,
    to: Arc<Queue>,
}

impl Account {
    pub(crate) fn begin(head: &Parts, to: &Arc<Queue>) -> Self {
        let now = SystemTime::now();
        Self {
            method: head.method.clone(),
            version: head.version,
            route: head.extensions.get::<MatchedPath>().cloned(),
            peer: head.extensions.get::<Peer>().map(|peer| peer.address),
            parent: parent(&head.headers),
            who: None,
            status: None,
            begun: now,
            ended: now,
            since: Instant::now(),
            to: Arc::clone(to),
        }
    }

    /// The head of an answer is there.
    pub(crate) fn answered(&mut self, status: StatusCode, caller: Option<&Caller>) {
        self.status = Some(status);
        self.who = caller.map(|caller| caller.name.clone());
    }

    /// By a closed set of names.
    pub(super) fn method(&self) -> &'static str {
        super::method(&self.method)
    }

    /// As the router writes it: nothing of it comes from a caller.
    pub(super) fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }

    /// There are thousands of them.
    pub(super) fn is_report(&self) -> bool {
        self.method == Method::POST && self.route() == Some("/v1/proxies/{id}")
    }

    fn log(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "bellhop_control::request",
                    method = self.method(),
                    route = self.route().unwrap_or("none"),
                    status = self.status.map_or(0, |status| status.as_u16()),
                    duration_ms = self.since.elapsed().as_secs_f64() * 1e3,
                    // a certificate's name may have any characters
                    who = ?self.who.as_deref().unwrap_or_default(),
                    from = self.peer.map(tracing::field::display),
                    "request"
                )
            };
        }
        if self.is_report() { line!(trace) } else { line!(debug) }
    }
}

/// The caller's span, if the head names one.
fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let of = |name| headers.get_all(name).iter().map(move |value| (name, value.as_bytes()));
    let fields: Vec<_> = ["traceparent", "tracestate"].into_iter().flat_map(of).collect();
    trace::parent(&fields[..])
}

impl Drop for Account {
    fn drop(&mut self) {
        self.log();
        self.ended = self.begun + self.since.elapsed();
        let sampled = self.parent.as_ref().is_some_and(SpanContext::is_sampled);
        if self.to.wants(sampled, self.is_report()) {
            self.to.push(self);
        }
    }
}
