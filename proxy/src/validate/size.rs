//! How much a head may ask for (MATRICES B9). Each limit has a status of its own.

use crate::{config::Limits, error::ErrorKind};

/// Checks a target of so many bytes.
///
/// # Errors
/// It is too long.
#[inline]
pub(crate) fn target(bytes: usize, limits: &Limits) -> Result<(), ErrorKind> {
    if bytes > limits.max_uri_bytes { Err(ErrorKind::TargetTooLong) } else { Ok(()) }
}

/// Checks so many fields, which are so many bytes as HTTP/1 writes them.
///
/// # Errors
/// There are too many of either.
#[inline]
pub(crate) fn fields(count: usize, bytes: usize, limits: &Limits) -> Result<(), ErrorKind> {
    if count > limits.max_headers || bytes > limits.max_header_bytes {
        Err(ErrorKind::HeadTooLarge)
    } else {
        Ok(())
    }
}

/// What is wrong with a head of HTTP/1 that is not whole yet: it may be longer than allowed already. A little room is
/// left for the rest of its start line.
pub(crate) fn outgrown(bytes: &[u8], limits: &Limits) -> Option<ErrorKind> {
    const ROOM: usize = 64;
    if bytes.len() <= limits.max_uri_bytes.min(limits.max_header_bytes) {
        return None;
    }
    match memchr::memchr(b'\n', bytes) {
        None if bytes.len() > limits.max_uri_bytes + ROOM => Some(ErrorKind::TargetTooLong),
        Some(line) if bytes.len() - line > limits.max_header_bytes + ROOM => Some(ErrorKind::HeadTooLarge),
        _ => None,
    }
}
