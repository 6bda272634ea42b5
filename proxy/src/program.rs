//! The program's own pages. Starting, and a burst, run through much code that nobody needs afterwards, and the kernel
//! maps sixteen pages around each that is touched: most of the program counts as this process's memory then. What is
//! unmapped here stays in the page cache, and what is needed comes back without a disk, so that a proxy at rest counts
//! what a proxy at rest uses.
#![expect(
    unsafe_code,
    reason = "unmapping has no safe wrapper; this file is one, for pages that nobody can write"
)]

use std::{fs, io};

use rustix::mm::{Advice, madvise};

/// Unmaps what of the program's code and constants is not in use. It is advice: where it cannot be given, nothing is lost.
pub(crate) fn give_back() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let program = program.to_string_lossy();
    for (start, end) in maps.lines().filter_map(|line| unwritten(line, &program)) {
        if let Err(error) = unmap(start, end) {
            tracing::debug!(%error, "the program's pages stay mapped");
        }
    }
}

/// Where a line of `/proc/PID/maps` is a part of the program that was never written: its code, or the constants at its
/// front. Behind the code there are constants that the loader has written to; they have no file to come back from.
fn unwritten(line: &str, program: &str) -> Option<(usize, usize)> {
    let (head, path) = line.split_at_checked(line.find('/')?)?;
    let mut fields = head.split_ascii_whitespace();
    let (range, access, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let at_front = access == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if path != program || !(access == "r-xp" || at_front) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

fn unmap(start: usize, end: usize) -> io::Result<()> {
    let first = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: a private mapping of a file that was never written to: whoever touches it again finds the same bytes. That
    // assumes a program without text relocations, as position-independent ones are linked; a breakpoint that a debugger
    // wrote into the code would be lost.
    Ok(unsafe { madvise(first, end.saturating_sub(start), Advice::LinuxDontNeed) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_the_constants_at_the_front_are_given_back_and_nothing_that_was_written() {
        let of = |line| unwritten(line, "/bin/proxy");
        assert_eq!(of("1000-3000 r--p 00000000 fe:00 7   /bin/proxy"), Some((0x1000, 0x3000)));
        assert_eq!(of("3000-9000 r-xp 00002000 fe:00 7   /bin/proxy"), Some((0x3000, 0x9000)));
        assert_eq!(of("9000-a000 r--p 00008000 fe:00 7   /bin/proxy"), None, "written by the loader");
        assert_eq!(of("a000-b000 rw-p 00009000 fe:00 7   /bin/proxy"), None);
        assert_eq!(of("3000-9000 r-xp 00002000 fe:00 8   /lib/libc.so.6"), None, "others'");
        assert_eq!(of("3000-9000 r-xp 00002000 fe:00 7   /bin/proxy (deleted)"), None, "another path");
        assert_eq!(of("b000-c000 rw-p 00000000 00:00 0"), None);
    }

    #[test]
    fn a_program_goes_on_on_pages_that_it_gave_back() {
        let words: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
        give_back();
        assert_eq!(words.concat().len(), 300);
    }
}
