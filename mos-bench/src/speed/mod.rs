//! Throughput of training and scoring on made-up histories, and where a training step spends its time.

mod log;
mod peer;
mod tables;

use std::time::Instant;

use anyhow::bail;
use mos_baselines::Registry;
use mos_core::{CtrModel, Mat, Tape, clock, ops};
use mos_data::rng;
use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::{
    peer::{Peer, PeerCase},
    tables::tables,
};
use crate::{
    config::{Experiment, Row},
    train::per_sample,
};

/// Rows and columns of the matrices whose product is the ceiling.
const CEILING: usize = 1024;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Case {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Behaviours of each history, or of the longest.
    pub length: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Items of the vocabulary.
    pub items: usize,
    /// Which items there are, and how long histories are.
    pub kind: Kind,
    /// Timed repetitions.
    pub repeats: usize,
}

/// What histories are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Kind {
    /// All items equally often, instead of by Zipf's law: nearly every behaviour is another row of a large table.
    #[arg(long)]
    pub uniform: bool,
    /// Lengths up to the given one whose logarithm is uniform, instead of one length.
    #[arg(long)]
    pub varied: bool,
}

/// Median and quartiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Lower quartile.
    pub low: f64,
    /// Median.
    pub median: f64,
    /// Upper quartile.
    pub high: f64,
}

impl Spread {
    /// Of times in seconds.
    ///
    /// # Panics
    /// Without times.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |q: f64| 1000.0 * seconds[((seconds.len() - 1) as f64 * q).round() as usize];
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// Milliseconds of one training step on one thread, by part; means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Making the batch: the step waits for its data.
    pub data: f64,
    /// Distinct items and embedding rows of targets and behaviours.
    pub gather: f64,
    /// Routing and gating.
    pub routing: f64,
    /// Matrix products of the encoder: projections, layers.
    pub products: f64,
    /// The rest of the encoder: attention, scan, pooling, norms.
    pub encoder: f64,
    /// The head.
    pub head: f64,
    /// Matrix products of the backward pass.
    pub backward_products: f64,
    /// The rest of the backward pass.
    pub backward: f64,
    /// Sums of gradients, norm, updates.
    pub optimizer: f64,
    /// Everything else: losses, splitting into shards.
    pub rest: f64,
    /// Bytes that operations read and write in a step, from memory or a cache.
    pub bytes: u64,
}

impl Parts {
    /// Names and milliseconds, in the order in which they happen.
    pub fn columns(&self) -> [(&'static str, f64); 10] {
        [
            ("data", self.data),
            ("gather", self.gather),
            ("routing", self.routing),
            ("products", self.products),
            ("encoder", self.encoder),
            ("head", self.head),
            ("backward products", self.backward_products),
            ("backward", self.backward),
            ("optimizer", self.optimizer),
            ("rest", self.rest),
        ]
    }
}

/// The measurement of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedRecord {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Behaviours of each history.
    pub length: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Items of the vocabulary.
    pub items: usize,
    /// Width of an item.
    pub dim: usize,
    /// What histories are like.
    #[serde(default)]
    pub kind: Kind,
    /// Behaviours of a mean history.
    pub mean_length: f64,
    /// Threads.
    pub threads: usize,
    /// A training step, batch included.
    pub train_ms: Spread,
    /// Scoring of a batch that is there.
    pub score_ms: Spread,
    /// MACs of scoring one sample.
    pub macs: u64,
    /// Of a training step on one thread.
    pub parts: Parts,
    /// Most memory that was resident, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
}

impl SpeedRecord {
    /// Samples in a second.
    pub fn per_second(&self, time: Spread) -> f64 {
        1000.0 * self.batch as f64 / time.median
    }

    /// Floating-point operations of scoring in a second, in 10^9.
    pub fn gflops(&self) -> f64 {
        2e-9 * self.macs as f64 * self.per_second(self.score_ms)
    }

    /// Those of training, taken as three times those of scoring.
    pub fn train_gflops(&self) -> f64 {
        6e-9 * self.macs as f64 * self.per_second(self.train_ms)
    }
}

