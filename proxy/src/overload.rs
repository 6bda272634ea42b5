//! The memory budget: what this process holds is looked at ten times a second, on the housekeeping thread. Above the
//! budget requests are answered 503, which costs little and ends their connections, until enough was given back.
//!
//! Measured is the memory that the process itself has touched and no file backs: buffers, windows, tables and whatever
//! the allocator keeps of them. That is what the kernel kills for.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;

use crate::{allocator, config::MemoryBudget};

/// How often every thread that may hold much is asked to give back what it can, while requests are shed. Connections may
/// stay and hold nothing any more, as those of HTTP/2 do; the allocator keeps what they held.
pub(crate) const RELIEF: Duration = Duration::from_secs(1);
/// How often a look is taken: the kernel hands out no gigabyte meanwhile, and a look costs a few microseconds.
const LOOK: Duration = Duration::from_millis(100);
/// Of a container's limit, so much is the budget: the rest is for the kernel's share, socket buffers for one.
const OF_LIMIT_PERCENT: u64 = 85;
/// Below this share of the budget requests are served again.
const WELL_PERCENT: u64 = 95;

/// How the memory stands.
#[derive(Debug)]
pub(crate) struct Overload {
    budget: Option<u64>,
    held: AtomicU64,
    sheds: AtomicBool,
    /// The same, for those who wait for it.
    shedding: watch::Sender<bool>,
}

impl Overload {
    /// With this many bytes, or without a bound.
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        let budget = match budget {
            MemoryBudget::Bytes(bytes) => u64::try_from(bytes).ok(),
            MemoryBudget::Off | MemoryBudget::Auto => None,
        };
        Self {
            budget,
            held: AtomicU64::new(0),
            sheds: AtomicBool::new(false),
            shedding: watch::Sender::new(false),
        }
    }

    /// Whether requests are answered 503. One relaxed load: asked for each request.
    #[inline]
    pub(crate) fn sheds(&self) -> bool {
        self.sheds.load(Relaxed)
    }

    /// Calls `relieve` again and again while requests are shed. Never returns.
    pub(crate) async fn relieve(&self, relieve: impl Fn()) {
        let mut shedding = self.shedding.subscribe();
        // It fails where the sender is gone, which is part of `self`.
        while shedding.wait_for(|shedding| *shedding).await.is_ok() {
            relieve();
            tokio::time::sleep(RELIEF).await;
        }
    }

    /// The budget in bytes.
    pub(crate) fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// Watches the memory, and gives back what this thread can. Never returns.
    pub(crate) async fn watch(&self) {
        tokio::join!(self.look(), self.relieve(allocator::give_back));
    }

    async fn look(&self) {
        let Some(budget) = self.budget else { return };
        let mut looks = tokio::time::interval(LOOK);
        // Kept open: when descriptors run out is when it is needed.
        let Ok(file) = File::open(STATM) else {
            return tracing::error!("memory cannot be watched: {STATM} is not there");
        };
        loop {
            looks.tick().await;
            if let Ok(held) = touched(&file) {
                self.note(held, budget);
            }
        }
    }

    fn note(&self, held: u64, budget: u64) {
        self.held.store(held, Relaxed);
        let sheds = self.sheds();
        if !sheds && held > budget {
            self.sheds.store(true, Relaxed);
            self.shedding.send_replace(true);
            tracing::warn!(held, budget, "over the memory budget: requests are answered 503");
        } else if sheds && held < budget / 100 * WELL_PERCENT {
            self.sheds.store(false, Relaxed);
            self.shedding.send_replace(false);
            tracing::info!(held, budget, "within the memory budget again");
        }
    }
}

const STATM: &str = "/proc/self/statm";

/// Bytes that the process holds now and no file backs; none where the system does not tell.
pub(crate) fn held() -> Option<u64> {
    touched(&File::open(STATM).ok()?).ok()
}

/// proc(5): size, resident and shared come first, in pages.
fn touched(file: &File) -> io::Result<u64> {
    let mut text = [0; 128];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
    let mut pages = text.split_whitespace().skip(1).map_while(|number| number.parse::<u64>().ok());
    let (Some(resident), Some(shared)) = (pages.next(), pages.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Ok(resident.saturating_sub(shared) * page)
}

/// The budget that holds: as told, or most of what this container may have.
pub(crate) fn budget(told: MemoryBudget) -> MemoryBudget {
    if told != MemoryBudget::Auto {
        return told;
    }
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(Path::new("/sys/fs/cgroup"), &memberships);
    let budget = limit.and_then(|limit| usize::try_from(limit / 100 * OF_LIMIT_PERCENT).ok());
    budget.map_or(MemoryBudget::Off, MemoryBudget::Bytes)
}

/// The least memory limit of the control groups that this process is in (cgroups(7), both versions).
fn limit(root: &Path, memberships: &str) -> Option<u64> {
    /// What version 1 says where there is no limit is a little less than 2^63.
    const NO_LIMIT: u64 = 1 << 60;
    let files = memberships.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next()?, parts.next()?);
        let (root, name) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be the host's, and the root is already the container's own.
        let own = root.join(path.trim_start_matches('/'));
        Some(
            own.ancestors()
                .take_while(|at| at.starts_with(&root))
                .map(|at| at.join(name))
                .collect::<Vec<PathBuf>>(),
        )
    });
    let told = files.flatten().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    told.filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shed_above_the_budget_until_well_below_it() {
        let overload = Overload::new(MemoryBudget::Bytes(1000));
        for (held, sheds) in
            [(1000, false), (1001, true), (999, true), (950, true), (949, false), (1000, false)]
        {
            overload.note(held, 1000);
            assert_eq!(overload.sheds(), sheds, "{held}");
        }
    }

    #[test]
    fn memory_that_is_touched_counts() {
        // Other tests of this process give memory back meanwhile, but nothing like half of this.
        const BLOCK: u64 = 256 << 20;
        let before = held().unwrap();
        let block = vec![1_u8; usize::try_from(BLOCK).unwrap()];
        std::hint::black_box(&block);
        let with = held().unwrap();
        assert!(with >= before + BLOCK / 2, "{before} {with}");
    }

    #[test]
    fn the_least_limit_of_all_groups_above_holds() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(limit(root.path(), "0::/a/b\n"), None);
        write("a/memory.max", "4096\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(limit(root.path(), "0::/a/b\n"), Some(4096));
        write("memory.max", "2048\n");
        assert_eq!(limit(root.path(), "0::/a/b\n"), Some(2048));
        write("memory/pod/memory.limit_in_bytes", "1024\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(root.path(), "3:cpu,cpuacct:/pod\n2:memory:/pod\n0::/\n"), Some(1024));
        assert_eq!(limit(root.path(), "2:memory:/elsewhere\n"), None);
    }
}
