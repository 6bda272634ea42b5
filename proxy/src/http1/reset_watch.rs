//! Notices a client's reset while nobody reads from it: its upload is blocked, or its next requests have no room. Reading
//! would tell, but not before what came earlier was passed on.
//!
//! A duplicate of the descriptor is watched for errors alone, and made when it is first needed: the reader has the socket
//! for itself, and no byte that comes wakes a task. Without a descriptor to spare the reset shows when reading goes on.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

use crate::tunnel;

/// One exchange's watch over its client.
#[derive(Default)]
pub(super) struct ResetWatch(Option<Pin<Box<dyn Future<Output = io::Error>>>>);

impl ResetWatch {
    /// Ready when the connection broke.
    #[cold]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, client: &TcpStream) -> Poll<io::Error> {
        let watch = self.0.get_or_insert_with(|| Box::pin(broken(SockRef::from(client).try_clone())));
        watch.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResetWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResetWatch").field(&self.0.is_some()).finish()
    }
}

async fn broken(duplicate: io::Result<Socket>) -> io::Error {
    match duplicate.and_then(|socket| TcpStream::from_std(socket.into())) {
        Ok(socket) => tunnel::broken(&socket).await,
        Err(_) => std::future::pending().await,
    }
}