/// Measures one case, in this process.
///
/// # Errors
/// Names, options and sizes that cannot be built.
pub fn measure(experiment: &Experiment, case: &Case, registry: &Registry) -> anyhow::Result<SpeedRecord> {
    if case.length == 0 || case.batch == 0 || case.repeats == 0 || case.items < 2 {
        bail!("lengths, batch and repeats must be at least 1, items at least 2");
    }
    let one = experiment.only(&case.encoder, &case.mixture, case.length);
    one.check(registry)?;
    let Some(Row { spec, experiment: mut own, .. }) = one.rows()?.pop() else { bail!("no row to measure") };
    own.to_mut().batch = case.batch;
    let data = log::data(case)?;
    let mut model = CtrModel::new(&own.model, &data.catalog, 0, |builder| registry.build(builder, &spec))?;
    let samples = &data.users.splits.train[..case.batch.min(data.users.splits.train.len())];
    // Epochs of one step: whatever waits for a part of an epoch has begun after the first, which is not timed.
    let step = |model: &mut CtrModel| -> mos_core::Result<f64> {
        let started = Instant::now();
        let batch = data.users.batch(samples, own.max_length);
        let data = started.elapsed().as_secs_f64();
        model.train_step(&batch, &own.train, 1000, 1)?;
        Ok(data)
    };
    let train_ms = timed(case.repeats, || step(&mut model).map(drop))?;
    model.prepare_scoring();
    let batch = data.users.batch(samples, own.max_length);
    let macs = per_sample(model.score_counted(&batch)?.1, batch.len()).total();
    let score_ms = timed(case.repeats, || model.score(&batch).map(drop))?;
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let parts = alone.install(|| -> mos_core::Result<Parts> {
        step(&mut model)?;
        let (mut waited, started) = (0.0, Instant::now());
        let (done, times) = clock::measure(|| {
            (0..case.repeats).try_for_each(|_| step(&mut model).map(|data| waited += data))
        });
        done?;
        let all = started.elapsed().as_secs_f64();
        let ms = |seconds: f64| 1000.0 * seconds / case.repeats as f64;
        let of = |time: std::time::Duration| ms(time.as_secs_f64());
        let mut parts = Parts {
            data: ms(waited),
            gather: of(times.gather),
            routing: of(times.routing),
            products: of(times.products),
            encoder: of(times.encoder),
            head: of(times.head),
            backward_products: of(times.backward_products),
            backward: of(times.backward),
            optimizer: of(times.optimizer),
            rest: 0.0,
            bytes: times.bytes / case.repeats as u64,
        };
        parts.rest = (ms(all) - parts.columns().map(|(_, ms)| ms).iter().sum::<f64>()).max(0.0);
        Ok(parts)
    })?;
    Ok(SpeedRecord {
        encoder: case.encoder.clone(),
        mixture: case.mixture.clone(),
        length: case.length,
        batch: case.batch,
        items: case.items,
        dim: own.model.dim,
        kind: case.kind,
        mean_length: batch.items.len() as f64 / batch.len() as f64,
        threads: rayon::current_num_threads(),
        train_ms,
        score_ms,
        macs,
        parts,
        peak_bytes: peak_bytes(),
    })
}

/// Most memory of this process that was resident, where Linux tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| 1024 * kib)
}

/// What this machine reaches, medians of five after one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Matrix products of 1024 x 1024, one on each thread, in 10^9 floating-point operations in a second.
    #[serde(rename = "ceiling_gflops")]
    pub gflops: f64,
    /// Memory, in 10^9 bytes in a second that y += x reads and writes of arrays of 128 MB: with one thread, and with all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<[f64; 2]>,
}

impl Ceiling {
    /// Measures it.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn measure() -> anyhow::Result<Self> {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        Ok(Self { gflops: products()?, memory: Some([alone.install(memory)?, memory()?]) })
    }
}

/// Times of `work`, after one that is not counted.
fn timed(repeats: usize, mut work: impl FnMut() -> mos_core::Result<()>) -> mos_core::Result<Spread> {
    work()?;
    let mut times = Vec::new();
    for _ in 0..repeats {
        let started = Instant::now();
        work()?;
        times.push(started.elapsed().as_secs_f64());
    }
    Ok(Spread::of(times))
}

fn memory() -> mos_core::Result<f64> {
    const VALUES: usize = 1 << 25;
    const PIECE: usize = 1 << 16;
    let (mut y, x) = (vec![1.0f32; VALUES], vec![1.0f32; VALUES]);
    let times = timed(5, || {
        let pieces = y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE));
        pieces.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
        Ok(())
    })?;
    std::hint::black_box(y);
    Ok(3e-6 * (size_of::<f32>() * VALUES) as f64 / times.median)
}

fn products() -> mos_core::Result<f64> {
    let threads = rayon::current_num_threads();
    let pairs: Vec<(Mat, Mat)> = (0..threads)
        .map(|t| {
            let mut draw = rng::stream(t as u64, "ceiling", &[]);
            let mut mat = || {
                let values = (0..CEILING * CEILING).map(|_| draw.random::<f32>() - 0.5).collect();
                Mat::new(CEILING, CEILING, values)
            };
            (mat(), mat())
        })
        .collect();
    let times = timed(5, || {
        pairs.par_iter().for_each(|(a, b)| {
            std::hint::black_box(ops::matmul_nt(&mut Tape::scoring(), a, b));
        });
        Ok(())
    })?;
    Ok(2e-6 * threads as f64 * (CEILING as f64).powi(3) / times.median)
}
