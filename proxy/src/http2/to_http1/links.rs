//! The HTTP/1 connections of one HTTP/2 client: one for each stream in flight, and a few that wait for the next.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::{
    telemetry::{Open, Side, WorkerTelemetry},
    upstream::is_quiet,
};

/// A connection and what was read from it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    pub(crate) buffer: BytesMut,
    /// Whether it served a request before.
    pub(crate) reused: bool,
    _open: Open<Side>,
}

impl Link {
    /// A connection that was just made.
    pub(crate) fn new(socket: TcpStream, telemetry: &Rc<WorkerTelemetry>) -> Self {
        let _open = telemetry.upstream(Side::Sandbox);
        Self { socket, buffer: BytesMut::new(), reused: false, _open }
    }

    /// Whether it is open, and silent as an idle connection has to be: bytes that answer no request are nobody's.
    fn is_idle(&self) -> bool {
        is_quiet(&self.socket)
    }

    /// Ends it so that the endpoint cannot take the request for whole.
    pub(crate) fn abort(self) {
        crate::upstream::reset(self.socket);
    }
}

/// The idle ones, least recently used first.
#[derive(Debug)]
pub(crate) struct Links {
    idle: RefCell<Vec<(SocketAddr, Link)>>,
    max_idle: usize,
}

impl Links {
    /// None yet.
    pub(crate) fn new(max_idle: usize) -> Self {
        Self { idle: RefCell::default(), max_idle }
    }

    /// Takes one to `endpoint` that still stands.
    pub(crate) fn take(&self, endpoint: SocketAddr) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some(at) = idle.iter().rposition(|(to, _)| *to == endpoint) {
            let (_, link) = idle.remove(at);
            if link.is_idle() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps one for the next request.
    pub(crate) fn keep(&self, endpoint: SocketAddr, mut link: Link) {
        link.reused = true;
        // An idle connection holds no buffer.
        link.buffer = BytesMut::new();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.max_idle && !idle.is_empty() {
            idle.remove(0);
        }
        if self.max_idle > 0 {
            idle.push((endpoint, link));
        }
    }

    /// Lets all of them go.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
