//! Sockets from whoever started this process: descriptors from 3 on, as `sd_listen_fds(3)` describes.
#![expect(
    unsafe_code,
    reason = "a descriptor that a process was started with is known by its number alone; this file turns it into an owner"
)]

use std::{
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::{Giver, HandoverError, Inherited};
use crate::config::Activation;

/// The first descriptor behind standard input, output and error.
const FIRST: RawFd = 3;

/// Descriptors have one owner: whoever takes them first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the sockets that this process was started with.
///
/// # Errors
/// They are not what was announced.
pub(super) fn sockets(announced: Option<&Activation>) -> Result<Inherited, HandoverError> {
    let mut inherited = Inherited::default();
    let Some(Activation { count, names }) = announced else { return Ok(inherited) };
    if *count != names.len() {
        return Err(HandoverError::Unnamed { count: *count, named: names.len() });
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(HandoverError::Taken);
    }
    for (number, name) in (FIRST..).zip(names) {
        let socket = own(number).ok_or_else(|| HandoverError::NotListening { name: name.clone() })?;
        inherited.add(Giver::Starter, name, socket)?;
    }
    Ok(inherited)
}

/// Owns an inherited descriptor; none where there is none of that number. What this process itself opened is marked
/// close-on-exec, as all that Rust's libraries open; what it was started with cannot be, or it would be closed.
fn own(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: it is asked for its flags alone; where it is not open that fails, and where it is somebody's it stays so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed).ok()?.contains(FdFlags::CLOEXEC) {
        return None;
    }
    // What this process starts shall not inherit it again.
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open and came with the start of this process, so nothing in it owns it yet; `sockets` runs once.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
