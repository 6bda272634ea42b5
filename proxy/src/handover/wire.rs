//! What two proxies say to each other over the admin socket, behind a 101: one JSON object a line. The first comes with
//! the sockets themselves (`SCM_RIGHTS`, unix(7)).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// The protocol's name in `Upgrade`; another number for another protocol.
pub(super) const PROTOCOL: &str = "bellhop-handover/1";
/// The path that it is asked for at.
pub(super) const PATH: &str = "/handover";
/// Descriptors of one message (unix(7), `SCM_MAX_FD`).
pub(super) const MAX_SOCKETS: usize = 253;
/// A line is longer only where somebody else speaks.
const MAX_LINE: usize = 64 * 1024;

/// From the one before: the sockets' names, in the order of the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) names: Vec<String>,
}

/// From the successor: it serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Serving {
    /// The one before shall leave the admin socket's file alone.
    pub(super) admin: bool,
}

/// From the one before: it drains, or goes on since it waited too long.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Draining {
    pub(super) draining: bool,
}

/// A message as it goes out.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends the beginning of `line` with the sockets; how much of it went.
pub(super) fn send_with(to: impl AsFd, line: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("more listeners than one message can carry"));
    }
    Ok(sendmsg(to, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives one line and the sockets that come with it. Reads nothing beyond the line.
pub(super) fn receive_with(from: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut sockets) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                sockets.extend(received);
            }
        }
        if read.bytes == 0 || line.len() == MAX_LINE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend(byte);
    }
    Ok((line, sockets))
}
