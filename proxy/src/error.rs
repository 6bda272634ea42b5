//! Why one request failed: `{kind, side, source}`.
//!
//! The kind's reason feeds metric, log and `Proxy-Status` alike. Which status a kind becomes is known to
//! [`crate::respond`] alone.

use std::io;

use bellhop_route::Reason;

/// Why a request did not get its upstream's answer.
#[derive(Debug, thiserror::Error)]
#[error("{side:?}: {}", kind.reason())]
pub(crate) struct RequestError {
    /// What happened.
    pub(crate) kind: ErrorKind,
    /// On which side of the proxy.
    pub(crate) side: Side,
    /// What the operating system, or a parser, said about it.
    pub(crate) source: Option<io::Error>,
}

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Between the caller and this proxy.
    Client,
    /// Between this proxy and the destination's baseline.
    Baseline,
    /// Between this proxy and a sandbox endpoint.
    Sandbox,
}

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The request breaks a rule of HTTP; the text says which.
    BadRequest(&'static str),
    /// More header fields or bytes than allowed.
    HeadTooLarge,
    /// A longer request target than allowed.
    TargetTooLong,
    /// The head did not arrive in time.
    HeadTimeout,
    /// No answer began in the time that a request has.
    RequestTimeout,
    /// A major version of HTTP that is not spoken here.
    BadVersion,
    /// Memory runs short; nothing was done with the request.
    Overload,
    /// The client went away, or its body broke off: nobody is left to answer.
    ClientGone,
    /// The decision was to refuse.
    Refused(Reason),
    /// The address is on the deny list.
    NotPermitted,
    /// The address is one of this proxy's own listeners.
    Loop,
    /// No endpoint of the route is left to try.
    NoHealthyEndpoint,
    /// The host's name has no address.
    NameNotFound,
    /// The upstream refused the connection.
    ConnectRefused,
    /// The upstream did not answer in time to the wish to connect.
    ConnectTimeout,
    /// The upstream cannot be reached for another reason.
    ConnectFailed,
    /// The upstream ended the connection before its answer was whole.
    Closed,
    /// The upstream, or the way to it, reset the connection.
    Reset,
    /// The upstream's answer breaks a rule of HTTP; the text says which.
    BadResponse(&'static str),
    /// The upstream does not offer the kind of tunnel that was asked for; nothing was sent.
    NotOffered,
}

impl ErrorKind {
    /// The reason, from the closed set that metric, log and `Proxy-Status` share.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::BadRequest(_) | Self::BadVersion => Reason::BadRequest,
            Self::HeadTooLarge => Reason::HeadTooLarge,
            Self::TargetTooLong => Reason::UriTooLong,
            Self::HeadTimeout => Reason::HeadTimeout,
            Self::RequestTimeout => Reason::RequestTimeout,
            Self::Overload => Reason::Overload,
            Self::ClientGone => Reason::Closed,
            Self::Refused(reason) => reason,
            Self::NotPermitted => Reason::NotPermitted,
            Self::Loop => Reason::Loop,
            Self::NoHealthyEndpoint => Reason::NoHealthyEndpoint,
            Self::ConnectRefused => Reason::ConnectRefused,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::NameNotFound | Self::ConnectFailed => Reason::ConnectFailed,
            Self::Closed => Reason::Closed,
            Self::Reset => Reason::Reset,
            Self::BadResponse(_) => Reason::BadResponse,
            Self::NotOffered => Reason::Unsupported,
        }
    }

    /// Whether not one byte of the request can have reached an upstream, so that another may be tried.
    pub(crate) fn is_unsent(self) -> bool {
        match self {
            Self::NotPermitted
            | Self::Loop
            | Self::NoHealthyEndpoint
            | Self::NameNotFound
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectFailed
            | Self::NotOffered => true,
            Self::BadRequest(_)
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::HeadTimeout
            | Self::RequestTimeout
            | Self::BadVersion
            | Self::Overload
            | Self::ClientGone
            | Self::Refused(_)
            | Self::Closed
            | Self::Reset
            | Self::BadResponse(_) => false,
        }
    }

    /// Reads the outcome of a connect.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        // What this proxy itself refused to dial says so inside.
        if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<RequestError>()) {
            return own.kind;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            io::ErrorKind::NotFound => Self::NameNotFound,
            _ => Self::ConnectFailed,
        }
    }
}

impl RequestError {
    /// The caller's fault, or the caller's end.
    pub(crate) fn client(kind: ErrorKind) -> Self {
        Self { kind, side: Side::Client, source: None }
    }

    /// A rule of HTTP that the request breaks.
    pub(crate) fn bad_request(rule: &'static str) -> Self {
        Self::client(ErrorKind::BadRequest(rule))
    }

    /// Something between this proxy and an upstream.
    pub(crate) fn upstream(side: Side, kind: ErrorKind, source: Option<io::Error>) -> Self {
        Self { kind, side, source }
    }
}
