//! Memory and descriptors of processes over time, and whether they grow.

use anyhow::Context;
use serde::Serialize;

use crate::{
    measure::{
        memory,
        statistics::{Summary, slope},
    },
    process::Process,
};

/// This part of the run is warm-up: pools and caches fill.
const WARM_UP: f64 = 0.3;
/// Growth over the measured part that is no leak: this part of the median, and at least so many KiB.
const GROWTH: f64 = 0.10;
const GROWTH_KIB: f64 = 1024.0;
/// Descriptors that may be left when all clients have gone.
const DESCRIPTORS: usize = 4;

/// One look.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Look {
    /// Seconds since the begin.
    pub seconds: f64,
    /// Proportional set size.
    pub pss_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// A process under watch.
#[derive(Debug, Clone, Serialize)]
pub struct Vitals {
    /// Its name.
    pub name: String,
    /// All looks.
    pub looks: Vec<Look>,
    /// Descriptors before any traffic.
    pub descriptors_before: usize,
    /// Descriptors when all traffic had ended; `None` until then.
    pub descriptors_after: Option<usize>,
}

impl Vitals {
    /// Of a process that has seen no traffic.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn of(name: &str, process: &Process) -> anyhow::Result<Self> {
        let descriptors_before = descriptors(process.pid())?;
        Ok(Self { name: name.to_owned(), looks: Vec::new(), descriptors_before, descriptors_after: None })
    }

    /// Looks.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn look(&mut self, process: &Process, seconds: f64) -> anyhow::Result<()> {
        let pid = process.pid();
        self.looks.push(Look { seconds, pss_kib: memory::pss_kib(pid)?, descriptors: descriptors(pid)? });
        Ok(())
    }

    /// Looks a last time, all traffic being over.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn end(&mut self, process: &Process) -> anyhow::Result<()> {
        self.descriptors_after = Some(descriptors(process.pid())?);
        Ok(())
    }

    fn measured(&self) -> &[Look] {
        let first = (self.looks.len() as f64 * WARM_UP) as usize;
        self.looks.get(first..).unwrap_or_default()
    }

    /// KiB by which memory grows in a minute, after the warm-up.
    #[must_use]
    pub fn growth_kib_per_minute(&self) -> Option<f64> {
        let points: Vec<_> =
            self.measured().iter().map(|look| (look.seconds / 60.0, look.pss_kib as f64)).collect();
        slope(&points)
    }

    /// Memory after the warm-up.
    #[must_use]
    pub fn pss_kib(&self) -> Option<Summary> {
        Summary::of(self.measured().iter().map(|look| look.pss_kib as f64))
    }

    /// What says that it leaks.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let measured = self.measured();
        if let (Some(slope), Some(pss), Some(first), Some(last)) =
            (self.growth_kib_per_minute(), self.pss_kib(), measured.first(), measured.last())
        {
            let grown = slope * (last.seconds - first.seconds) / 60.0;
            if grown > (pss.median * GROWTH).max(GROWTH_KIB) {
                leaks.push(format!("{}: memory grows by {slope:.0} KiB a minute", self.name));
            }
        }
        match self.descriptors_after {
            Some(after) if after > self.descriptors_before + DESCRIPTORS => leaks.push(format!(
                "{}: {} descriptors before all traffic, {after} after it",
                self.name, self.descriptors_before
            )),
            _ => {}
        }
        leaks
    }
}

fn descriptors(pid: u32) -> anyhow::Result<usize> {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("no process {pid}"))?;
    Ok(all.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(pss_kib: impl Fn(u64) -> u64) -> Vitals {
        let look = |n: u64| Look { seconds: n as f64 * 5.0, pss_kib: pss_kib(n), descriptors: 20 };
        Vitals {
            name: "p".to_owned(),
            looks: (0..240).map(look).collect(),
            descriptors_before: 10,
            descriptors_after: Some(12),
        }
    }

    #[test]
    fn what_grows_without_end_leaks_and_what_fills_up_at_first_does_not() {
        assert_eq!(vitals(|n| 5_000 + 20 * n.min(60) + n % 7).leaks(), [""; 0]);
        let leaks = vitals(|n| 5_000 + 20 * n).leaks();
        assert!(leaks.len() == 1 && leaks[0].contains("240 KiB a minute"), "{leaks:?}");
    }

    #[test]
    fn descriptors_that_stay_open_leak() {
        let leaking = Vitals { descriptors_after: Some(15), ..vitals(|_| 5_000) };
        assert_eq!(leaking.leaks(), ["p: 10 descriptors before all traffic, 15 after it"]);
    }
}
