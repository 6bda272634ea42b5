//! What happens to connections, counted. Rare events alone, or one for each connection: relaxed atomics that the
//! metrics read when they are scraped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something that happened to a connection. A closed set: each is the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Taken from a listener.
    Accepted,
    /// A redirect listener was dialled directly: no original destination, or the listener itself.
    RefusedDirect,
    /// An inbound connection whose original destination is no address of this host.
    RefusedNotLocal,
    /// An inbound connection to a port that is none of the workload's.
    RefusedPort,
    /// A caller that `--allow-from` does not name.
    RefusedCaller,
    /// The destination is one of the proxy's own listeners.
    RefusedLoop,
    /// Closed unserved because memory runs short; what is no HTTP cannot be told so.
    RefusedOverload,
    /// Accepting paused because descriptors or memory ran out, or a listener failed.
    AcceptPaused,
    /// Accepting waited because the connection limit was reached.
    LimitReached,
    /// A panic ended the connection.
    Panicked,
    /// Detected as HTTP/1.
    Http1,
    /// Detected as HTTP/2.
    Http2,
    /// Passed byte for byte.
    Opaque,
    /// Passed byte for byte: TLS whose hello names a server.
    TlsNamed,
    /// Passed byte for byte: TLS whose hello names none.
    TlsUnnamed,
    /// Passed byte for byte: TLS whose first bytes end before a name would come.
    TlsUnknown,
    /// Passed byte for byte because the server spoke first.
    ServerFirst,
    /// Reset because the baseline could not be had and the client sent no HTTP.
    BaselineFailed,
    /// Closed because nothing moved for the idle time-out.
    IdleTimeout,
    /// Closed idle while draining.
    DrainedIdle,
    /// Cut at the end of the drain time.
    DrainCut,
    /// Ended because an HTTP/2 client sent much that means little.
    Flooded,
    /// Ended because an HTTP/2 client did not answer a ping.
    Silent,
}

impl Event {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Self; 23] = [
        Self::Accepted,
        Self::RefusedDirect,
        Self::RefusedNotLocal,
        Self::RefusedPort,
        Self::RefusedCaller,
        Self::RefusedLoop,
        Self::RefusedOverload,
        Self::AcceptPaused,
        Self::LimitReached,
        Self::Panicked,
        Self::Http1,
        Self::Http2,
        Self::Opaque,
        Self::TlsNamed,
        Self::TlsUnnamed,
        Self::TlsUnknown,
        Self::ServerFirst,
        Self::BaselineFailed,
        Self::IdleTimeout,
        Self::DrainedIdle,
        Self::DrainCut,
        Self::Flooded,
        Self::Silent,
    ];

    /// The label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RefusedDirect => "refused-direct",
            Self::RefusedNotLocal => "refused-not-local",
            Self::RefusedPort => "refused-port",
            Self::RefusedCaller => "refused-caller",
            Self::RefusedLoop => "refused-loop",
            Self::RefusedOverload => "refused-overload",
            Self::AcceptPaused => "accept-paused",
            Self::LimitReached => "limit-reached",
            Self::Panicked => "panicked",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Opaque => "opaque",
            Self::TlsNamed => "tls-named",
            Self::TlsUnnamed => "tls-unnamed",
            Self::TlsUnknown => "tls-unknown",
            Self::ServerFirst => "server-first",
            Self::BaselineFailed => "baseline-failed",
            Self::IdleTimeout => "idle-timeout",
            Self::DrainedIdle => "drained-idle",
            Self::DrainCut => "drain-cut",
            Self::Flooded => "flooded",
            Self::Silent => "silent",
        }
    }
}

/// How often each [`Event`] happened, and what tunnels carried.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    events: [AtomicU64; Event::ALL.len()],
    /// Bytes that tunnels carried from clients.
    pub(crate) tunnelled_up: AtomicU64,
    /// Bytes that tunnels carried to clients.
    pub(crate) tunnelled_down: AtomicU64,
}

impl Counters {
    /// It happened once more.
    pub(crate) fn count(&self, event: Event) {
        if let Some(cell) = self.events.get(event as usize) {
            cell.fetch_add(1, Relaxed);
        }
    }

    /// How often it happened.
    pub(crate) fn of(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, |cell| cell.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_counted_under_its_own_label() {
        let counters = Counters::default();
        for (at, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, at);
            counters.count(event);
            assert_eq!(counters.of(event), 1, "{}", event.as_str());
        }
        let labels: std::collections::HashSet<_> = Event::ALL.map(Event::as_str).into();
        assert_eq!(labels.len(), Event::ALL.len());
    }
}
