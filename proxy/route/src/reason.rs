//! Why a request went where it went: one closed set for metrics, logs and `Proxy-Status` alike.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request went to the baseline, was refused or failed. Closed: its texts are label values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The reason as it is written everywhere: lower case, words joined by `-`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The request carries no key.
    NoKey = "no-key",
    /// What stands where the key should be is none.
    Malformed = "malformed",
    /// No key within the examined bytes and members, and there was more.
    OverLimit = "over-limit",
    /// No key of the request is known.
    UnknownKey = "unknown-key",
    /// A key is known, but has no route for this destination.
    NoRouteHere = "no-route-here",
    /// The key, or its route for this destination, was there and is no more.
    Gone = "gone",
    /// No route table was ever loaded.
    NoTable = "no-table",
    /// The key's overrides differ for this destination or for this address.
    Conflict = "conflict",
    /// The route asks for what this proxy does not know, or the request for a tunnel that its upstream does not offer.
    Unsupported = "unsupported",
    /// A proxy before this one has decided for this destination.
    AlreadyDecided = "already-decided",
    /// No endpoint of the sandbox answered, and its override lets the baseline answer.
    Fallback = "fallback",
    /// The connection carries no HTTP.
    NotHttp = "not-http",
    /// The address is on the deny list, or the caller may not use this listener.
    NotPermitted = "not-permitted",
    /// Every endpoint is set aside.
    NoHealthyEndpoint = "no-healthy-endpoint",
    /// The other side refused the connection.
    ConnectRefused = "connect-refused",
    /// The other side did not answer in time.
    ConnectTimeout = "connect-timeout",
    /// The connection could not be made for another reason: unreachable, no name, out of ports.
    ConnectFailed = "connect-failed",
    /// The connection was reset in use.
    Reset = "reset",
    /// The upstream ended the connection before its answer was whole.
    Closed = "closed",
    /// The upstream's answer breaks the protocol.
    BadResponse = "bad-response",
    /// The request breaks the protocol.
    BadRequest = "bad-request",
    /// The head is larger than allowed.
    HeadTooLarge = "head-too-large",
    /// The request target is longer than allowed.
    UriTooLong = "uri-too-long",
    /// The head did not come in time.
    HeadTimeout = "head-timeout",
    /// No answer began in the time that a request has.
    RequestTimeout = "request-timeout",
    /// The proxy would dial itself.
    Loop = "loop",
    /// A limit of the proxy is reached.
    Overload = "overload",
    /// The proxy is leaving.
    Draining = "draining",
}

impl Reason {
    /// Position in [`Reason::ALL`], for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may stand beside a decision, whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Something beside the key was broken, though a key was found and obeyed.
    pub malformed: bool,
    /// The proxy has not heard control for a while. [`decide`](crate::decide()) leaves it false; the caller knows.
    pub stale: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_distinct_kebab_case_and_found_by_their_index() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), at);
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{reason}");
            assert_eq!(Reason::ALL.iter().filter(|r| r.as_str() == reason.as_str()).count(), 1, "{reason}");
        }
    }
}
