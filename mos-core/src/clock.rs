//! Time by stage of a step, where somebody asks for it; where nobody does, a stage costs one look at a flag.
//!
//! Times of all threads are added up: with one thread their sum is what passes on the wall, less what is in no stage.

use std::{
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
    /// The encoder, routing included.
    Encoder,
    /// The head.
    Head,
    /// From the loss to the gradients.
    Backward,
    /// Sums of gradients over shards, their norm, updates of weights and of encoders' own state.
    Optimizer,
}

static ON: AtomicBool = AtomicBool::new(false);
static NANOS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Time of each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Numbering of distinct items, embedding rows of targets and behaviours.
    pub gather: Duration,
    /// Routing and gating.
    pub routing: Duration,
    /// The encoder without its routing.
    pub encoder: Duration,
    /// The head.
    pub head: Duration,
    /// From the loss to the gradients.
    pub backward: Duration,
    /// Sums of gradients over shards, their norm, updates of weights and of encoders' own state.
    pub optimizer: Duration,
}

/// Runs from its start to its end for one stage.
#[derive(Debug)]
pub(crate) struct Running(Stage, Instant);

impl Drop for Running {
    fn drop(&mut self) {
        let nanos = self.1.elapsed().as_nanos() as u64;
        NANOS[self.0 as usize].fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Starts the clock of a stage, which stops where the value is dropped; `None` while nobody measures.
pub(crate) fn running(stage: Stage) -> Option<Running> {
    ON.load(Ordering::Relaxed).then(|| Running(stage, Instant::now()))
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
    ON.store(true, Ordering::Relaxed);
    let off = Off;
    let out = work();
    drop(off);
    let of = |stage: Stage| Duration::from_nanos(NANOS[stage as usize].load(Ordering::Relaxed));
    let routing = of(Stage::Routing);
    let times = Times {
        gather: of(Stage::Gather),
        routing,
        encoder: of(Stage::Encoder).saturating_sub(routing),
        head: of(Stage::Head),
        backward: of(Stage::Backward),
        optimizer: of(Stage::Optimizer),
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
            drop((routing, encoder));
        });
        let least = Duration::from_millis(2);
        assert!(times.encoder >= least && times.routing >= least, "{times:?}");
        assert!(running(Stage::Head).is_none());
    }
}
