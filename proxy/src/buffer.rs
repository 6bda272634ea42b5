//! Read buffers, and the worker's store of those that nobody needs just now.
//!
//! A connection takes storage when a read is tried, and gives it back when nothing came, or when all that came was passed
//! on: an idle connection holds none. What has to be kept while its answer is awaited moves to storage of its own size,
//! so that a worker reads into the same few buffers however many requests are in flight, and finds them in its caches.

use std::{
    cell::RefCell,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::TcpStream,
};

/// A head with its first body bytes nearly always fits; a body keeps the kernel's copy cheap.
const SIZE: usize = 16 * 1024;
/// Up to so many bytes are worth a copy to have the buffer back.
pub(crate) const SMALL: usize = 4 * 1024;
/// Buffers that a worker keeps for the next burst; more are given back to the allocator.
const MAX_KEPT: usize = 64;

/// A worker's spare buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    #[inline]
    fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| vec![0; SIZE])
    }

    /// Reads what has come already; nothing where that is nothing, or the stream's end, which later reads find too.
    ///
    /// # Errors
    /// The peer reset the connection.
    pub(crate) fn read_what_is_there(&self, mut socket: &std::net::TcpStream) -> io::Result<BytesMut> {
        let mut storage = self.take();
        let read = socket.read(&mut storage);
        let bytes = read.map(|count| BytesMut::from(storage.get(..count).unwrap_or_default()));
        self.give_back(storage);
        match bytes {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(BytesMut::new())
            }
            bytes => bytes,
        }
    }

    #[inline]
    fn give_back(&self, storage: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if storage.len() == SIZE && kept.len() < MAX_KEPT {
            kept.push(storage);
        }
    }
}

/// Bytes being written into a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: Buffer,
    from: &'a Buffers,
}

impl<'a> Writer<'a> {
    /// Nothing written yet.
    #[inline]
    pub(crate) fn new(from: &'a Buffers) -> Self {
        Self { buffer: Buffer::default(), from }
    }

    /// Adds bytes.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes, self.from);
    }

    /// What was written.
    #[inline]
    pub(crate) fn done(self) -> Buffer {
        self.buffer
    }
}

impl Buffers {
    /// Keeps none.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

/// Bytes read and not yet passed on: `storage[start..end]`. Without storage while it is empty and nobody reads.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes, in order.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.storage.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Lets the first `count` bytes go.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Gives the storage back if there is nothing in it.
    #[inline]
    pub(crate) fn release(&mut self, to: &Buffers) {
        if self.is_empty() && !self.storage.is_empty() {
            to.give_back(std::mem::take(&mut self.storage));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Keeps little in as little storage as it needs.
    #[inline]
    pub(crate) fn compact(&mut self, to: &Buffers) {
        if self.storage.len() == SIZE && self.len() <= SMALL {
            let kept = self.bytes().to_vec();
            to.give_back(std::mem::replace(&mut self.storage, kept));
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Lets all bytes go, and the storage.
    #[inline]
    pub(crate) fn clear(&mut self, to: &Buffers) {
        self.start = self.end;
        self.release(to);
    }

    /// Adds bytes that were read elsewhere.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8], from: &Buffers) {
        if self.storage.len() - self.end < bytes.len() {
            self.make_room(bytes.len(), from);
        }
        if let Some(room) = self.storage.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Reads once, behind what is there. Zero bytes are the end of the stream. Grows where no room is left: callers bound
    /// what they let stand.
    #[inline]
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut TcpStream,
        from: &Buffers,
    ) -> Poll<io::Result<usize>> {
        self.make_room(1, from);
        let outcome = self.poll_read(cx, socket);
        if self.is_empty() {
            self.release(from);
        }
        outcome
    }

    /// Whether a read would find room without the buffer growing.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < SIZE.max(self.storage.len())
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, socket: &mut TcpStream) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.storage.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(socket).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    #[inline]
    fn make_room(&mut self, count: usize, from: &Buffers) {
        if self.storage.is_empty() {
            self.storage = from.take();
        }
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.storage.len() - self.end >= count {
            return;
        }
        if self.storage.len() < SIZE {
            self.unpack(from.take());
        } else if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.storage.len() - self.end < count {
            let size = (self.storage.len() * 2).max((self.end + count).next_multiple_of(SIZE));
            self.storage.resize(size, 0);
        }
    }

    /// The other way round of [`Buffer::compact`].
    #[cold]
    fn unpack(&mut self, storage: Vec<u8>) {
        let packed = std::mem::replace(&mut self.storage, storage);
        let bytes = packed.get(self.start..self.end).unwrap_or_default();
        if let Some(room) = self.storage.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            (self.start, self.end) = (0, bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_holds_no_storage_and_storage_is_used_again() {
        let store = Buffers::default();
        let mut buffer = Buffer::default();
        buffer.extend(b"one", &store);
        let place = buffer.bytes().as_ptr();
        buffer.consume(3);
        buffer.release(&store);
        assert!(buffer.storage.is_empty());
        let mut other = Buffer::default();
        other.extend(b"two", &store);
        assert_eq!(other.bytes().as_ptr(), place);
    }

    #[test]
    fn little_that_is_kept_gives_its_storage_back_and_takes_more_again() {
        let store = Buffers::default();
        let mut buffer = Buffer::default();
        buffer.extend(b"-head", &store);
        buffer.consume(1);
        buffer.compact(&store);
        assert_eq!((buffer.bytes(), buffer.storage.len()), (&b"head"[..], 4));
        assert_eq!(store.0.borrow().len(), 1);
        buffer.extend(b" and more", &store);
        assert_eq!((buffer.bytes(), buffer.storage.len()), (&b"head and more"[..], SIZE));
        buffer.extend(&[0; SMALL], &store);
        buffer.compact(&store);
        assert_eq!(buffer.storage.len(), SIZE, "much is not copied");
    }

    #[test]
    fn a_buffer_keeps_what_is_in_it_when_it_moves_up_and_when_it_grows() {
        let store = Buffers::default();
        let mut buffer = Buffer::default();
        buffer.extend(&[1; SIZE - 1], &store);
        buffer.consume(SIZE - 3);
        buffer.extend(&[2; 4], &store);
        assert_eq!(buffer.bytes(), [1, 1, 2, 2, 2, 2]);
        buffer.extend(&[3; 2 * SIZE], &store);
        assert_eq!(buffer.len(), 6 + 2 * SIZE);
        assert_eq!(buffer.bytes().first_chunk(), Some(&[1, 1, 2, 2, 2, 2, 3, 3]));
        buffer.consume(usize::MAX / 2);
        buffer.release(&store);
        assert!(store.0.borrow().is_empty(), "a grown buffer is not kept");
    }
}
