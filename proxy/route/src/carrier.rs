//! Carriers: where in a request the key rides, and the ordered list of those that are looked at.

mod list;
mod members;
mod plain;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use self::members::{Grammar, Members};
use crate::{HeadView, Keys};

/// The baggage member that holds the key unless the configuration says otherwise.
const DEFAULT_MEMBER: &str = "routing-key";

/// One place in a request where a key may ride. Written `baggage`, `baggage=MEMBER`, `tracestate=MEMBER`,
/// `ot-baggage=MEMBER`, `uberctx=MEMBER`, `header=NAME` or `query=NAME`; the default member is `routing-key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A member of W3C `baggage`.
    Baggage {
        /// Its name; case matters.
        member: Box<str>,
    },
    /// A member of W3C `tracestate`.
    TraceState {
        /// Its name; case matters.
        member: Box<str>,
    },
    /// OpenTracing's `ot-baggage-MEMBER`.
    OtBaggage {
        /// Its name; a field name, so that case does not matter.
        member: Box<str>,
    },
    /// Jaeger's `uberctx-MEMBER`.
    Uberctx {
        /// Its name; a field name, so that case does not matter.
        member: Box<str>,
    },
    /// A field of its own.
    Header {
        /// Its name, lower case.
        name: Box<str>,
    },
    /// A parameter of the query.
    Query {
        /// Its name; case matters.
        name: Box<str>,
    },
}

/// Why a text is no [`Carrier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// The part before `=` is none of the kinds.
    #[error(
        "{0:?} is no carrier; allowed are baggage, tracestate, ot-baggage, uberctx, header=NAME, query=NAME"
    )]
    Kind(String),
    /// The part after `=` is missing or is no name.
    #[error("carrier {kind} takes a name of letters, digits and !#$%&'*+-.^_`|~, not {name:?}")]
    Name {
        /// The kind.
        kind: String,
        /// What stands where the name should.
        name: String,
    },
}

impl FromStr for Carrier {
    type Err = CarrierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('=') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        let member = name.unwrap_or(DEFAULT_MEMBER);
        let lower = || member.to_ascii_lowercase().into();
        let carrier = match kind {
            "baggage" => Self::Baggage { member: member.into() },
            "tracestate" => Self::TraceState { member: member.into() },
            "ot-baggage" => Self::OtBaggage { member: lower() },
            "uberctx" => Self::Uberctx { member: lower() },
            "header" => Self::Header { name: name.unwrap_or_default().to_ascii_lowercase().into() },
            "query" => Self::Query { name: name.unwrap_or_default().into() },
            _ => return Err(CarrierError::Kind(text.chars().take(80).collect())),
        };
        if is_token(carrier.name().as_bytes()) {
            Ok(carrier)
        } else {
            let name = carrier.name().chars().take(80).collect();
            Err(CarrierError::Name { kind: kind.to_owned(), name })
        }
    }
}

impl Carrier {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Baggage { member } => ("baggage", member),
            Self::TraceState { member } => ("tracestate", member),
            Self::OtBaggage { member } => ("ot-baggage", member),
            Self::Uberctx { member } => ("uberctx", member),
            Self::Header { name } => ("header", name),
            Self::Query { name } => ("query", name),
        }
    }

    fn name(&self) -> &str {
        self.parts().1
    }

    fn reader(&self) -> Reader {
        match self {
            Self::Baggage { member } => Reader::Members {
                field: "baggage",
                members: Box::new(Members::new(member, Grammar::Baggage)),
            },
            Self::TraceState { member } => Reader::Members {
                field: "tracestate",
                members: Box::new(Members::new(member, Grammar::TraceState)),
            },
            Self::OtBaggage { member } => Reader::Field { field: format!("ot-baggage-{member}").into() },
            Self::Uberctx { member } => Reader::Field { field: format!("uberctx-{member}").into() },
            Self::Header { name } => Reader::Field { field: name.clone() },
            Self::Query { name } => Reader::Query { name: name.clone() },
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(f, "{kind}={name}")
    }
}

/// The carriers that are looked at, in order, made ready for reading.
#[derive(Debug, Clone)]
pub struct Carriers {
    list: Box<[Ready]>,
    limits: Limits,
}

/// How much of one carrier is examined, over all its values together.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: usize,
    members: usize,
}

#[derive(Debug, Clone)]
struct Ready {
    carrier: Carrier,
    reader: Reader,
}

#[derive(Debug, Clone)]
enum Reader {
    Members { field: &'static str, members: Box<Members> },
    Field { field: Box<str> },
    Query { name: Box<str> },
}

/// Baggage alone, with the member `routing-key`.
impl Default for Carriers {
    fn default() -> Self {
        Self::new([Carrier::Baggage { member: DEFAULT_MEMBER.into() }])
    }
}

impl Carriers {
    /// Bytes of one carrier that are examined, over all its values together. More than the 8,192 that every W3C Baggage
    /// implementation must pass on are rare, and a reader without a bound is a gift to whoever wants to burn CPU.
    pub const MAX_BYTES: usize = 8_192;
    /// Members of a list carrier that are examined, over all its values together; empty ones count.
    pub const MAX_MEMBERS: usize = 64;

    /// Carriers that are looked at in this order.
    pub fn new(carriers: impl IntoIterator<Item = Carrier>) -> Self {
        let ready = |carrier: Carrier| Ready { reader: carrier.reader(), carrier };
        let limits = Limits { bytes: Self::MAX_BYTES, members: Self::MAX_MEMBERS };
        Self { list: carriers.into_iter().map(ready).collect(), limits }
    }

    /// The same carriers, of which other numbers of bytes and members than [`MAX_BYTES`](Self::MAX_BYTES) and
    /// [`MAX_MEMBERS`](Self::MAX_MEMBERS) are examined.
    #[must_use]
    pub fn with_limits(self, bytes: usize, members: usize) -> Self {
        Self { limits: Limits { bytes, members }, ..self }
    }

    /// The carriers, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Carrier> {
        self.list.iter().map(|ready| &ready.carrier)
    }

    /// The fields that keys may ride in, lower case. A `Connection` field must name none of them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|ready| match &ready.reader {
            Reader::Members { field, .. } => Some(*field),
            Reader::Field { field } => Some(&**field),
            Reader::Query { .. } => None,
        })
    }

    /// Finds the keys of a request: carrier by carrier, value by value. Allocates nothing where there is none.
    #[inline]
    pub fn read(&self, head: &(impl HeadView + ?Sized)) -> Keys {
        let mut keys = Keys::default();
        for ready in &self.list {
            match &ready.reader {
                Reader::Members { field, members } => {
                    members.read(head.values(field), self.limits, &mut keys)
                }
                Reader::Field { field } => plain::read_fields(head.values(field), self.limits, &mut keys),
                Reader::Query { name } => plain::read_query(head.query(), name, self.limits, &mut keys),
            }
        }
        keys
    }
}

/// RFC 9110 §5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}
