//! Runs an experiment: every cell with every seed, side by side, into a run folder.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use mos_baselines::{Registry, Spec};
use mos_data::{Dataset, Sample};
use rayon::prelude::*;

use crate::{
    config::{Experiment, HeldOut, Row},
    folder::{COMMIT, Folder},
    metrics::{GroupedAuc, auc},
    progress::Progress,
    results::{Cell, DataRecord, Results, RunRecord, Speed},
    routing,
    settings::Settings,
    stats::{bootstrap_users, resamples},
    tables,
    train::{Trial, View, columns, test_record},
};

struct Job<'a> {
    name: String,
    of: &'a Trained<'a>,
    seed: u64,
}

/// A row that is trained: its names in the table, and its trial.
struct Trained<'a> {
    encoder: String,
    mixture: String,
    trial: Trial<'a>,
}

impl Trained<'_> {
    fn name(&self, experiment: &Experiment) -> String {
        experiment.training(&self.encoder, &self.mixture, self.trial.experiment.max_length)
    }
}

/// Builds every model of the table once, so that an option that does not fit is found before anything is trained.
///
/// # Errors
/// Options that do not exist, or do not fit the data.
pub fn try_models(experiment: &Experiment, data: &Dataset, registry: &Registry) -> anyhow::Result<()> {
    for Trained { encoder, mixture, trial } in trials(experiment, data, registry)? {
        trial.model(experiment.seeds[0]).with_context(|| format!("{encoder} x {mixture}"))?;
    }
    Ok(())
}

/// Trains whatever is not finished, writes results and tables, and returns the results.
///
/// # Errors
/// Names that do not exist, training that leaves the finite numbers, files that cannot be written, a folder that was filled
/// from other data.
pub fn run(
    experiment: &Experiment,
    data: &Dataset,
    held_out: &HeldOut,
    registry: &Registry,
    folder: &Folder,
) -> anyhow::Result<Results> {
    let trials = trials(experiment, data, registry)?;
    let mut jobs = Vec::new();
    let mut records: BTreeMap<(String, u64), RunRecord> = BTreeMap::new();
    let mut commits = BTreeSet::new();
    for of in &trials {
        let name = of.name(experiment);
        for seed in &experiment.seeds {
            match folder.finished(&name, *seed, data, held_out.samples().len())? {
                Some((record, commit)) => {
                    records.insert((name.clone(), *seed), record);
                    commits.insert(commit);
                }
                None => jobs.push(Job { name: name.clone(), of, seed: *seed }),
            }
        }
    }
    if commits.iter().any(|c| c != COMMIT || c == "unknown" || c.ends_with("-dirty")) {
        eprintln!("warning: some trainings were made by commit {commits:?}, this is {COMMIT}");
    }
    if !jobs.is_empty() {
        commits.insert(COMMIT.to_owned());
    }
    folder.keep_test(data, held_out)?;
    train_all(&jobs, data, held_out, folder, &mut records)?;
    let mut cells = Vec::new();
    let progress = Progress::new("timing", trials.len() as u64);
    let mut routing = Vec::new();
    for of in &trials {
        let (name, trial) = (of.name(experiment), &of.trial);
        let runs = experiment.seeds.iter().filter_map(|s| records.remove(&(name.clone(), *s))).collect();
        let full = trial.view == View::Full;
        cells.push(Cell {
            max_length: trial.experiment.max_length,
            variant: experiment.variants.get(&of.mixture).cloned(),
            settings: if full { experiment.own_settings(&of.encoder, &of.mixture) } else { Settings::new() },
            ..Cell::new(&of.encoder, &of.mixture, runs, Some(speed(trial)?))
        });
        for seed in &experiment.seeds {
            routing.extend(folder.routing(&name, *seed)?);
        }
        progress.tick();
    }
    progress.finish();
    if experiment.controls {
        cells.extend(unlearned(experiment, data, held_out));
    }
    let test = held_out.samples();
    let labels: Vec<f32> = test.iter().map(|s| s.label).collect();
    let bayes = data.bayes_test.as_ref().map(|b| b.iter().map(|p| *p as f32).collect::<Vec<_>>());
    let mut results = Results {
        data: DataRecord {
            name: data.name.clone(),
            sha256: data.sha256.clone(),
            split_sha256: data.split_sha256.clone(),
            label: data.label,
            users: data.interactions.users(),
            items: data.catalog.items - 1,
            train_samples: data.splits.train.len(),
            valid_samples: data.splits.valid.len(),
            test_samples: test.len(),
            bayes_auc: bayes.and_then(|b| auc(&b, &labels)),
        },
        config_sha256: experiment.sha256()?,
        commit: commits.into_iter().collect::<Vec<_>>().join("+"),
        seeds: experiment.seeds.clone(),
        environment: environment(),
        cells,
    };
    results.compare();
    compare_users(&mut results, experiment, held_out, folder)?;
    let json = serde_json::to_string_pretty(&results)? + "\n";
    folder.write("results.json", json.as_bytes())?;
    if !routing.is_empty() {
        folder.write("routing.json", (serde_json::to_string_pretty(&routing)? + "\n").as_bytes())?;
    }
    folder.write("tables.md", tables::markdown(&results, &routing).as_bytes())?;
    Ok(results)
}

