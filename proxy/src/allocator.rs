//! Giving memory back. An allocator keeps what was freed, for the next burst; after one it is told that none comes.
#![expect(
    unsafe_code,
    reason = "the allocator's own function for this has no safe wrapper; this file is one"
)]

/// Gives the system back what this thread has freed. Takes some milliseconds where that is much.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, may be called at any time from any thread, and frees nothing that is in use. Where
    // another allocator is the program's, it finds nothing to do.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
