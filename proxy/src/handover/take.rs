//! The successor's side: it asks for the sockets, and tells the one before when it serves.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::RecvFlags;

use super::{
    Giver, HandoverError, Inherited,
    wire::{self, Draining, Offered, PATH, PROTOCOL, Serving},
};

/// Whoever is there answers at once; a proxy that is stopped shall not stop its successor for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The proxy whose sockets this one has, and that does not know yet that it may go.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
    path: PathBuf,
}

/// Asks the proxy at this path for its sockets. None where nobody listens there: then there is nobody to follow.
pub(super) fn ask(path: &Path, to: &mut Inherited) -> Result<Option<Predecessor>, HandoverError> {
    let failed = |source| HandoverError::Ask { path: path.to_owned(), source };
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            tracing::warn!(path = %path.display(), "no proxy to take over from; this one starts afresh");
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    request(&mut stream).map_err(failed)?;
    let answer = head(&stream).map_err(failed)?;
    if !answer.starts_with("HTTP/1.1 101 ") {
        let said = said(&mut stream, &answer);
        return Err(HandoverError::Refused { path: path.to_owned(), said });
    }
    let (line, sockets) = wire::receive_with(&stream).map_err(failed)?;
    let offered: Offered = serde_json::from_slice(&line).map_err(|error| failed(error.into()))?;
    if offered.names.len() != sockets.len() {
        return Err(failed(io::Error::other("it sent fewer sockets than names")));
    }
    for (name, socket) in offered.names.iter().zip(sockets) {
        to.add(Giver::Predecessor, name, socket)?;
    }
    Ok(Some(Predecessor { stream, path: path.to_owned() }))
}

fn request(stream: &mut UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Reads a head, line by line, and nothing behind it.
fn head(stream: &UnixStream) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let (line, _) = wire::receive_with(stream)?;
        let end = line == b"\r\n";
        head.push_str(&String::from_utf8_lossy(&line));
        if end {
            return Ok(head);
        }
    }
}

/// What an answer that is no 101 says: its status, and the first line of its body.
fn said(stream: &mut UnixStream, head: &str) -> String {
    let status = head.lines().next().unwrap_or_default().trim_start_matches("HTTP/1.1 ").to_owned();
    match wire::receive_with(stream) {
        Ok((line, _)) => format!("{status}: {}", String::from_utf8_lossy(&line).trim_end()),
        Err(_) => status,
    }
}

impl Predecessor {
    /// Where its admin socket is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it waited too long for this proxy, and goes on. It says nothing else before it is told to go.
    pub(crate) fn goes_on(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&self.stream, &mut [0_u8; 1], flags).is_ok_and(|(count, _)| count > 0)
    }

    /// Tells it that this proxy is ready; `admin` where this one has its admin socket too. Whether it drains now, or goes
    /// on since it waited too long.
    ///
    /// # Errors
    /// It is gone. Its sockets are not.
    pub(crate) fn dismiss(mut self, admin: bool) -> io::Result<bool> {
        // Where that fails it may have said its last word before.
        let told = self.stream.write_all(&wire::line(&Serving { admin })?);
        let (line, _) = wire::receive_with(&self.stream).map_err(|error| told.err().unwrap_or(error))?;
        Ok(serde_json::from_slice::<Draining>(&line)?.draining)
    }
}