/// Every row that is trained.
fn trials<'a>(
    experiment: &'a Experiment,
    data: &'a Dataset,
    registry: &'a Registry,
) -> anyhow::Result<Vec<Trained<'a>>> {
    let mut out = Vec::new();
    for Row { mixture, spec, experiment } in experiment.rows()? {
        let encoder = spec.encoder.clone();
        out.push(Trained {
            encoder,
            mixture,
            trial: Trial { experiment, registry, data, spec, view: View::Full },
        });
    }
    if experiment.controls {
        let twin = experiment.encoders.iter().find(|e| *e == "twin").unwrap_or(&experiment.encoders[0]);
        for (name, encoder, view) in
            [("target_only", "mean", View::Dropped), ("shuffled_history", twin.as_str(), View::Shuffled)]
        {
            let encoder_options = experiment.options.get(encoder).cloned().unwrap_or_default();
            let spec = Spec { encoder_options, ..Spec::new(encoder, "none") };
            let trial = Trial { experiment: Cow::Borrowed(experiment), registry, data, spec, view };
            out.push(Trained { encoder: name.into(), mixture: "none".into(), trial });
        }
    }
    Ok(out)
}

/// Works through the jobs with one thread each, as many at a time as there are threads.
fn train_all(
    jobs: &[Job<'_>],
    data: &Dataset,
    held_out: &HeldOut,
    folder: &Folder,
    records: &mut BTreeMap<(String, u64), RunRecord>,
) -> anyhow::Result<()> {
    let workers = rayon::current_num_threads().min(jobs.len());
    let threads = rayon::current_num_threads().checked_div(workers).unwrap_or(1).max(1);
    let progress = Progress::new("training", jobs.iter().map(|j| j.of.trial.validations()).sum());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, RunRecord)>> = Mutex::new(Vec::new());
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let stop = || failed.lock().is_ok_and(|f| f.is_some());
    let work = || -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop() {
                break;
            }
            progress.at(format!("{} seed {}", job.name, job.seed));
            let tick = || {
                progress.tick();
                !stop()
            };
            let Trained { encoder, mixture, trial } = job.of;
            let trained = pool.install(|| {
                let Some(fitted) = trial.fit(job.seed, &tick)? else { return Ok(None) };
                let names = (encoder.as_str(), mixture.as_str(), job.seed);
                let routing = routing::record(trial, fitted.model(), names, held_out.samples())?;
                folder.keep_routing(&job.name, job.seed, routing.as_ref())?;
                trial.test(fitted, held_out).map(Some)
            });
            let trained = trained.with_context(|| format!("{}, seed {}", job.name, job.seed))?;
            let Some((record, scores)) = trained else { break };
            folder.keep(&job.name, data, &record, &scores)?;
            if let (Ok(mut done), Some(at)) = (done.lock(), jobs.iter().position(|j| std::ptr::eq(j, job))) {
                done.push((at, record));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                if let (Err(error), Ok(mut failed)) = (work(), failed.lock()) {
                    failed.get_or_insert(error);
                }
            });
        }
    });
    progress.finish();
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    for (at, record) in done.into_inner().unwrap_or_default() {
        records.insert((jobs[at].name.clone(), jobs[at].seed), record);
    }
    Ok(())
}

