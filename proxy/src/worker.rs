//! A worker: one OS thread with a current-thread runtime. A connection lives and dies on its worker; request state is
//! `!Send` and lock-free.

use crate::shared::SharedRef;

/// What the connections of one worker share, without a lock.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What all threads share.
    pub(crate) shared: SharedRef,
}
