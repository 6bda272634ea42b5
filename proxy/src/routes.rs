//! Routes as the proxy holds them: the table that requests read, and how far it can be trusted.
//!
//! One task on the housekeeping thread follows control's watch (`watch`), keeps the last table on disk (`snapshot`) and
//! tells control what is held (`report`). Requests only ever read [`Tables`], and never wait.
//!
//! The last table stays in force whatever happens to control: nothing that control sends, or fails to send, empties it.

mod tables;

pub(crate) use tables::Tables;

/// Why a stream of the watch ended, or could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// Control could not be reached.
    Unreachable,
    /// Control answered with another status than 200.
    Status,
    /// Control closed the stream, between two lines.
    Closed,
    /// The stream ended in the middle of a line.
    HalfLine,
    /// Nothing came for 15 s.
    Silent,
    /// A line was no event.
    Garbage,
    /// A line was longer than allowed.
    TooLong,
    /// An event stood where none of its kind may stand.
    OutOfOrder,
    /// The list is older than what is held, within the same epoch.
    Older,
    /// A unit does not compile.
    BadUnit,
}

impl WatchEnd {
    /// All texts, in the order of declaration.
    pub(crate) const TEXTS: &[&str] = &[
        "unreachable",
        "status",
        "closed",
        "half-line",
        "silent",
        "garbage",
        "too-long",
        "out-of-order",
        "older",
        "bad-unit",
    ];

    /// The end as it stands in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        Self::TEXTS.get(self as usize).copied().unwrap_or("unknown")
    }
}
