//! Throughput of training and scoring on made-up histories of one length, and where a training step spends its time.

use std::time::Instant;

use anyhow::{Context as _, bail};
use mos_baselines::Registry;
use mos_core::{CtrModel, Mat, Tape, clock, ops};
use mos_data::{
    Catalog, Contexts, Cuts, Dataset, Event, Impression, Interactions, LabelRule, Log, Sessionizer,
    TaskConfig, prepare, rng,
};
use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Experiment, Row},
    tables::Table,
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
    /// Behaviours of each history.
    pub length: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Items of the vocabulary.
    pub items: usize,
    /// Timed repetitions.
    pub repeats: usize,
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
    /// The encoder without its routing.
    pub encoder: f64,
    /// The head.
    pub head: f64,
    /// Backward pass.
    pub backward: f64,
    /// Sums of gradients, norm, updates.
    pub optimizer: f64,
    /// Everything else: losses, splitting into shards.
    pub rest: f64,
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
    fn per_second(&self, time: Spread) -> f64 {
        1000.0 * self.batch as f64 / time.median
    }

    /// Floating-point operations of scoring in a second, in 10^9.
    pub fn gflops(&self) -> f64 {
        2e-9 * self.macs as f64 * self.per_second(self.score_ms)
    }
}

/// Histories of exactly `length` behaviours, items by Zipf's law (exponent 1), sessions of ten, a thousand categories.
fn data(case: &Case) -> anyhow::Result<Dataset> {
    const STEP: i64 = 600;
    let mut draw = rng::stream(0, "speed", &[]);
    let (items, users) = (case.items, case.batch.max(2));
    // A power of a uniform number is log-uniform: rank k with probability ln((k + 1) / k) / ln(items + 1). A multiplier
    // that shares no factor with the number of items scatters popular items over the table.
    let scatter = (7919..).find(|m| gcd(*m, items) == 1).unwrap_or(1);
    let mut item = || {
        let rank = ((items as f64 + 1.0).powf(draw.random::<f64>()) as usize).clamp(1, items) - 1;
        (rank * scatter % items) as u32 + 1
    };
    let mut events = Vec::with_capacity(users * case.length);
    let mut impressions = Vec::new();
    let end = case.length as i64 * STEP;
    for user in 0..users as u32 {
        for n in 0..case.length {
            let (time, session) = (n as i64 * STEP, Some(n as u64 / 10));
            events.push(Event { user, item: item(), time, behaviour: 0, rating: None, session });
        }
        let mut shown = |time| Impression { user, item: item(), time, label: (user % 2) as f32 };
        impressions.push(shown(end));
        if user < 2 {
            impressions.extend([shown(end + STEP), shown(end + 2 * STEP)]);
        }
    }
    let group = |i: usize| if i == 0 { 0 } else { (i % 1000) as u32 + 1 };
    let catalog = Catalog {
        items: items + 1,
        categories: Some((0..=items).map(group).collect()),
        category_count: 1001,
        behaviours: 1,
        ..Catalog::default()
    };
    let log = Log {
        name: "speed".into(),
        interactions: Interactions::from_events(users, events)?,
        impressions: Some(impressions),
        published: None,
        contexts: Contexts::default(),
        catalog,
        user_ids: (0..users).map(|u| u.to_string()).collect(),
        item_ids: (0..=items).map(|i| if i == 0 { String::new() } else { i.to_string() }).collect(),
        behaviour_names: vec![String::new()],
        dropped: [].into(),
        ticks_per_second: 1,
        bayes: None,
    };
    let task = TaskConfig {
        label: LabelRule::Impressions {},
        session: Sessionizer::Given {},
        cuts: Cuts::Time { valid: end + 1, test: end + STEP + 1 },
        min_history: 0,
        max_train: None,
        seed: 0,
    };
    Ok(prepare(log, &task)?)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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
    let data = data(case)?;
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
    let timed = |work: &mut dyn FnMut() -> mos_core::Result<()>| -> mos_core::Result<Spread> {
        work()?;
        let mut times = Vec::new();
        for _ in 0..case.repeats {
            let started = Instant::now();
            work()?;
            times.push(started.elapsed().as_secs_f64());
        }
        Ok(Spread::of(times))
    };
    let train_ms = timed(&mut || step(&mut model).map(drop))?;
    model.prepare_scoring();
    let batch = data.users.batch(samples, own.max_length);
    let macs = per_sample(model.score_counted(&batch)?.1, batch.len()).total();
    let score_ms = timed(&mut || model.score(&batch).map(drop))?;
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
        let [gather, routing, encoder, head, backward, optimizer] =
            [times.gather, times.routing, times.encoder, times.head, times.backward, times.optimizer]
                .map(|t| ms(t.as_secs_f64()));
        let known = ms(waited) + gather + routing + encoder + head + backward + optimizer;
        let rest = (ms(all) - known).max(0.0);
        Ok(Parts { data: ms(waited), gather, routing, encoder, head, backward, optimizer, rest })
    })?;
    Ok(SpeedRecord {
        encoder: case.encoder.clone(),
        mixture: case.mixture.clone(),
        length: case.length,
        batch: case.batch,
        items: case.items,
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

/// What matrix products of this machine reach: one of 1024 x 1024 on each thread, 10^9 floating-point operations in a
/// second, median of five after one.
pub fn ceiling() -> f64 {
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
    let product = || {
        pairs.par_iter().for_each(|(a, b)| {
            std::hint::black_box(ops::matmul_nt(&mut Tape::scoring(), a, b));
        });
    };
    product();
    let times = (0..5).map(|_| {
        let started = Instant::now();
        product();
        started.elapsed().as_secs_f64()
    });
    let median = Spread::of(times.collect()).median / 1000.0;
    2e-9 * threads as f64 * (CEILING as f64).powi(3) / median
}

/// Throughput, and time by part.
///
/// # Errors
/// Without records.
pub fn tables(records: &[SpeedRecord], ceiling: f64) -> anyhow::Result<[Table; 2]> {
    let first = records.first().context("nothing was measured")?;
    let names = |r: &SpeedRecord| vec![r.encoder.clone(), r.mixture.clone(), r.length.to_string()];
    let spread = |s: Spread| format!("{:.1} [{:.1}, {:.1}]", s.median, s.low, s.high);
    let throughput = |r: &SpeedRecord| {
        let mut row = names(r);
        row.extend([
            spread(r.train_ms),
            format!("{:.0}", r.per_second(r.train_ms)),
            spread(r.score_ms),
            format!("{:.0}", r.per_second(r.score_ms)),
            r.macs.to_string(),
            format!("{:.1}", r.gflops()),
            format!("{:.1}", 100.0 * r.gflops() / ceiling),
            r.peak_bytes.map_or("–".into(), |b| format!("{:.0}", b as f64 / f64::from(1 << 20))),
        ]);
        row
    };
    let parts = |r: &SpeedRecord| {
        let p = r.parts;
        let all = [p.data, p.gather, p.routing, p.encoder, p.head, p.backward, p.optimizer, p.rest];
        let sum: f64 = all.iter().sum();
        let mut row = names(r);
        row.extend(all.map(|ms| format!("{ms:.1}")));
        row.push(format!("{sum:.1}"));
        row
    };
    let header = |rest: &[&str]| -> Vec<String> {
        ["encoder", "mixture", "length"].iter().chain(rest).map(ToString::to_string).collect()
    };
    Ok([
        Table {
            title: format!(
                "Speed: batch {}, {} items, {} threads, matrix products reach {ceiling:.0} GFLOP/s",
                first.batch, first.items, first.threads
            ),
            header: header(&[
                "train ms",
                "train/s",
                "score ms",
                "score/s",
                "MACs",
                "GFLOP/s",
                "% of ceiling",
                "peak MiB",
            ]),
            rows: records.iter().map(throughput).collect(),
            wide: Vec::new(),
            notes: vec![
                "ms: one batch, median and quartiles; train: batch made, forward, backward, update; /s: samples in a second. MACs and \
                 GFLOP/s: of scoring, counted as executed; the ceiling is a product of 1024 x 1024 matrices on each thread at once."
                    .into(),
                "Histories of one length, items by Zipf's law. Each case is a process of its own, and its peak that of training and \
                 scoring. The figures are of this machine and of what else runs on it."
                    .into(),
            ],
            wide_notes: Vec::new(),
        },
        Table {
            title: "A training step by part, one thread, milliseconds".into(),
            header: header(&[
                "data", "gather", "routing", "encoder", "head", "backward", "optimizer", "rest", "step",
            ]),
            rows: records.iter().map(parts).collect(),
            wide: Vec::new(),
            notes: vec![
                "Data: making the batch. Backward is that of all parts, and undivided; tables that an encoder has of its own are \
                 gathered in it. Rest: losses, splitting into shards."
                    .into(),
            ],
            wide_notes: Vec::new(),
        },
    ])
}
