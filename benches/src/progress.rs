//! How far a run is: a bar on a terminal, now and then a line elsewhere.

use std::{
    cell::Cell,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    told: Cell<Instant>,
    done: Cell<usize>,
    points: usize,
}

impl Progress {
    /// Of `points` to come.
    ///
    /// # Errors
    /// Where the bar's template is none.
    pub fn new(points: usize) -> anyhow::Result<Self> {
        let template = "[{elapsed_precise} of about {duration_precise}] {pos}/{len} {msg}";
        let style = ProgressStyle::with_template(template)?;
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(points as u64).with_style(style));
        let now = Instant::now();
        Ok(Self { bar, began: now, told: Cell::new(now), done: Cell::new(0), points })
    }

    /// What is measured now.
    pub fn at(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if self.told.get().elapsed() >= EVERY {
            let seconds = self.began.elapsed().as_secs();
            eprintln!("{seconds:4} s  {} of {}  {what}", self.done.get(), self.points);
            self.told.set(Instant::now());
        }
    }

    /// One point is done.
    pub fn step(&self) {
        self.done.set(self.done.get() + 1);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// All are.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
