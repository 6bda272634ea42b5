//! What traffic saw: how much of each kind went well, and each failure by kind, with an example.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use serde::Serialize;

/// Kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// HTTP/1.1 requests.
    Http1,
    /// HTTP/2 requests.
    Http2,
    /// gRPC messages on streams.
    Grpc,
    /// WebSocket messages.
    WebSocket,
    /// Opaque pieces.
    Opaque,
}

impl Traffic {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::WebSocket => "WebSocket",
            Self::Opaque => "opaque",
        }
    }
}

/// How something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// No connection.
    Connect,
    /// The connection or stream broke in the middle.
    Broken,
    /// A status that is none of success.
    Status,
    /// The wrong version answered, or another body came.
    Wrong,
    /// Nothing came in time.
    Late,
}

/// Failures of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub example: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    well: RefCell<BTreeMap<Traffic, u64>>,
    again: RefCell<BTreeMap<Traffic, u64>>,
    failed: RefCell<BTreeMap<(Traffic, Failure), Failures>>,
    stopping: Cell<bool>,
}

impl Ledger {
    /// One went well.
    pub(super) fn well(&self, traffic: Traffic) {
        *self.well.borrow_mut().entry(traffic).or_default() += 1;
    }

    /// One was not processed, as the other side said in time, and is asked again on another connection.
    pub(super) fn again(&self, traffic: Traffic) {
        *self.again.borrow_mut().entry(traffic).or_default() += 1;
    }

    /// One failed.
    pub(super) fn failed(&self, traffic: Traffic, failure: Failure, example: impl std::fmt::Display) {
        let mut failed = self.failed.borrow_mut();
        let failures = failed.entry((traffic, failure)).or_default();
        if failures.count == 0 {
            failures.example = example.to_string();
            eprintln!("soak: {traffic:?} {failure:?}: {example}");
        }
        failures.count += 1;
    }

    /// Traffic shall end.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether it shall.
    pub(super) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// What went well, by traffic.
    pub(super) fn counts(&self) -> BTreeMap<Traffic, u64> {
        self.well.borrow().clone()
    }

    /// What was asked again, by traffic.
    pub(super) fn repeats(&self) -> BTreeMap<Traffic, u64> {
        self.again.borrow().clone()
    }

    /// What failed, by traffic and kind.
    pub(super) fn failures(&self) -> Vec<(Traffic, Failure, Failures)> {
        self.failed
            .borrow()
            .iter()
            .map(|((traffic, failure), all)| (*traffic, *failure, all.clone()))
            .collect()
    }

    /// How many failures of any kind.
    pub(super) fn total_failed(&self) -> u64 {
        self.failed.borrow().values().map(|failures| failures.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_the_first_is_kept() {
        let ledger = Ledger::default();
        ledger.well(Traffic::Http1);
        ledger.failed(Traffic::Http1, Failure::Status, "503");
        ledger.failed(Traffic::Http1, Failure::Status, "502");
        ledger.failed(Traffic::Grpc, Failure::Late, "nothing");
        let failures = ledger.failures();
        assert_eq!(failures.len(), 2);
        assert_eq!((failures[0].2.count, failures[0].2.example.as_str()), (2, "503"));
        assert_eq!((ledger.total_failed(), ledger.counts()[&Traffic::Http1]), (3, 1));
    }
}
