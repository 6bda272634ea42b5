//! Asking a proxy's admin listener.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::Value;

use crate::config::AdminAddress;

/// A proxy that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than any page of it has.
const MOST: u64 = 64 << 20;

/// What it answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }
}

/// Asks for one page.
///
/// # Errors
/// Nobody is there, or it is no proxy.
pub(super) fn get(admin: &AdminAddress, path: &str) -> io::Result<Reply> {
    match admin {
        AdminAddress::Loopback(address) => {
            let socket = TcpStream::connect_timeout(address, PATIENCE)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            exchange(socket, path)
        }
        AdminAddress::Unix(file) => {
            let socket = UnixStream::connect(file)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            exchange(socket, path)
        }
        AdminAddress::Off => Err(io::ErrorKind::NotFound.into()),
    }
}

fn exchange(mut socket: impl Read + Write, path: &str) -> io::Result<Reply> {
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(MOST).read_to_end(&mut answer)?;
    let no_http = || io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak HTTP");
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(&answer).map_err(|_| no_http())?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else {
        return Err(no_http());
    };
    let body = String::from_utf8_lossy(answer.get(length..).unwrap_or_default()).into_owned();
    Ok(Reply { status, body })
}
