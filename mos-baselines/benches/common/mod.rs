//! Models and batches of the benches.

#![allow(dead_code)] // each bench needs a part

use std::sync::Arc;

use mos_baselines::{Registry, Spec, conformance};
use mos_core::{CtrModel, ModelConfig, StepReport, TrainConfig};
use mos_data::{Batch, Catalog, rng};
use rand::RngExt as _;
use rand_distr::{Distribution as _, Zipf};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whether times are wanted: `cargo test` runs a bench once, without this argument.
pub(crate) fn timed() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// How large a model and its batch are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Histories of a batch.
    pub(crate) samples: usize,
    /// Behaviours of each.
    pub(crate) length: usize,
    /// Rows of the item table.
    pub(crate) items: usize,
    /// Width of an item.
    pub(crate) width: usize,
}

/// Milliseconds a step: the daily set, and the check of instructions.
pub(crate) const SMALL: Size = Size { samples: 64, length: 100, items: 10_000, width: 16 };

/// Each encoder by itself, and each mixture around two cheap encoders; mean pooling leaves the mixture's own work.
pub(crate) fn cells(registry: &Registry) -> Vec<Spec> {
    let alone = registry.encoders().map(|(encoder, ..)| Spec::new(encoder, "none"));
    let mixtures = registry.mixtures().map(|(mixture, ..)| mixture).filter(|mixture| *mixture != "none");
    let around = mixtures.flat_map(|mixture| ["mean", "twin"].map(|encoder| Spec::new(encoder, mixture)));
    alone.chain(around).collect()
}

/// The name of a cell in the results.
pub(crate) fn name(spec: &Spec) -> String {
    format!("{}-{}", spec.encoder, spec.mixture)
}

/// Items of which nothing is known.
pub(crate) fn bare_catalog(items: usize) -> Arc<Catalog> {
    Arc::new(Catalog { items, behaviours: 1, ..Catalog::default() })
}

/// A model that can score.
pub(crate) fn model(registry: &Registry, spec: &Spec, catalog: &Arc<Catalog>, width: usize) -> CtrModel {
    let config = ModelConfig { dim: width, ..ModelConfig::default() };
    CtrModel::new(&config, catalog, 1, |b| registry.build(b, spec)).unwrap()
}

/// One step in the middle of a long training.
pub(crate) fn step(model: &mut CtrModel, batch: &Batch, train: &TrainConfig) -> StepReport {
    model.train_step(batch, train, 1_000_000, 1_000_000).unwrap()
}

/// How often items occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Popularity {
    /// Zipf's law with exponent 1, as in logs.
    Zipf,
    /// All alike: the hardest case for a table, since nearly every behaviour is another row.
    Uniform,
}

/// Histories of one length, in sessions of ten behaviours.
pub(crate) fn batch(size: Size, popularity: Popularity) -> Batch {
    let Size { samples, length, items, .. } = size;
    let mut draw = rng::stream(1, "bench", &[]);
    let zipf = Zipf::new(items as f64 - 1.0, 1.0).unwrap();
    let mut item = || match popularity {
        Popularity::Zipf => (zipf.sample(&mut draw) as usize * 7919 % (items - 1)) as u32 + 1,
        Popularity::Uniform => draw.random_range(1..items as u32),
    };
    Batch {
        users: (0..samples as u32).collect(),
        targets: (0..samples).map(|_| item()).collect(),
        labels: (0..samples).map(|b| (b % 2) as f32).collect(),
        target_times: vec![length as i64 * 600; samples],
        contexts: Vec::new(),
        offsets: (0..=samples).map(|b| b * length).collect(),
        items: (0..samples * length).map(|_| item()).collect(),
        behaviours: vec![0; samples * length],
        sessions: (0..samples * length).map(|t| (t % length / 10) as u32).collect(),
        times: (0..samples * length).map(|t| (t % length) as i64 * 600).collect(),
        truncated: 0,
    }
}

/// A cell with its batch: what is measured of every encoder and mixture.
#[derive(Debug)]
pub(crate) struct Subject {
    model: CtrModel,
    batch: Batch,
    train: TrainConfig,
}

impl Subject {
    /// The catalog has everything that an encoder or a mixture may ask for.
    pub(crate) fn new(registry: &Registry, spec: &Spec, size: Size) -> Self {
        let model = model(registry, spec, &conformance::catalog_of(size.items), size.width);
        Self { model, batch: batch(size, Popularity::Zipf), train: TrainConfig::default() }
    }

    /// A training step. Afterwards [`Self::prepare`] comes before [`Self::score`].
    pub(crate) fn train(&mut self) -> StepReport {
        step(&mut self.model, &self.batch, &self.train)
    }

    /// Makes the model able to score.
    pub(crate) fn prepare(&mut self) {
        self.model.prepare_scoring();
    }

    /// Logits of the batch.
    pub(crate) fn score(&self) -> Vec<f32> {
        self.model.score(&self.batch).unwrap()
    }
}
