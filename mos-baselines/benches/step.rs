//! Where a training step spends its time: TWIN at batch 256, history 1,000, width 64, with a vocabulary of 100,000 and of
//! 1,000,000 items, beside the work on its embedding table alone (lazy, and dense as PyTorch does it).
//!
//! ```text
//! cargo bench -p mos-baselines --bench step
//! ```

#![allow(missing_docs, clippy::unwrap_used)] // criterion's macros; a bench may panic

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use mos_baselines::{Registry, Spec};
use mos_core::{
    Adam, Builder, CtrModel, ItemIndex, ModelConfig, Params, RowGrads, TableInit, Tables, TrainConfig,
};
use mos_data::{Batch, Catalog, rng};
use rand::RngExt as _;
use rand_distr::{Distribution as _, Zipf};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 256;
const LENGTH: usize = 1000;
const WIDTH: usize = 64;

fn catalog(items: usize) -> Arc<Catalog> {
    Arc::new(Catalog { items, behaviours: 1, ..Catalog::default() })
}

/// Histories of items drawn by Zipf's law (exponent 1), as logs have them, or uniformly: the hardest case for a table,
/// since nearly every behaviour is another row.
fn batch(items: usize, popularity: &str) -> Batch {
    let mut draw = rng::stream(1, "bench", &[]);
    let zipf = Zipf::new(items as f64 - 1.0, 1.0).unwrap();
    let mut item = || match popularity {
        "zipf" => (zipf.sample(&mut draw) as usize * 7919 % (items - 1)) as u32 + 1,
        _ => draw.random_range(1..items as u32),
    };
    Batch {
        users: (0..BATCH as u32).collect(),
        targets: (0..BATCH).map(|_| item()).collect(),
        labels: (0..BATCH).map(|b| (b % 2) as f32).collect(),
        target_times: vec![LENGTH as i64 * 600; BATCH],
        contexts: Vec::new(),
        offsets: (0..=BATCH).map(|b| b * LENGTH).collect(),
        items: (0..BATCH * LENGTH).map(|_| item()).collect(),
        behaviours: vec![0; BATCH * LENGTH],
        sessions: vec![0; BATCH * LENGTH],
        times: (0..BATCH * LENGTH).map(|t| (t % LENGTH) as i64 * 600).collect(),
        truncated: 0,
    }
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("twin");
    group.throughput(Throughput::Elements(BATCH as u64)).sampling_mode(SamplingMode::Flat).sample_size(10);
    let config = ModelConfig { dim: WIDTH, ..ModelConfig::default() };
    let (registry, train) = (Registry::default(), TrainConfig::default());
    for (items, popularity) in [(100_000, "zipf"), (1_000_000, "zipf"), (1_000_000, "uniform")] {
        let batch = batch(items, popularity);
        let case = format!("{popularity}/{items}");
        let options = serde_json::json!({"heads": 4});
        let spec = Spec { encoder_options: options, ..Spec::new("twin", "none") };
        let mut model = CtrModel::new(&config, &catalog(items), 1, |b| registry.build(b, &spec)).unwrap();
        group.bench_function(format!("train/{case}"), |b| {
            b.iter(|| model.train_step(&batch, &train, 1_000_000, 1_000_000).unwrap());
        });
        model.prepare_scoring();
        group.bench_function(format!("score/{case}"), |b| b.iter(|| model.score(black_box(&batch)).unwrap()));
        let of_items = model.gradients(&batch).unwrap().into_iter().find(|(name, _)| name == "table.items");
        let of_items = of_items.unwrap().1;
        drop(model);

        // The table's part of a step, as a step does it: four shards gather, their gradients are summed and applied. The
        // gradients are those of the step: behaviours outside the top k have none.
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let catalog = catalog(items);
        let table = Builder::new(&mut params, &mut tables, &catalog, WIDTH, 1)
            .item_table("items", WIDTH, TableInit::Normal(0.05))
            .unwrap();
        let shards = batch.split(train.shards);
        let rows: Vec<Vec<u32>> = shards.iter().map(|s| ItemIndex::of(s).unwrap().0.items).collect();
        let grad = |row: &u32| &of_items[*row as usize * WIDTH..(*row as usize + 1) * WIDTH];
        let grads: Vec<Vec<f32>> = rows.iter().map(|r| r.iter().flat_map(grad).copied().collect()).collect();
        for dense in [false, true] {
            group.bench_function(format!("table_{}/{case}", if dense { "dense" } else { "lazy" }), |b| {
                b.iter(|| {
                    rows.par_iter().for_each(|rows| drop(black_box(tables.gather(table, rows))));
                    let pairs: Vec<(&[u32], &[f32])> =
                        rows.iter().zip(&grads).map(|(r, g)| (r.as_slice(), g.as_slice())).collect();
                    let grads = RowGrads::new(items, WIDTH, &pairs);
                    let scale = black_box(grads.squares()) as f32;
                    if dense {
                        tables.update_dense(table, &grads, scale, 0.0, &Adam::default(), 1);
                    } else {
                        tables.update(table, &grads, scale, 0.0, &Adam::default(), 1);
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
