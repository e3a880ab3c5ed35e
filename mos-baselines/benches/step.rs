//! Where a training step spends its time: TWIN at batch 256, history 1,000, width 64, with a vocabulary of 100,000 and of
//! 1,000,000 items, beside the work on its embedding table alone (lazy, and dense as PyTorch does it).
//!
//! ```text
//! cargo bench -p mos-baselines --bench step
//! ```

#![allow(missing_docs, clippy::unwrap_used)] // criterion's macros; a bench may panic

mod common;

use std::hint::black_box;

use common::{Popularity, Size};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use mos_baselines::{Registry, Spec};
use mos_core::{Adam, Builder, ItemIndex, Params, RowGrads, ShardRows, TableInit, Tables, TrainConfig};
use rayon::prelude::*;

const BATCH: usize = 256;
const LENGTH: usize = 1000;
const WIDTH: usize = 64;

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("twin");
    group.throughput(Throughput::Elements(BATCH as u64)).sampling_mode(SamplingMode::Flat).sample_size(10);
    let (registry, train) = (Registry::default(), TrainConfig::default());
    for (items, popularity) in
        [(100_000, Popularity::Zipf), (1_000_000, Popularity::Zipf), (1_000_000, Popularity::Uniform)]
    {
        let name = if popularity == Popularity::Zipf { "zipf" } else { "uniform" };
        let case = format!("{name}/{items}");
        let size = Size { samples: BATCH, length: LENGTH, items, width: WIDTH };
        let (catalog, batch) = (common::bare_catalog(items), common::batch(size, popularity));
        let options = serde_json::json!({"heads": 4});
        let spec = Spec { encoder_options: options, ..Spec::new("twin", "none") };
        let mut model = common::model(&registry, &spec, &catalog, WIDTH);
        group.bench_function(format!("train/{case}"), |b| {
            b.iter(|| common::step(&mut model, &batch, &train));
        });
        model.prepare_scoring();
        group.bench_function(format!("score/{case}"), |b| b.iter(|| model.score(black_box(&batch)).unwrap()));
        let of_items = model.gradients(&batch).unwrap().into_iter().find(|(name, _)| name == "table.items");
        let of_items = of_items.unwrap().1;
        let shards = model.shards(&batch, &train);
        drop(model);

        // The table's part of a step, as a step does it: the shards gather, their gradients are summed and applied. The
        // gradients are those of the step: behaviours outside the top k have none.
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let table = Builder::new(&mut params, &mut tables, &catalog, WIDTH, 1)
            .item_table("items", WIDTH, TableInit::Normal(0.05))
            .unwrap();
        let rows: Vec<Vec<u32>> = shards.iter().map(|s| ItemIndex::of(s).unwrap().0.items).collect();
        let grad = |row: &u32| &of_items[*row as usize * WIDTH..(*row as usize + 1) * WIDTH];
        let grads: Vec<ShardRows> = rows
            .iter()
            .map(|r| ShardRows::new(WIDTH, r, r.iter().flat_map(grad).copied().collect()))
            .collect();
        for dense in [false, true] {
            group.bench_function(format!("table_{}/{case}", if dense { "dense" } else { "lazy" }), |b| {
                b.iter(|| {
                    rows.par_iter().for_each(|rows| drop(black_box(tables.gather(table, rows).to_vec())));
                    let grads = RowGrads::new(items, WIDTH, &grads);
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
