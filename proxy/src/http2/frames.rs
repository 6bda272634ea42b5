//! What can be seen of HTTP/2 by reading frame headers alone (RFC 9113 §4.1) as they pass beneath the engine.
//!
//! The crate `h2` answers control frames by itself and tells nobody. The scanner sees them without copying a byte; the
//! counter says when there are too many of them (MATRICES B11). Nothing here fails: bytes that are no frames give
//! nonsense headers, and the engine above ends such a connection.

use tokio::time::{Duration, Instant};

/// Length of the client's connection preface, which precedes its first frame.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER_LENGTH: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The nine bytes that begin every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Length of what follows the header.
    pub(crate) length: usize,
    /// Frame type.
    pub(crate) kind: u8,
    /// Flags, whose meaning depends on the type.
    pub(crate) flags: u8,
    /// Stream, 0 for the connection.
    pub(crate) stream: u32,
    /// How much of the length is padding, and the byte that says so; of DATA alone.
    pub(crate) padding: usize,
}

impl FrameHeader {
    fn parse(bytes: [u8; HEADER_LENGTH]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            padding: 0,
        }
    }

    /// Whether the first byte behind it says how much padding there is.
    fn has_padding(self) -> bool {
        self.kind == DATA && self.flags & PADDED != 0 && self.length > 0
    }

    /// What it carries but for padding.
    fn payload(self) -> usize {
        self.length.saturating_sub(self.padding)
    }

    /// Whether it carries part of a message: HEADERS, or DATA that is not idle chatter.
    fn is_content(self) -> bool {
        self.kind == HEADERS || (self.kind == DATA && (self.payload() > 0 || self.flags & END_STREAM != 0))
    }

    /// Whether it is a GOAWAY.
    pub(crate) fn is_go_away(self) -> bool {
        self.kind == GOAWAY
    }
}

/// Follows one direction of a connection, in whatever pieces it arrives.
#[derive(Debug)]
pub(crate) struct FrameScanner {
    /// Bytes still to come that are no header.
    skip: usize,
    partial: [u8; HEADER_LENGTH],
    have: usize,
    /// A header whose padding is told by the byte that is to come.
    padded: Option<FrameHeader>,
    /// The last frame's type and flags.
    last: (u8, u8),
    /// How many heads have begun.
    heads: u32,
    /// Whether a first frame, and whether a second one, has begun.
    begun: (bool, bool),
}

impl FrameScanner {
    /// A scanner that begins after `skip` bytes.
    pub(crate) fn after(skip: usize) -> Self {
        Self {
            skip,
            partial: [0; HEADER_LENGTH],
            have: 0,
            padded: None,
            last: (DATA, 0),
            heads: 0,
            begun: (false, false),
        }
    }

    /// The number of the head that what was seen ends within: in its HEADERS or CONTINUATION, or before the one that
    /// is to come. One head behind another has another number.
    pub(crate) fn open_head(&self) -> Option<u32> {
        let (kind, flags) = self.last;
        let open = matches!(kind, HEADERS | CONTINUATION) && (self.skip > 0 || flags & END_HEADERS == 0);
        open.then_some(self.heads)
    }

    /// Whether the first frame is all there.
    pub(crate) fn is_past_first(&self) -> bool {
        let (first, second) = self.begun;
        second || (first && self.skip == 0)
    }

    /// Reports each header that `bytes` complete, with the byte behind it where that tells of padding.
    pub(crate) fn scan(&mut self, mut bytes: &[u8], mut seen: impl FnMut(FrameHeader)) {
        loop {
            let Some(rest) = bytes.get(self.skip..) else {
                self.skip -= bytes.len();
                return;
            };
            self.skip = 0;
            bytes = rest;
            let Some(header) = self.take(&mut bytes) else { return };
            self.last = (header.kind, header.flags);
            self.begun = (true, self.begun.0);
            self.heads = self.heads.wrapping_add(u32::from(header.kind == HEADERS));
            seen(header);
        }
    }

    /// Takes the next header off the front; none where it is not all there.
    #[inline]
    fn take(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        let header = match self.padded.take() {
            Some(header) => header,
            None => FrameHeader::parse(self.take_header(bytes)?),
        };
        if header.has_padding() {
            let Some((&padding, rest)) = bytes.split_first() else {
                self.padded = Some(header);
                return None;
            };
            *bytes = rest;
            self.skip = header.length - 1;
            return Some(FrameHeader { padding: usize::from(padding) + 1, ..header });
        }
        self.skip = header.length;
        Some(header)
    }

