//! The upstream connections that one client's HTTP/1 connection owns: one to the baseline and one to each sandbox
//! endpoint in use (DESIGN §3.4). No answer can reach another client: nobody else has these sockets.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use smallvec::SmallVec;
use tokio::net::TcpStream;

use crate::{
    telemetry::{Open, Side},
    tunnel,
};

/// Whom a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whither {
    /// The baseline of the client's connection.
    Baseline,
    /// In explicit mode, the baseline of one authority.
    Authority(Arc<str>),
    /// A sandbox endpoint.
    Endpoint(SocketAddr),
}

/// A connection to an upstream. No bytes of it are held: what comes while nothing is in flight is an offence.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Whom it leads to.
    pub(crate) whither: Whither,
    /// The socket.
    pub(crate) socket: TcpStream,
    /// Whether it was dialled for the request that holds it.
    pub(crate) fresh: bool,
    /// Counts it among the open ones.
    pub(crate) _open: Open<Side>,
}

/// What became of an idle upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// One that no longer matters ended; it was dropped.
    Dropped,
    /// The one that the client depends on ended.
    Ended,
    /// The one that the client depends on was reset.
    Reset,
    /// One spoke without having been asked.
    Spoke,
}

/// The idle ones, least recently used first.
#[derive(Debug)]
pub(crate) struct Upstreams {
    idle: SmallVec<[Upstream; 1]>,
    /// Who gave the last answer; none before the first.
    answered: Option<Whither>,
    max_idle: usize,
}

impl Upstreams {
    /// None yet; at most `max_idle` are kept besides the baseline.
    pub(crate) fn new(max_idle: usize) -> Self {
        Self { idle: SmallVec::new(), answered: None, max_idle }
    }

    /// Takes the connection to `whither`, if there is one that stands. A request that was there before its upstream was
    /// looked at must not take for its answer what came without having been asked for (MATRICES B20).
    #[inline]
    pub(crate) fn take(&mut self, whither: &Whither) -> Option<Upstream> {
        let at = self.idle.iter().position(|upstream| upstream.whither == *whither)?;
        let upstream = self.idle.remove(at);
        is_quiet(&upstream.socket).then_some(upstream)
    }

    /// Keeps a connection for the next request; the least recently used goes where there are too many.
    #[inline]
    pub(crate) fn keep(&mut self, mut upstream: Upstream) {
        upstream.fresh = false;
        self.idle.push(upstream);
        if self.idle.len() > self.max_idle {
            self.let_go();
        }
    }

    /// Lets go of the oldest, where there is one too many besides the baseline's.
    #[cold]
    fn let_go(&mut self) {
        let is_counted = |upstream: &Upstream| upstream.whither != Whither::Baseline;
        if self.idle.iter().filter(|upstream| is_counted(upstream)).count() > self.max_idle
            && let Some(oldest) = self.idle.iter().position(is_counted)
        {
            self.idle.remove(oldest);
        }
    }

    /// Whether anybody has given an answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Notes who gave the last answer.
    #[inline]
    pub(crate) fn note_answer(&mut self, whither: &Whither) {
        if self.answered.as_ref() != Some(whither) {
            self.answered = Some(whither.clone());
        }
    }

    /// Ready when something happened to an idle connection. Costs no system call while nothing does.
    #[inline]
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        for at in 0..self.idle.len() {
            let Some(upstream) = self.idle.get(at) else { break };
            if upstream.socket.poll_read_ready(cx).is_pending() {
                continue;
            }
            let Some(outcome) = look(upstream, cx) else { continue };
            let depends = self.answered.as_ref().is_none_or(|whither| *whither == upstream.whither);
            self.idle.remove(at);
            return Poll::Ready(if depends || outcome == Idle::Spoke { outcome } else { Idle::Dropped });
        }
        Poll::Pending
    }

    /// Passes a client's reset on.
    pub(crate) fn reset_all(&mut self) {
        for upstream in self.idle.drain(..) {
            reset(upstream.socket);
        }
    }
}

#[cold]
fn look(upstream: &Upstream, cx: &mut Context<'_>) -> Option<Idle> {
    let mut byte = [0];
    loop {
        match upstream.socket.try_read(&mut byte) {
            Ok(0) => return Some(Idle::Ended),
            Ok(_) => return Some(Idle::Spoke),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if upstream.socket.poll_read_ready(cx).is_pending() {
                    return None;
                }
            }
            Err(_) => return Some(Idle::Reset),
        }
    }
}

/// Whether a connection is open and silent, as one that nothing is in flight on has to be. Costs no system call unless
/// something has come.
#[inline]
pub(crate) fn is_quiet(socket: &TcpStream) -> bool {
    matches!(socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A connection in the midst of an exchange: let go of there, it is reset, so that its peer takes no part for whole.
#[derive(Debug)]
pub(crate) struct Midway<'a> {
    /// The connection.
    pub(crate) socket: &'a mut TcpStream,
    /// Whether the exchange has ended, good or bad.
    pub(crate) over: bool,
}

impl<'a> Midway<'a> {
    /// An exchange that begins.
    #[inline]
    pub(crate) fn new(socket: &'a mut TcpStream) -> Self {
        Self { socket, over: false }
    }
}

impl Drop for Midway<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.over {
            tunnel::reset(self.socket);
        }
    }
}

/// Ends a connection with a reset: its peer shall not take what came for whole.
#[cold]
pub(crate) fn reset(socket: TcpStream) {
    // A socket that the peer has reset already takes no option any more; closing it is then all there is to do.
    let _ = socket.set_zero_linger();
}
