//! Time by stage of a step, where somebody asks for it; where nobody does, a stage costs one look at a flag.
//!
//! A stage inside another stops the outer one meanwhile. Times of all threads are added up: with one thread their sum is what
//! passes on the wall, less what is in no stage.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A stage of a training step or of scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Numbering of distinct items, embedding rows of targets and behaviours.
    Gather,
    /// Routing and gating, inside the encoder.
    Routing,
    /// The encoder.
    Encoder,
    /// Matrix products of the encoder.
    Products,
    /// The head.
    Head,
    /// From the loss to the gradients.
    Backward,
    /// Matrix products of the backward pass.
    BackwardProducts,
    /// Sums of gradients over shards, their norm, updates of weights and of encoders' own state.
    Optimizer,
}

static ON: AtomicBool = AtomicBool::new(false);
static NANOS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What runs on this thread, and since when.
    static NOW: Cell<Option<(Stage, Instant)>> = const { Cell::new(None) };
}

/// Time of each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Numbering of distinct items, embedding rows of targets and behaviours.
    pub gather: Duration,
    /// Routing and gating.
    pub routing: Duration,
    /// Matrix products of the encoder: projections, layers.
    pub products: Duration,
    /// The encoder's other work: attention, scans, pooling, what is done element by element.
    pub encoder: Duration,
    /// The head.
    pub head: Duration,
    /// From the loss to the gradients, without matrix products.
    pub backward: Duration,
    /// Matrix products of the backward pass.
    pub backward_products: Duration,
    /// Sums of gradients over shards, their norm, updates of weights and of encoders' own state.
    pub optimizer: Duration,
    /// Bytes that operations were given and gave back, forward and backward, whether they came from memory or a cache.
    pub bytes: u64,
}

/// Runs from its start to its end for one stage, and holds what ran before.
#[derive(Debug)]
pub(crate) struct Running(Option<Stage>);

impl Drop for Running {
    fn drop(&mut self) {
        switch(self.0);
    }
}

/// Ends what runs on this thread and begins `stage`; what ran before.
fn switch(stage: Option<Stage>) -> Option<Stage> {
    let now = Instant::now();
    let (before, since) = NOW.replace(stage.map(|s| (s, now)))?;
    NANOS[before as usize].fetch_add((now - since).as_nanos() as u64, Ordering::Relaxed);
    Some(before)
}

/// Starts the clock of a stage, which stops where the value is dropped; `None` while nobody measures.
pub(crate) fn running(stage: Stage) -> Option<Running> {
    ON.load(Ordering::Relaxed).then(|| Running(switch(Some(stage))))
}

/// As [`running`], for a matrix product of whatever runs.
pub(crate) fn product() -> Option<Running> {
    if !ON.load(Ordering::Relaxed) {
        return None;
    }
    match NOW.get()?.0 {
        Stage::Encoder => running(Stage::Products),
        Stage::Backward => running(Stage::BackwardProducts),
        _ => None,
    }
}

/// Adds to [`Times::bytes`] what an operation touches, in values of four bytes.
pub(crate) fn moved(values: impl FnOnce() -> usize) {
    if ON.load(Ordering::Relaxed) {
        BYTES.fetch_add(4 * values() as u64, Ordering::Relaxed);
    }
}

/// Runs `work` and returns the time of each stage in it, and in whatever else this process computes meanwhile. One
/// measurement at a time; a second one waits.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Times) {
    static ONE: Mutex<()> = Mutex::new(());
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON.store(false, Ordering::Relaxed);
        }
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    NANOS.iter().for_each(|n| n.store(0, Ordering::Relaxed));
    BYTES.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
    let off = Off;
    let out = work();
    drop(off);
    let of = |stage: Stage| Duration::from_nanos(NANOS[stage as usize].load(Ordering::Relaxed));
    let times = Times {
        gather: of(Stage::Gather),
        routing: of(Stage::Routing),
        products: of(Stage::Products),
        encoder: of(Stage::Encoder),
        head: of(Stage::Head),
        backward: of(Stage::Backward),
        backward_products: of(Stage::BackwardProducts),
        optimizer: of(Stage::Optimizer),
        bytes: BYTES.load(Ordering::Relaxed),
    };
    (out, times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_timed_while_somebody_measures() {
        assert!(running(Stage::Head).is_none());
        let pause = || std::thread::sleep(Duration::from_millis(2));
        let ((), times) = measure(|| {
            let encoder = running(Stage::Encoder);
            pause();
            let routing = running(Stage::Routing);
            pause();
            assert!(product().is_none(), "routing's products are its own");
            drop(routing);
            let products = product();
            pause();
            drop(products);
            drop(encoder);
            moved(|| 3);
        });
        let least = Duration::from_millis(2);
        assert!(times.encoder >= least && times.routing >= least && times.products >= least, "{times:?}");
        assert!(times.bytes >= 12, "{times:?}");
        assert!(running(Stage::Head).is_none() && product().is_none());
    }
}