    #[inline]
    fn take_header(&mut self, bytes: &mut &[u8]) -> Option<[u8; HEADER_LENGTH]> {
        if let (0, Some((whole, rest))) = (self.have, bytes.split_first_chunk::<HEADER_LENGTH>()) {
            *bytes = rest;
            return Some(*whole);
        }
        for slot in self.partial.iter_mut().skip(self.have) {
            let (&first, rest) = bytes.split_first()?;
            *slot = first;
            self.have += 1;
            *bytes = rest;
        }
        self.have = 0;
        Some(self.partial)
    }
}

/// Control frames that a connection may be ahead of what pays for them.
const CREDIT: i64 = 10_000;
/// What each second pays for: keep-alive and bandwidth probes of the liveliest peers stay far below.
const CREDIT_PER_SECOND: i64 = 1_000;
/// What each HEADERS or DATA frame pays for, and so many of its bytes one more: a reader answers them with
/// WINDOW_UPDATEs. Padding pays nothing, and DATA of padding alone is a control frame.
const CREDIT_PER_CONTENT: i64 = 10;
const BYTES_PER_CREDIT: usize = 100;

/// Counts frames of both directions. Control frames cost; HEADERS, DATA and time pay. A connection that is 10,000
/// behind is flooded: a slow reader's honest WINDOW_UPDATEs are paid by the DATA that they answer. What a peer can make
/// the proxy do is bounded by frames, so that a slow machine sees the same flood as a fast one; the clock is read only
/// where the credit is used up.
#[derive(Debug)]
pub(crate) struct FrameCounter {
    credit: i64,
    paid_until: Instant,
}

impl Default for FrameCounter {
    fn default() -> Self {
        Self { credit: CREDIT, paid_until: Instant::now() }
    }
}

impl FrameCounter {
    /// Takes one frame into account and says whether the connection is flooded.
    pub(crate) fn count(&mut self, frame: FrameHeader) -> bool {
        if frame.is_content() {
            let bytes = i64::try_from(frame.payload() / BYTES_PER_CREDIT).unwrap_or_default();
            self.pay(CREDIT_PER_CONTENT + bytes);
            return false;
        }
        self.credit -= 1;
        self.credit < 0 && self.is_spent(Instant::now())
    }

    fn is_spent(&mut self, now: Instant) -> bool {
        let milliseconds = now.duration_since(self.paid_until).as_millis();
        let earned = i64::try_from(milliseconds).unwrap_or(CREDIT).min(CREDIT) * CREDIT_PER_SECOND / 1_000;
        if earned > 0 {
            self.paid_until = now;
            self.pay(earned);
        }
        self.credit < 0
    }

    fn pay(&mut self, credit: i64) {
        self.credit = (self.credit + credit).min(CREDIT);
    }
}

const WINDOW: Duration = Duration::from_secs(1);

/// Counts a peer's RST_STREAM against its HEADERS: requests that are opened only to be cancelled (rapid reset).
#[derive(Debug, Default)]
pub(crate) struct ResetCounter {
    opened: u32,
    reset: u32,
    since: Option<Instant>,
}

/// Streams that a peer may cancel within a second before the share of cancelled ones is looked at.
const RESETS: u32 = 1_000;

impl ResetCounter {
    /// Takes one frame of the peer into account and says whether it resets too many streams: more than 1,000 in a
    /// second, nine tenths of all that it opened.
    pub(crate) fn count(&mut self, frame: FrameHeader) -> bool {
        match frame.kind {
            HEADERS => self.opened = self.opened.saturating_add(1),
            RST_STREAM => self.reset += 1,
            _ => return false,
        }
        if self.reset < RESETS {
            return false;
        }
        let now = Instant::now();
        let quick = self.since.replace(now).is_some_and(|since| now.duration_since(since) <= WINDOW);
        let flood = quick && self.reset >= self.opened / 10 * 9;
        (self.opened, self.reset) = (0, 0);
        flood
    }
}

#[cfg(test)]
mod tests;
