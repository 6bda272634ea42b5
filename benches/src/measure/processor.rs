//! CPU time of a process.

use std::{fs, time::Duration};

use anyhow::Context;

/// CPU time of all living threads of `pid`, to the nanosecond (`schedstat`), user and system together.
///
/// # Errors
/// Where the process is gone.
pub fn time(pid: u32) -> anyhow::Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = Duration::ZERO;
    for task in fs::read_dir(&tasks).with_context(|| format!("no process {pid}"))? {
        // A thread that ended meanwhile has used nothing to speak of.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += parse(&text).with_context(|| format!("{tasks}: unreadable schedstat {text:?}"))?;
    }
    Ok(total)
}

/// First of three numbers: nanoseconds on a CPU.
fn parse(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_time() {
        assert_eq!(parse("209974 58509 2\n"), Some(Duration::from_nanos(209_974)));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let before = time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while time(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(time(std::process::id()).unwrap() > before);
    }
}
