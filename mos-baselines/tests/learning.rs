//! Every encoder learns what only the history tells, and nothing where there is nothing to learn: one task, one number of
//! steps and one margin for all.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::Arc;

use mos_baselines::{Registry, Spec, conformance};
use mos_core::{Adam, CtrModel, ModelConfig, TrainConfig};
use mos_data::{Batch, Catalog, Content, rng};
use rand::{RngExt as _, seq::SliceRandom as _};
use rayon::prelude::*;

const GROUPS: usize = 4;
const WIDTH: usize = 8;
const STEPS: u64 = 200;
const BATCH: usize = 64;
/// By how much the AUC must exceed that of the target alone. Wrong labels leave 0.95 against 0.5 at best, and whoever sees
/// the newest behaviour alone does not get as far.
const MARGIN: f64 = 0.38;
/// How far from 0.5 an AUC without anything to learn may lie. Chance alone ties labels to the one strong feature, and a
/// model trained on shuffled labels learns that: its AUC spreads by about 0.03 over draws.
const CHANCE: f64 = 0.1;

/// Item i belongs to group i mod 4, which is its category and shows, with noise, in its content vector: what is asked of an
/// encoder is to match histories with targets, not to find out in few steps what items are.
fn catalog() -> Arc<Catalog> {
    let mut catalog = (*conformance::catalog()).clone();
    let mut draw = rng::stream(1, "learning/content", &[]);
    let mut values = vec![0.0; catalog.items * WIDTH];
    for (i, row) in values.chunks_mut(WIDTH).enumerate().skip(1) {
        row.iter_mut().for_each(|x| *x = 0.2 * (draw.random::<f32>() - 0.5));
        row[i % GROUPS] += 0.5;
    }
    catalog.content = Some(Content { dim: WIDTH, values });
    Arc::new(catalog)
}

/// Histories of 4 to 12 behaviours out of two groups each. The target comes from one of them or from one of the other two,
/// equally often, and is clicked if it comes from one of them; one label in twenty is wrong. Target and length alone say
/// nothing.
fn samples(n: usize, seed: u64) -> Batch {
    let mut draw = rng::stream(seed, "learning/samples", &[]);
    let mut out = Batch { offsets: vec![0], ..Batch::default() };
    for user in 0..n {
        let mut groups: Vec<usize> = (0..GROUPS).collect();
        groups.shuffle(&mut draw);
        let length = draw.random_range(4..=12);
        let mut item = |group: usize| {
            let first = if group == 0 { GROUPS } else { group }; // item 0 is the unknown one
            (first + GROUPS * draw.random_range(0..7usize)) as u32
        };
        // Both groups occur, whatever the draw.
        let mut of: Vec<usize> = (0..length).map(|t| groups[t % 2]).collect();
        let target = item(groups[user % GROUPS]);
        of.shuffle(&mut rng::stream(seed, "learning/order", &[user as u64]));
        out.items.extend(of.iter().map(|group| item(*group)));
        out.users.push(user as u32);
        out.targets.push(target);
        out.labels.push(f32::from((user % GROUPS < 2) != (draw.random::<f32>() < 0.05)));
        out.target_times.push(1_000_000);
        out.behaviours.extend((0..length).map(|_| 0));
        out.sessions.extend((0..length).map(|t| t as u32 / 3));
        out.times.extend((0..length).map(|t| 1_000_000 - 600 * (length - t) as i64));
        out.offsets.push(out.items.len());
    }
    out
}

fn auc(scores: &[f32], labels: &[f32]) -> f64 {
    let of = |wanted: f32| scores.iter().zip(labels).filter(move |(_, l)| **l == wanted).map(|(s, _)| *s);
    let (mut above, mut pairs) = (0.0, 0.0);
    for yes in of(1.0) {
        for no in of(0.0) {
            above += f64::from(u8::from(yes > no)) + 0.5 * f64::from(u8::from(yes == no));
            pairs += 1.0;
        }
    }
    above / pairs
}

/// AUC on `test` after one pass over `train`, with the encoder's default options.
fn learned(encoder: &str, train: &Batch, test: &Batch) -> f64 {
    let config =
        ModelConfig { dim: WIDTH, head: conformance::head(), dropout: 0.0, ..ModelConfig::default() };
    let registry = Registry::default();
    let spec = Spec::new(encoder, "none");
    let mut model = CtrModel::new(&config, &catalog(), 5, |builder| registry.build(builder, &spec)).unwrap();
    let config =
        TrainConfig { adam: Adam { lr: 1e-2, ..Adam::default() }, shards: 1, ..TrainConfig::default() };
    for batch in train.split(train.len() / BATCH) {
        model.train_step(&batch, &config, STEPS, STEPS).unwrap();
    }
    model.prepare_scoring();
    auc(&model.score(test).unwrap(), &test.labels)
}

#[test]
fn every_encoder_learns_from_the_history_and_nothing_from_shuffled_labels() {
    let (train, test) = (samples(STEPS as usize * BATCH, 1), samples(2000, 2));
    let without = |batch: &Batch| {
        let mut batch = batch.clone();
        batch.drop_histories();
        batch
    };
    let (train_without, test_without) = (without(&train), without(&test));
    let mut train_shuffled = train.clone();
    train_shuffled.labels.shuffle(&mut rng::stream(3, "learning/labels", &[]));
    let registry = Registry::default();
    let names: Vec<&str> = registry.encoders().map(|(name, ..)| name).collect();
    let check = |encoder: &&str| {
        let full = learned(encoder, &train, &test);
        let target_only = learned(encoder, &train_without, &test_without);
        let shuffled = learned(encoder, &train_shuffled, &test);
        let fine = full > target_only + MARGIN
            && (target_only - 0.5).abs() < CHANCE
            && (shuffled - 0.5).abs() < CHANCE;
        (!fine).then(|| {
            format!("{encoder}: AUC {full:.3}, target alone {target_only:.3}, shuffled labels {shuffled:.3}")
        })
    };
    let failures: Vec<String> = names.par_iter().filter_map(check).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
