//! Progress with time left: a bar on a terminal, a line every tenth elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Counts steps of one job.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    done: AtomicU64,
}

impl Progress {
    /// `total` steps of `what`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}");
        let bar = ProgressBar::new(total).with_prefix(what);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, what, done: AtomicU64::new(0) }
    }

    /// Says what is being worked on.
    pub fn at(&self, message: String) {
        self.bar.set_message(message);
    }

    /// One step further.
    pub fn tick(&self) {
        self.bar.inc(1);
        let total = self.bar.length().unwrap_or(0);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let tenth = |n: u64| 10 * n / total.max(1);
        if self.bar.is_hidden() && tenth(done) > tenth(done - 1) {
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
