//! A request's body on its way from an HTTP/1 connection to an HTTP/2 stream.

use bytes::{Bytes, BytesMut};
use h2::SendStream;

use super::{Caller, Framing, download::End};
use crate::http2::{
    transfer::send_all,
    unpack::{Unpacked, Unpacking},
};

/// What is read at once; also the most that is read beyond the request's end.
const READ: usize = 16 * 1024;

/// What comes from the client.
#[derive(Debug)]
pub(super) struct Intake {
    ahead: BytesMut,
    body: Unpacked,
    done: bool,
}

impl Intake {
    /// A body of which `ahead` was read.
    pub(super) fn new(ahead: BytesMut, framing: Framing) -> Self {
        Self { ahead, body: Unpacked::new(framing), done: framing == Framing::Length(0) }
    }

    /// Whether the body was read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// What is left.
    pub(super) fn into_ahead(self) -> BytesMut {
        self.ahead
    }

    /// Passes the body on, then watches the client. Ends only with what ends the exchange; the endpoint's reasons are
    /// heard where its answer is.
    pub(super) async fn run(&mut self, from: Caller<'_>, to: &mut SendStream<Bytes>) -> End {
        while !self.done {
            match self.body.take(&mut self.ahead) {
                Err(invalid) => {
                    to.send_reset(h2::Reason::CANCEL);
                    return End::BadRequest(invalid.0);
                }
                Ok(Unpacking::Data { data, last }) => {
                    self.done = last;
                    if !send_all(to, data, last).await {
                        return std::future::pending().await;
                    }
                }
                Ok(Unpacking::Trailers(trailers)) => {
                    self.done = true;
                    let sent = if trailers.is_empty() {
                        to.send_data(Bytes::new(), true)
                    } else {
                        to.send_trailers(trailers)
                    };
                    if sent.is_err() {
                        return std::future::pending().await;
                    }
                }
                Ok(Unpacking::Wanting) => {
                    if !matches!(from.read(&mut self.ahead, READ).await, Ok(1..)) {
                        to.send_reset(h2::Reason::CANCEL);
                        return End::ClientGone;
                    }
                }
            }
        }
        // Pipelined requests wait; of a client that sends many of them a reset alone is seen.
        while self.ahead.len() < READ {
            if !matches!(from.read(&mut self.ahead, READ).await, Ok(1..)) {
                to.send_reset(h2::Reason::CANCEL);
                return End::ClientGone;
            }
        }
        std::future::pending().await
    }
}
