//! Progress with time left: a bar on a terminal, a line every tenth elsewhere, nothing where it is to be quiet.

use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts steps of one job.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    quiet: bool,
    done: AtomicU64,
}

impl Progress {
    /// `total` steps of `what`.
    pub fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}");
        let bar = ProgressBar::new(total).with_prefix(what);
        if quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, what, quiet, done: AtomicU64::new(0) }
    }

    /// Says what is being worked on.
    pub fn at(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Prints a line above the bar, even where it is to be quiet.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// So many steps further.
    pub fn add(&self, steps: u64) {
        if steps == 0 {
            return;
        }
        self.bar.inc(steps);
        let total = self.bar.length().unwrap_or(0);
        let before = self.done.fetch_add(steps, Ordering::Relaxed);
        let done = before + steps;
        let tenth = |n: u64| 10 * n / total.max(1);
        if !self.quiet && self.bar.is_hidden() && tenth(done) > tenth(before) {
            let elapsed = self.bar.elapsed();
            let left = elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64);
            let (gone, left) = (HumanDuration(elapsed), HumanDuration(left));
            eprintln!("{} {done}/{total}, {gone} gone, {left} left", self.what);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
