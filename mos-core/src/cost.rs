//! Multiply-adds, counted where they are executed.
//!
//! Every operation of [`crate::ops`] reports its products here; [`measure`] collects them for one thread. Each
//! encoder also states its cost as a formula ([`crate::SequenceEncoder::cost`]), and the conformance kit holds the
//! two against each other, so that no operation can be forgotten. Counted: matrix and dot products, weighted sums,
//! hash projections. Not counted (as in fvcore): element-wise operations, softmax, norms, comparisons, additions
//! of a pooling, embedding look-ups.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Stage};

/// Multiply-adds (1 MAC = 2 FLOPs) by part of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Sequence encoders: experts and what combines them.
    pub encoder: u64,
    /// Routing and gating.
    pub router: u64,
    /// Feature interaction and output layers.
    pub head: u64,
    /// Multiply-adds of the encoders' published forms that exact algebra saves here (negative where it costs more, on
    /// short histories). Only formulas know it; what was executed has none.
    #[serde(default)]
    pub saved: i64,
}

impl Cost {
    /// A cost of the encoder part alone.
    pub fn encoder(macs: usize) -> Self {
        Self { encoder: macs as u64, ..Self::default() }
    }

    /// A cost of the encoder part whose published form takes `published` MACs.
    pub fn folded(macs: usize, published: usize) -> Self {
        Self { encoder: macs as u64, saved: published as i64 - macs as i64, ..Self::default() }
    }

    /// A cost of the router part alone.
    pub fn router(macs: usize) -> Self {
        Self { router: macs as u64, ..Self::default() }
    }

    /// A cost of the head alone.
    pub fn head(macs: usize) -> Self {
        Self { head: macs as u64, ..Self::default() }
    }

    /// Without [`Self::saved`], to be compared with what was executed.
    #[must_use]
    pub fn executed(self) -> Self {
        Self { saved: 0, ..self }
    }

    /// MACs of all parts with the encoders in their published form.
    pub fn published(self) -> u64 {
        self.total().saturating_add_signed(self.saved)
    }

    /// MACs of all parts.
    pub fn total(self) -> u64 {
        self.encoder + self.router + self.head
    }
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            encoder: self.encoder + other.encoder,
            router: self.router + other.router,
            head: self.head + other.head,
            saved: self.saved + other.saved,
        }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| a + b)
    }
}

/// The part of the model that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sequence encoders (the default).
    Encoder,
    /// Routing and gating.
    Router,
    /// The head.
    Head,
}

struct Counter {
    cost: Cost,
    part: Part,
}

thread_local! {
    static COUNTER: RefCell<Option<Counter>> = const { RefCell::new(None) };
}

/// Runs `work` and returns what it executed on this thread. Inside another measurement it counts for itself alone.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = COUNTER.replace(Some(Counter { cost: Cost::default(), part: Part::Encoder }));
    let out = work();
    let mine = COUNTER.replace(before);
    (out, mine.map(|c| c.cost).unwrap_or_default())
}

/// Charges everything `work` executes to `part`, and its time where [`clock::measure`] asks.
pub fn charge<T>(part: Part, work: impl FnOnce() -> T) -> T {
    let _running = match part {
        Part::Encoder => None,
        Part::Router => clock::running(Stage::Routing),
        Part::Head => clock::running(Stage::Head),
    };
    let before = COUNTER.with_borrow_mut(|c| c.as_mut().map(|c| std::mem::replace(&mut c.part, part)));
    let out = work();
    if let Some(before) = before {
        COUNTER.with_borrow_mut(|c| c.as_mut().map(|c| c.part = before));
    }
    out
}

/// Reports executed multiply-adds; every operation calls it.
pub fn count(macs: usize) {
    COUNTER.with_borrow_mut(|c| {
        if let Some(c) = c {
            match c.part {
                Part::Encoder => c.cost.encoder += macs as u64,
                Part::Router => c.cost.router += macs as u64,
                Part::Head => c.cost.head += macs as u64,
            }
        }
    });
}
