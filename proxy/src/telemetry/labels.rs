//! The closed sets that label values come from. Nothing that a peer sent is ever a label.

use bellhop_route::Reason;

use crate::error::{self, ErrorKind};

/// A closed set of values of one label.
pub(crate) trait Label: Copy + 'static {
    /// How many values there are.
    const SIZE: usize;
    /// Where this value stands among them, from 0.
    fn index(self) -> usize;
    /// The text of the value that stands at `index`.
    fn text(index: usize) -> &'static str;

    /// The value as it stands in metrics and in the access log.
    fn as_str(self) -> &'static str {
        Self::text(self.index())
    }
}

macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$what])* $value,)+ }

        impl $name {
            const TEXTS: &[&str] = &[$($text),+];
        }

        impl Label for $name {
            const SIZE: usize = Self::TEXTS.len();

            fn index(self) -> usize {
                self as usize
            }

            fn text(index: usize) -> &'static str {
                Self::TEXTS.get(index).copied().unwrap_or("unknown")
            }
        }
    };
}

label! {
    /// By which kind of listener a connection came.
    Listener {
        /// Redirected on its way out of the workload.
        Outbound = "outbound",
        /// Redirected on its way into the workload.
        Inbound = "inbound",
        /// `HTTP_PROXY`, and what follows a CONNECT there.
        Explicit = "explicit",
        /// A listener with one upstream.
        Fixed = "fixed",
    }
}

impl From<&crate::connection::Arrival> for Listener {
    fn from(arrival: &crate::connection::Arrival) -> Self {
        use crate::connection::Arrival;
        match arrival {
            Arrival::Outbound { .. } | Arrival::Loop => Self::Outbound,
            Arrival::Inbound { .. } => Self::Inbound,
            Arrival::Explicit | Arrival::Connected { .. } => Self::Explicit,
            Arrival::Fixed(_) => Self::Fixed,
        }
    }
}

label! {
    /// What a request speaks.
    Protocol {
        /// HTTP/1.0 or 1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// gRPC over HTTP/2.
        Grpc = "grpc",
    }
}

label! {
    /// What was done with a request.
    DecisionKind {
        /// No decision was reached: the head was faulty, or its sender left.
        Undecided = "undecided",
        /// A sandbox answers.
        Sandbox = "sandbox",
        /// The baseline answers.
        Baseline = "baseline",
        /// The proxy answers, with the reason.
        Refused = "refused",
    }
}

label! {
    /// The first digit of the status that the client got.
    StatusClass {
        /// The request ended before a status was sent.
        None = "none",
        /// 101.
        Switching = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 and above.
        ServerError = "5xx",
    }
}

impl From<u16> for StatusClass {
    fn from(status: u16) -> Self {
        match status {
            0..100 => Self::None,
            100..200 => Self::Switching,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

label! {
    /// To whom an upstream connection leads.
    Side {
        /// The version that everybody shares.
        Baseline = "baseline",
        /// An override's endpoint.
        Sandbox = "sandbox",
    }
}

impl From<error::Side> for Side {
    fn from(side: error::Side) -> Self {
        match side {
            error::Side::Sandbox => Self::Sandbox,
            error::Side::Baseline | error::Side::Client => Self::Baseline,
        }
    }
}

label! {
    /// How a dial ended.
    Dial {
        /// The connection stands.
        Connected = "connected",
        /// The peer refused.
        Refused = "refused",
        /// Nobody answered in time.
        TimedOut = "timed-out",
        /// The name could not be resolved.
        Unresolved = "unresolved",
        /// The address is one that is never dialled.
        NotPermitted = "not-permitted",
        /// Any other fault of the network or the kernel.
        Failed = "failed",
    }
}

impl From<ErrorKind> for Dial {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Loop | ErrorKind::NotPermitted => Self::NotPermitted,
            ErrorKind::NameNotFound => Self::Unresolved,
            ErrorKind::ConnectRefused => Self::Refused,
            ErrorKind::ConnectTimeout => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

label! {
    /// Why an HTTP/2 connection to an upstream ended.
    UpstreamEnd {
        /// Closed while nothing was in flight, by whichever side.
        Quiet = "quiet",
        /// The upstream said goodbye (GOAWAY) first.
        GoAway = "go-away",
        /// The connection broke with requests in flight.
        Broken = "broken",
        /// The upstream did not answer a ping.
        Silent = "silent",
        /// The upstream sent much that means little.
        Flooded = "flooded",
    }
}

label! {
    /// What a tunnel carries.
    Tunnel {
        /// TLS.
        Tls = "tls",
        /// Anything that is not HTTP.
        Opaque = "opaque",
        /// What follows a 101.
        Upgrade = "upgrade",
        /// What follows a 2xx to a CONNECT.
        Connect = "connect",
    }
}

label! {
    /// A remark that stands beside a decision.
    Mark {
        /// Part of the baggage could not be read.
        Malformed = "malformed",
        /// Control had not been heard for 15 s.
        Stale = "stale",
    }
}

/// A decision's reason; sandbox decisions and undecided requests have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Because(pub(crate) Option<Reason>);

impl Label for Because {
    const SIZE: usize = Reason::ALL.len() + 1;

    fn index(self) -> usize {
        self.0.map_or(0, |reason| reason as usize + 1)
    }

    fn text(index: usize) -> &'static str {
        index.checked_sub(1).and_then(|index| Reason::ALL.get(index)).map_or("none", |reason| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_where_its_label_says() {
        for reason in Reason::ALL {
            assert_eq!(Because::text(Because(Some(reason)).index()), reason.as_str());
        }
        assert_eq!(Because::text(Because(None).index()), "none");
    }

    #[test]
    fn every_status_has_its_class() {
        for (status, class) in
            [(0, "none"), (101, "1xx"), (204, "2xx"), (304, "3xx"), (431, "4xx"), (599, "5xx")]
        {
            assert_eq!(StatusClass::from(status).as_str(), class);
        }
    }
}
