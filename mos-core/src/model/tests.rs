//! A batch that is larger than a cache: how it is cut, and that nothing but speed depends on it.

use rand::RngExt as _;

use super::*;
use crate::testing::Mean;

const ITEMS: usize = 300;
const WIDTH: usize = 64;
const SAMPLES: usize = 24;
const LENGTH: usize = 400;

/// Mean pooling that says of itself that it compares samples.
#[derive(Debug)]
struct Comparing(Mean);

impl SequenceEncoder for Comparing {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<crate::Interest> {
        self.0.forward(pass, input)
    }

    fn cost(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Cost> {
        self.0.cost(pass, input)
    }

    fn compares_samples(&self) -> bool {
        true
    }
}

fn model(comparing: bool) -> CtrModel {
    let catalog = Arc::new(Catalog { items: ITEMS, behaviours: 1, ..Catalog::default() });
    let config = ModelConfig {
        dim: WIDTH,
        head: HeadConfig::Mlp { hidden: vec![6] },
        dropout: 0.5,
        ..ModelConfig::default()
    };
    CtrModel::new(&config, &catalog, 5, |_: &mut Builder<'_>| -> Result<Box<dyn SequenceEncoder>> {
        if comparing { Ok(Box::new(Comparing(Mean))) } else { Ok(Box::new(Mean)) }
    })
    .unwrap()
}

fn batch() -> Batch {
    let mut draw = rng::stream(3, "model/batch", &[]);
    let n = SAMPLES * LENGTH;
    let mut items = |n: usize| (0..n).map(|_| draw.random_range(1..ITEMS as u32)).collect::<Vec<u32>>();
    Batch {
        users: vec![0; SAMPLES],
        targets: items(SAMPLES),
        labels: (0..SAMPLES).map(|s| (s % 2) as f32).collect(),
        target_times: vec![0; SAMPLES],
        offsets: (0..=SAMPLES).map(|s| s * LENGTH).collect(),
        items: items(n),
        behaviours: vec![0; n],
        sessions: vec![0; n],
        times: vec![0; n],
        ..Batch::default()
    }
}

fn trained(shards: usize, threads: usize) -> Weights {
    let (mut model, batch) = (model(false), batch());
    let config = TrainConfig { shards, ..TrainConfig::default() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        for _ in 0..3 {
            model.train_step(&batch, &config, 3, 3).unwrap();
        }
    });
    model.weights()
}

#[test]
fn a_large_batch_is_cut_on_and_learns_the_same() {
    let config = TrainConfig { shards: 2, ..TrainConfig::default() };
    let cut = |comparing: bool| -> Vec<usize> {
        model(comparing).shards(&batch(), &config).iter().map(Batch::len).collect()
    };
    // Twelve histories of 400 rows of 64 values are more than 2^18, six are not.
    assert_eq!(cut(false), [6; 4]);
    assert_eq!(cut(true), [12; 2]);
    let wanted = trained(4, 1);
    assert!(wanted != model(false).weights());
    assert_eq!(trained(2, 1), wanted);
    assert_eq!(trained(2, 3), wanted);
}

#[test]
fn a_score_does_not_depend_on_the_cut() {
    let (model, batch) = (model(false), batch());
    let alone: Vec<f32> = batch.split(SAMPLES).iter().flat_map(|one| model.score(one).unwrap()).collect();
    assert_eq!(model.score(&batch).unwrap(), alone);
}

/// A table that rows of a step still shared would be copied.
#[test]
fn an_update_finds_its_table_alone() {
    let mut model = model(false);
    let place = |model: &CtrModel| model.tables().values(Tables::ITEMS).as_ptr();
    let before = place(&model);
    model.train_step(&batch(), &TrainConfig::default(), 3, 3).unwrap();
    assert_eq!(place(&model), before);
}