/// Fills the differences to the plain encoder with their intervals over users.
fn compare_users(
    results: &mut Results,
    experiment: &Experiment,
    held_out: &HeldOut,
    folder: &Folder,
) -> anyhow::Result<()> {
    let (labels, users) = columns(held_out.samples());
    // Users of the test part, numbered anew: nobody else can be drawn.
    let mut numbers = BTreeMap::new();
    let users: Vec<u32> = users
        .iter()
        .map(|user| {
            let next = numbers.len() as u32;
            *numbers.entry(*user).or_insert(next)
        })
        .collect();
    let draws = resamples(numbers.len(), 500, 0);
    let runs = |cell: &Cell| -> anyhow::Result<Option<Vec<GroupedAuc>>> {
        let name = experiment.training(&cell.encoder, &cell.mixture, cell.max_length);
        let scores =
            cell.runs.iter().map(|r| folder.scores(&name, r.seed)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(scores.iter().map(|s| GroupedAuc::new(s, &labels, &users)).collect())
    };
    let mut plain: Option<(String, usize, Option<Vec<GroupedAuc>>)> = None;
    for at in 0..results.cells.len() {
        let cell = &results.cells[at];
        let base = results.beside(cell, "none");
        let Some(base) = base.filter(|_| cell.mixture != "none") else { continue };
        if plain.as_ref().is_none_or(|(encoder, n, _)| (encoder, *n) != (&base.encoder, base.max_length)) {
            plain = Some((base.encoder.clone(), base.max_length, runs(base)?));
        }
        if let (Some((_, _, Some(base))), Some(runs)) = (&plain, runs(cell)?) {
            results.cells[at].delta_auc_users = bootstrap_users(&runs, base, &draws);
        }
    }
    Ok(())
}

/// Controls that learn nothing: `popularity`, the target's number of positive training samples, and `repetition`, how
/// often the target stands in the history. Where negatives are sampled, the second says how much of the task is solved by
/// knowing what the user has had before.
fn unlearned(experiment: &Experiment, data: &Dataset, held_out: &HeldOut) -> [Cell; 2] {
    let test = held_out.samples();
    let mut clicks = vec![0.0f32; data.catalog.items];
    data.splits.train.iter().for_each(|s| clicks[s.item as usize] += s.label);
    let popularity: Vec<f32> = test.iter().map(|s| clicks[s.item as usize]).collect();
    let repetition = test.par_iter().map(|s| {
        let from = data.interactions.offsets()[s.user as usize];
        let history = &data.interactions.items()[from..from + s.end as usize];
        history.iter().filter(|i| **i == s.item && s.item != 0).count() as f32
    });
    [("popularity", popularity), ("repetition", repetition.collect())].map(|(name, scores)| {
        let runs = experiment.seeds.iter().map(|seed| test_record(*seed, &scores, held_out, false)).collect();
        let mut cell = Cell { max_length: experiment.max_length, ..Cell::new(name, "none", runs, None) };
        // Nothing was drawn, so there is no interval.
        for interval in [&mut cell.auc, &mut cell.gauc].into_iter().flatten() {
            (interval.lo, interval.hi) = (None, None);
        }
        cell
    })
}

/// Median of three training steps and three scorings of one batch spread over the training part, with fresh weights, after
/// one of each that is not counted.
fn speed(trial: &Trial<'_>) -> anyhow::Result<Speed> {
    let samples = &trial.data.splits.train;
    let size = trial.experiment.batch.min(samples.len());
    let spread: Vec<Sample> = (0..size).map(|i| samples[i * samples.len() / size]).collect();
    let batch = trial.batch(&spread);
    let mut model = trial.model(0)?;
    let median = |work: &mut dyn FnMut() -> mos_core::Result<()>| -> mos_core::Result<f64> {
        work()?;
        let mut times = [0.0; 3];
        for time in &mut times {
            let started = Instant::now();
            work()?;
            *time = started.elapsed().as_secs_f64();
        }
        times.sort_by(f64::total_cmp);
        Ok(times[1] * 1e6 / batch.len() as f64)
    };
    // An epoch of one step: whatever waits for a part of an epoch has begun after the step that is not counted.
    let train = median(&mut || model.train_step(&batch, &trial.experiment.train, 100, 1).map(|_| ()))?;
    model.prepare_scoring();
    Ok(Speed { train, score: median(&mut || model.score(&batch).map(|_| ()))? })
}

/// What the figures may depend on beyond data, configuration and commit: bits are the same for any number of threads, but
/// matrix products use what the processor offers.
fn environment() -> BTreeMap<String, String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let all = [
        ("mos", env!("CARGO_PKG_VERSION").to_owned()),
        ("threads", rayon::current_num_threads().to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpu", cpu.unwrap_or_else(|| "unknown".into())),
    ];
    all.map(|(k, v)| (k.to_owned(), v)).into()
}
