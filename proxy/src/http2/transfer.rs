//! One body on its way from one HTTP/2 stream to another, with its trailers.
//!
//! Capacity rules: a sender's window is opened again only by as much as the receiver's stream has taken, so a slow
//! reader stops its own sender and nobody else (MATRICES F7). A body that was cut never looks whole: the end of the
//! stream is sent after the end was received, and otherwise not at all.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use crate::validate::{self, Fault};

/// How much of a request's body is remembered until its answer begins, so that a stream which the upstream refused
/// unprocessed can be sent again.
const REPLAYED: usize = 16 * 1024;
/// And in how many pieces: each costs more than the byte that it may be (MATRICES B11).
const REPLAYED_PIECES: usize = 64;

/// A piece below this size is sent together with those that came with it.
const SMALL: usize = 1024;

/// Who broke off a body.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The one who sent it.
    Source(h2::Error),
    /// The one who was to receive it.
    Sink,
    /// Nobody, but its trailers cannot be passed on.
    Malformed(Fault),
}

/// The state of one body.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    /// To be sent before more is read.
    ahead: VecDeque<Chunk>,
    /// What was sent, as long as all of it is remembered.
    sent: Option<Vec<Bytes>>,
    sent_bytes: usize,
    /// Passed on since somebody asked.
    moved: usize,
    /// The sender ended its stream; set before the end is passed on.
    read_all: bool,
    end_sent: bool,
}

#[derive(Debug)]
struct Chunk {
    data: Bytes,
    /// Whether its sender's window is still to be opened for it.
    counted: bool,
}

impl Transfer {
    /// A body that can be sent again for as long as little of it was sent.
    pub(crate) fn replayable() -> Self {
        Self { sent: Some(Vec::new()), ..Self::default() }
    }

    /// Forgets what was sent: from here on there is no second try.
    pub(crate) fn settle(&mut self) {
        self.sent = None;
    }

    /// Begins again from the first byte, if all of them are remembered.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(sent) = self.sent.take() else { return false };
        for data in sent.into_iter().rev() {
            self.ahead.push_front(Chunk { data, counted: false });
        }
        self.sent = Some(Vec::new());
        self.sent_bytes = 0;
        self.end_sent = false;
        true
    }

    /// How many bytes were passed on since this was last asked.
    pub(crate) fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// Moves what can be moved; ready when the end was passed on, or the body was cut.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut RecvStream,
        to: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Cut>> {
        loop {
            while !self.ahead.is_empty() {
                ready!(self.send_front(cx, from, to))?;
            }
            if self.end_sent {
                return Poll::Ready(Ok(()));
            }
            if self.read_all {
                return Poll::Ready(self.end(to));
            }
            match from.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.read_all = from.is_end_stream();
                    let data = if data.len() < SMALL { self.gather(cx, from, data)? } else { data };
                    if !data.is_empty() {
                        self.ahead.push_back(Chunk { data, counted: true });
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Cut::Source(error))),
                Poll::Ready(None) => return self.poll_trailers(cx, from, to),
                Poll::Pending => return poll_cut(cx, to).map(Err),
            }
        }
    }

    /// Adds to a small piece what has come behind it: as one frame they cost the next queue one place.
    fn gather(&mut self, cx: &mut Context<'_>, from: &mut RecvStream, first: Bytes) -> Result<Bytes, Cut> {
        let mut all = BytesMut::new();
        while !self.read_all && all.len() < SMALL {
            match from.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    if all.is_empty() {
                        all.reserve(first.len() + data.len().max(SMALL));
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&data);
                    self.read_all = from.is_end_stream();
                }
                Poll::Ready(Some(Err(error))) => return Err(Cut::Source(error)),
                // Trailers, or nothing yet: whoever looks next sees the same.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Sends as much of the first chunk as the receiver has room for.
    fn send_front(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut RecvStream,
        to: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Cut>> {
        let Some(chunk) = self.ahead.front_mut() else { return Poll::Ready(Ok(())) };
        to.reserve_capacity(chunk.data.len());
        let mut capacity = to.capacity();
        if capacity == 0 {
            capacity = match ready!(to.poll_capacity(cx)) {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return Poll::Ready(Err(Cut::Sink)),
            };
        }
        let length = capacity.min(chunk.data.len());
        let data = chunk.data.split_to(length);
        let (counted, empty) = (chunk.counted, chunk.data.is_empty());
        if empty {
            self.ahead.pop_front();
        }
        self.remember(&data);
        self.moved += length;
        let last = self.read_all && self.ahead.is_empty();
        to.send_data(data, last).map_err(|_| Cut::Sink)?;
        if counted {
            // Fails only where more is released than was received.
            let _ = from.flow_control().release_capacity(length);
        }
        self.end_sent = last;
        Poll::Ready(Ok(()))
    }

    fn remember(&mut self, data: &Bytes) {
        if let Some(sent) = &mut self.sent {
            self.sent_bytes += data.len();
            if self.sent_bytes > REPLAYED || sent.len() == REPLAYED_PIECES {
                self.sent = None;
            } else {
                sent.push(data.clone());
            }
        }
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut RecvStream,
        to: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), Cut>> {
        match ready!(from.poll_trailers(cx)).map_err(Cut::Source)? {
            Some(trailers) => {
                validate::http2::check_fields(&trailers).map_err(Cut::Malformed)?;
                self.sent = None;
                Poll::Ready(to.send_trailers(trailers).map_err(|_| Cut::Sink))
            }
            None => {
                self.read_all = true;
                Poll::Ready(self.end(to))
            }
        }
    }

    fn end(&mut self, to: &mut SendStream<Bytes>) -> Result<(), Cut> {
        self.end_sent = true;
        to.send_data(Bytes::new(), true).map_err(|_| Cut::Sink)
    }
}

/// Waits for the receiver to break off.
fn poll_cut(cx: &mut Context<'_>, to: &mut SendStream<Bytes>) -> Poll<Cut> {
    to.poll_reset(cx).map(|_| Cut::Sink)
}

/// Sends data as the receiver's windows allow; says whether the receiver is still there.
pub(crate) async fn send_all(to: &mut SendStream<Bytes>, mut data: Bytes, last: bool) -> bool {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let capacity = match to.capacity() {
            0 => match std::future::poll_fn(|cx| to.poll_capacity(cx)).await {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return false,
            },
            capacity => capacity,
        };
        let part = data.split_to(capacity.min(data.len()));
        if to.send_data(part, last && data.is_empty()).is_err() {
            return false;
        }
    }
    true
}
