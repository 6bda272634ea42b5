//! Memory of a process.

use std::fs;

use anyhow::Context;

/// Proportional set size of `pid` in KiB.
///
/// # Errors
/// Where the process is gone.
pub fn pss_kib(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("no process {pid}"))?;
    parse(&text).with_context(|| format!("unreadable smaps_rollup of {pid}"))
}

fn parse(smaps_rollup: &str) -> Option<u64> {
    let rest = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_read_and_not_one_of_its_parts() {
        let text = "55-7f [rollup]\nRss:  900 kB\nPss_Dirty:  1 kB\nPss:   432 kB\nPss_Anon: 2 kB\n";
        assert_eq!(parse(text), Some(432));
        assert_eq!(parse("Rss: 9 kB\n"), None);
    }
}
