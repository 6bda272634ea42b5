//! Listening sockets that change hands, so that a proxy can be replaced in place and no connection is refused meanwhile.
//!
//! They come in by two ways: from whoever started this process (`LISTEN_FDS`, [`activation`]), or from the proxy that
//! runs already (`--take-over`, [`take`]), which hands them out over its admin Unix socket (`give`). Each has the name
//! of the listener that it is for. Listeners find theirs in [`Inherited`], and open what is not there themselves.
//!
//! A proxy that takes over accepts nothing before it is ready, and tells the one before to drain only then: one that
//! fails on the way leaves everything as it was.

mod activation;
mod give;
mod inherited;
mod succession;
mod take;
mod wire;

use std::{io, path::PathBuf};

pub(crate) use self::{
    give::give,
    inherited::{Giver, Inherited},
    succession::{Offer, Succession},
    take::Predecessor,
};
use crate::config::Handover;

/// The listeners that a socket can be for.
const NAMES: [&str; 6] = ["listen", "outbound", "inbound", "explicit", "admin", "status"];

/// Sockets that were handed to this proxy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// `LISTEN_FDS` and `LISTEN_FDNAMES` do not fit together.
    #[error(
        "LISTEN_FDS hands over {count} sockets and LISTEN_FDNAMES names {named}; each needs a name: {}",
        NAMES.join(", ")
    )]
    Unnamed {
        /// How many sockets.
        count: usize,
        /// How many names.
        named: usize,
    },
    /// A socket has a name that no listener has.
    #[error("a socket was handed over as {name:?}; a listener is one of {}", NAMES.join(", "))]
    UnknownName {
        /// The name.
        name: String,
    },
    /// What was handed over is no listening stream socket.
    #[error("what was handed over as {name:?} is no listening TCP or Unix socket")]
    NotListening {
        /// Its name.
        name: String,
    },
    /// No listener of that name is configured there.
    #[error("the socket {name:?} on {address} fits no listener: no such flag gives this address")]
    Unwanted {
        /// Its name.
        name: String,
        /// Where it listens.
        address: String,
    },
    /// The descriptors were taken by an earlier proxy of this process.
    #[error("the sockets of LISTEN_FDS were taken already")]
    Taken,
    /// The proxy that runs could not be asked.
    #[error("cannot take over from the proxy at unix:{}", path.display())]
    Ask {
        /// Its admin socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The proxy that runs hands nothing over.
    #[error("the proxy at unix:{} hands nothing over: {said}", path.display())]
    Refused {
        /// Its admin socket.
        path: PathBuf,
        /// What it says.
        said: String,
    },
}

/// Takes what is handed to this proxy; the one before is there if it is still to be told to go.
///
/// # Errors
/// What was handed over is not what was announced, or cannot be had.
pub(crate) fn collect(config: &Handover) -> Result<(Inherited, Option<Predecessor>), HandoverError> {
    let mut inherited = activation::sockets(config.activation.as_ref())?;
    let predecessor = match &config.take_over {
        Some(path) => take::ask(path, &mut inherited)?,
        None => None,
    };
    Ok((inherited, predecessor))
}

#[cfg(test)]
mod tests;
