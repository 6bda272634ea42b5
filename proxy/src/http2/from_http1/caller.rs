//! The client's socket, as both directions of an exchange use it at once.

use std::io::{self, ErrorKind::WouldBlock};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::{net::TcpStream, task::coop::consume_budget};

use crate::{telemetry::Traffic, tunnel};

/// The socket. What passes is counted, as long as it is HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    socket: &'a TcpStream,
    traffic: Option<&'a Traffic>,
}

impl<'a> Caller<'a> {
    /// A client whose bytes are counted here.
    pub(crate) fn new(socket: &'a TcpStream, traffic: &'a Traffic) -> Self {
        Self { socket, traffic: Some(traffic) }
    }

    /// The same one behind an upgrade: its bytes are a tunnel's.
    pub(super) fn uncounted(self) -> Self {
        Self { traffic: None, ..self }
    }

    /// Reads what there is, with room for so many bytes at least; none is the client's end.
    pub(super) async fn read(&self, into: &mut BytesMut, room: usize) -> io::Result<usize> {
        // A client that always has more must not keep the worker from its other connections.
        consume_budget().await;
        loop {
            // Room is made when there is something to read: who waits long, as a tunnel does, shall hold none meanwhile.
            if into.is_empty() {
                *into = BytesMut::new();
            }
            self.socket.readable().await?;
            into.reserve(room);
            match self.socket.try_read_buf(into) {
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    if let Some(traffic) = self.traffic {
                        traffic.sent.add(read as u64);
                    }
                    return Ok(read);
                }
            }
        }
    }

    /// Writes all of `bytes`, however long the client takes.
    pub(super) async fn write(&self, bytes: &mut impl Buf) -> io::Result<()> {
        while bytes.has_remaining() {
            match self.socket.try_write(bytes.chunk()) {
                Err(error) if error.kind() == WouldBlock => self.socket.writable().await?,
                Err(error) => return Err(error),
                Ok(written) => {
                    bytes.advance(written);
                    if let Some(traffic) = self.traffic {
                        traffic.received.add(written as u64);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shut(&self) -> io::Result<()> {
        SockRef::from(self.socket).shutdown(std::net::Shutdown::Write)
    }

    /// Waits for the client's reset, which reading would not tell while the endpoint takes nothing.
    pub(super) async fn broken(&self) {
        let _error = tunnel::broken(self.socket).await;
    }
}
