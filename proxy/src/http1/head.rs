//! Heads of both kinds where they lie: found, parsed in place, kept as spans of the buffer.

use std::{cell::RefCell, mem::MaybeUninit};

use httparse::{Header, Status};

use crate::validate::Fault;

/// Fields that are parsed without taking memory for them.
const FEW: usize = 128;

/// A stretch of a head, counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Line {
    /// Its name.
    pub(super) name: Span,
    /// Its value, without blanks around it.
    pub(super) value: Span,
}

/// A worker's spare lists of fields, so that a request takes no memory for its own.
#[derive(Debug, Default)]
pub(crate) struct Lines(RefCell<Vec<Vec<Line>>>);

impl Lines {
    /// Lists that are kept for the next burst.
    const MAX_KEPT: usize = 64;

    #[inline]
    pub(super) fn take(&self) -> Vec<Line> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(16))
    }

    #[inline]
    pub(super) fn give_back(&self, lines: Vec<Line>) {
        let mut kept = self.0.borrow_mut();
        if lines.capacity() <= FEW && kept.len() < Self::MAX_KEPT {
            kept.push(lines);
        }
    }

    /// Keeps none.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

impl Span {
    /// The span that `part` takes in `whole`, which it points into.
    #[inline]
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { start: narrow(start), len: narrow(part.len()) }
    }

    /// The bytes it stands for; none where `head` is shorter.
    #[inline]
    pub(super) fn of_head(self, head: &[u8]) -> &[u8] {
        let start = self.start as usize;
        head.get(start..start + self.len as usize).unwrap_or_default()
    }

    /// Where it starts.
    #[inline]
    pub(super) fn start(self) -> usize {
        self.start as usize
    }
}

/// Looks for the empty line: the head's length, or none while it is not all there. Bytes before `from` were looked at
/// before and hold no end.
///
/// # Errors
/// A line feed without a carriage return: some readers take it for a line's end, some do not.
#[inline]
pub(super) fn find_end(bytes: &[u8], from: usize) -> Result<Option<usize>, Fault> {
    let unseen = bytes.get(from..).unwrap_or_default();
    for at in memchr::memchr_iter(b'\n', unseen) {
        match bytes.get(..from + at).unwrap_or_default() {
            [.., b'\r', b'\n', b'\r'] => return Ok(Some(from + at + 1)),
            [.., b'\r'] => {}
            _ => return Err(Fault("a line feed without a carriage return")),
        }
    }
    Ok(None)
}

/// Why a head is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// More fields than allowed.
    TooMany,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A rule is broken.
    Broken(Fault),
}

impl From<Fault> for HeadFault {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

impl From<httparse::Error> for HeadFault {
    fn from(error: httparse::Error) -> Self {
        use httparse::Error;
        match error {
            Error::TooManyHeaders => Self::TooMany,
            Error::Version => Self::Version,
            Error::HeaderName => Self::Broken(Fault("a field name that is no token")),
            Error::HeaderValue => Self::Broken(Fault("a field value with a forbidden byte")),
            Error::NewLine => Self::Broken(Fault("a line that ends wrongly")),
            Error::Status => Self::Broken(Fault("a status that is no number")),
            Error::Token => Self::Broken(Fault("a start line with a forbidden byte")),
        }
    }
}

/// Lets `parse` work on a head with room for `max` fields.
///
/// # Errors
/// What the parser finds, and a head that ends elsewhere than at the empty line that was found before.
#[inline]
pub(super) fn with_fields<'head, T>(
    head: &'head [u8],
    max: usize,
    parse: impl FnOnce(&mut [MaybeUninit<Header<'head>>]) -> Result<(Status<usize>, T), HeadFault>,
) -> Result<T, HeadFault> {
    let (status, parsed) = if max <= FEW {
        let mut few = [const { MaybeUninit::uninit() }; FEW];
        parse(few.get_mut(..max).unwrap_or_default())?
    } else {
        parse(&mut vec![MaybeUninit::uninit(); max])?
    };
    match status {
        Status::Complete(length) if length == head.len() => Ok(parsed),
        Status::Complete(_) | Status::Partial => {
            Err(HeadFault::Broken(Fault("an empty line within the head")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F23: each list that is kept holds a page of the allocator's, and those of a burst lie far apart.
    #[test]
    fn f23_lists_are_kept_for_the_next_requests_and_none_once_a_burst_is_over() {
        let lines = Lines::default();
        let lists: Vec<_> = (0..=Lines::MAX_KEPT).map(|_| lines.take()).collect();
        lists.into_iter().for_each(|list| lines.give_back(list));
        assert_eq!(lines.0.borrow().len(), Lines::MAX_KEPT);
        lines.clear();
        assert_eq!(lines.0.borrow().capacity(), 0);
    }

    #[test]
    fn the_empty_line_ends_a_head_and_a_bare_line_feed_is_a_fault() {
        assert_eq!(find_end(b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest\n", 0), Ok(Some(24)));
        assert_eq!(find_end(b"GET / HTTP/1.1\r\nA: b\r\n\r", 0), Ok(None));
        assert!(find_end(b"GET / HTTP/1.1\nA: b\r\n\r\n", 0).is_err());
        assert!(find_end(b"GET / HTTP/1.1\r\n\n", 0).is_err());
        assert!(find_end(b"\n", 0).is_err());
    }

    #[test]
    fn a_search_that_goes_on_finds_what_a_search_from_the_start_finds() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(find_end(&head[..cut], 0), Ok(None));
            assert_eq!(find_end(head, cut), Ok(Some(head.len())), "{cut}");
        }
    }
}
