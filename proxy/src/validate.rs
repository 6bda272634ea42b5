//! Request validation, between parsing and decision: what a parsed head must not say. HTTP/1 and HTTP/2 share the rules,
//! so that a head which both accept has one reading in either form.
//!
//! Parsing stays with the engines, and so does everything that needs the bytes around a head (line ends, chunks). The
//! functions here are pure and look at slices of a head once: they take no memory, and read no byte that the parser has
//! vouched for already unless its meaning matters.
//!
//! | file | rules |
//! |---|---|
//! | [`authority`] | what names a host; `Host` beside a target |
//! | [`target`] | the four forms of a target, and who may use them |
//! | [`framing`] | lengths and transfer codings that contradict each other |
//! | [`fields`] | fields of one connection, and those that `Connection` must not name |
//! | [`size`] | how much a head may ask for |
//! | [`http1`], [`http2`] | all of them, for a head of that version |
//!
//! A broken rule is a [`Fault`]. Whoever asked turns it into an answer: 400 over HTTP/1, a stream reset over HTTP/2.

pub(crate) mod authority;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod http1;
pub(crate) mod http2;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
pub(crate) mod size;
pub(crate) mod target;

use crate::error::ErrorKind;

/// A rule of HTTP that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static str);

impl From<Fault> for ErrorKind {
    fn from(fault: Fault) -> Self {
        Self::BadRequest(fault.0)
    }
}

/// What a method changes about framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Its answer has no body.
    Head,
    /// A 2xx makes a tunnel.
    Connect,
    /// Nothing.
    Other,
}

impl Method {
    /// What this one changes.
    #[inline]
    pub(crate) fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}
