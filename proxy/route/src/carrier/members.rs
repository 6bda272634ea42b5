//! Lists of members `name=value`, as `baggage` and `tracestate` are.
//!
//! The reader is lenient where the sender's meaning is clear: white space, empty members and members without `=` do not
//! hide a good one behind them. It looks for the member's name first and at the grammar only around it, since most
//! requests carry other members alone, or none.

use std::iter;

use memchr::{memchr, memchr_iter, memmem::Finder};

use super::{Limits, list};
use crate::{KeyText, Keys};

/// What a member's value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// W3C Baggage: percent-encoded, properties behind `;`.
    Baggage,
    /// W3C Trace Context: as it is.
    TraceState,
}

/// Finds one member of a list.
#[derive(Debug, Clone)]
pub(super) struct Members {
    finder: Finder<'static>,
    grammar: Grammar,
}

/// What is left of the limits, and what the values before this one end with.
struct Progress {
    limits: Limits,
    bytes: usize,
    members: usize,
    /// The last member that was not empty is the one sought, and nothing stands behind it yet.
    behind: bool,
}

impl Members {
    pub(super) fn new(member: &str, grammar: Grammar) -> Self {
        Self { finder: Finder::new(member.as_bytes()).into_owned(), grammar }
    }

    /// Reads several values as if they were one, joined by commas (RFC 9110 §5.3).
    #[inline]
    pub(super) fn read<'v>(
        &self,
        mut values: impl Iterator<Item = &'v [u8]>,
        limits: Limits,
        keys: &mut Keys,
    ) {
        let Some(first) = values.next() else { return };
        let second = values.next();
        let mut progress = Progress { limits, bytes: limits.bytes, members: limits.members, behind: false };
        // A value shorter than this cannot reach a limit by itself: no need to count.
        if second.is_none() && first.len() < limits.members.min(limits.bytes) {
            return self.read_value(first, &mut progress, keys);
        }
        for value in iter::once(first).chain(second).chain(values) {
            let examined = progress.admit(value);
            self.read_value(examined.unwrap_or_default(), &mut progress, keys);
            if examined.is_none_or(|examined| examined.len() < value.len()) {
                keys.over_limit = true;
                return;
            }
        }
    }

    fn read_value(&self, value: &[u8], progress: &mut Progress, keys: &mut Keys) {
        if progress.behind {
            progress.look_behind(value, keys);
        }
        let mut from = 0;
        while let Some(at) = self.find(value, from) {
            let after = at + self.finder.needle().len();
            let (before, rest) =
                (value.get(..at).unwrap_or_default(), value.get(after..).unwrap_or_default());
            let begins_member = matches!(list::trim_end(before), [] | [.., b',']);
            let unread =
                if begins_member { self.read_member(list::trim_start(rest), progress, keys) } else { rest };
            from = value.len() - unread.len();
        }
    }

    fn find(&self, value: &[u8], from: usize) -> Option<usize> {
        let rest = value.get(from..)?;
        // The first member is often the one, and looking at it costs less than setting out on a search.
        if rest.starts_with(self.finder.needle()) {
            return Some(from);
        }
        if rest.len() <= self.finder.needle().len() {
            None
        } else {
            self.finder.find(rest).map(|at| from + at)
        }
    }

    /// Reads what stands behind the name, and returns what stands behind the member.
    fn read_member<'v>(&self, after: &'v [u8], progress: &mut Progress, keys: &mut Keys) -> &'v [u8] {
        match after {
            [b'=', content @ ..] => {
                let rest = self.read_content(content, keys);
                progress.behind = true;
                progress.look_behind(rest, keys);
                rest
            }
            // The name, and no value.
            [] | [b',' | b';', ..] => {
                keys.malformed = true;
                after
            }
            // A longer name that begins alike.
            _ => after,
        }
    }

    /// Reads the value in front of `content`, and returns what stands behind the member.
    fn read_content<'v>(&self, content: &'v [u8], keys: &mut Keys) -> &'v [u8] {
        // Nearly always it is one key and no more.
        let (key, rest) = KeyText::split_off(content);
        if let (Some(key), [] | [b',', ..]) = (key, rest) {
            keys.add(key);
            return rest;
        }
        let end = memchr(b',', content).unwrap_or(content.len());
        let (content, rest) = content.split_at_checked(end).unwrap_or_default();
        match self.grammar {
            Grammar::Baggage => {
                let end = memchr(b';', content).unwrap_or(content.len());
                list::read_encoded(content.get(..end).unwrap_or_default(), keys);
            }
            Grammar::TraceState => list::read(content, keys),
        }
        rest
    }
}

impl Progress {
    /// The part of the next value that the limits let in, ending where a member does; `None` where nothing is left.
    fn admit<'v>(&mut self, value: &'v [u8]) -> Option<&'v [u8]> {
        if self.bytes < self.limits.bytes || self.members < self.limits.members {
            self.bytes = self.bytes.checked_sub(1)?; // the comma that joins
        }
        let mut admitted = value;
        if value.len() > self.bytes {
            let last = value.get(..=self.bytes).and_then(|within| memchr::memrchr(b',', within))?;
            admitted = value.get(..last)?;
        }
        let commas = memchr_iter(b',', admitted).count();
        if commas >= self.members {
            let last = memchr_iter(b',', admitted).nth(self.members.checked_sub(1)?)?;
            admitted = admitted.get(..last)?;
            self.members = 0;
        } else {
            self.members -= commas + 1;
        }
        self.bytes = self.bytes.checked_sub(admitted.len())?;
        Some(admitted)
    }

    /// A raw `routing-key=a,b`: the sender meant a list, and sent a member that is none.
    fn look_behind(&mut self, rest: &[u8], keys: &mut Keys) {
        let Some(start) = rest.iter().position(|b| !matches!(b, b',' | b' ' | b'\t')) else { return };
        self.behind = false;
        let mut next = rest.iter().skip(start);
        keys.malformed |= next.find(|b| matches!(b, b'=' | b';' | b',')) != Some(&b'=');
    }
}
