//! Runs an experiment: every cell with every seed, side by side, resumable, into a run folder.
//!
//! The folder holds `config.toml` (resolved), one file per finished training in `trainings/`, `results.json` and
//! `tables.md`. A training is repeatable to the bit, so an interrupted experiment only repeats what was unfinished.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use mos_baselines::{Registry, Spec};
use mos_data::{Catalog, Dataset};
use rayon::prelude::*;

use crate::{
    config::Experiment,
    metrics::{GroupedAuc, auc},
    results::{Cell, DataRecord, Results, RunRecord, Speed, write_whole},
    stats::{bootstrap_users, resamples},
    tables,
    train::{Trial, View, columns, test_record},
};

/// A run folder that is known to be writable.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    fresh: bool,
}

impl Folder {
    /// Opens a folder for `experiment`: `out` itself, or the first free `runs/<name>`, `runs/<name>-2`, ...; with
    /// `resume` the last one used.
    ///
    /// # Errors
    /// A folder that cannot be written, holds another experiment, or (without `resume`) is taken.
    pub fn open(experiment: &Experiment, out: Option<&Path>, resume: bool) -> anyhow::Result<Self> {
        let numbered = |n: usize| match n {
            1 => PathBuf::from("runs").join(&experiment.name),
            _ => PathBuf::from("runs").join(format!("{}-{n}", experiment.name)),
        };
        let path = out.map_or_else(
            || {
                let free = (1..).map(numbered).position(|p| !p.exists()).unwrap_or(0) + 1;
                numbered(if resume { (free - 1).max(1) } else { free })
            },
            Path::to_owned,
        );
        let config = path.join("config.toml");
        let text = toml::to_string_pretty(experiment)?;
        if config.exists() {
            if !resume {
                bail!(
                    "{}: holds a run already; add --resume to finish it, or name another --out",
                    path.display()
                );
            }
            if std::fs::read_to_string(&config)? != text {
                bail!("{}: belongs to another configuration; resume needs the same one", path.display());
            }
        }
        let fresh = !config.exists();
        std::fs::create_dir_all(path.join("trainings")).with_context(|| path.display().to_string())?;
        write_whole(&config, text.as_bytes())?;
        Ok(Self { path, fresh })
    }

    /// Takes a folder back that [`Self::open`] made, before anything was trained.
    pub fn discard(self) {
        if self.fresh {
            let _ = std::fs::remove_file(self.path.join("config.toml"));
            // What is not empty stays: it is somebody else's.
            let _ = std::fs::remove_dir(self.path.join("trainings"));
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn training(&self, name: &str, seed: u64) -> PathBuf {
        self.path.join("trainings").join(format!("{name}-{seed}.json"))
    }

    /// Keeps a finished training: its test scores (little-endian `f32`, in the order of the test part) and then its record,
    /// which says that both are there.
    fn keep(&self, name: &str, seed: u64, record: &RunRecord, scores: &[f32]) -> anyhow::Result<()> {
        let path = self.training(name, seed);
        let bytes: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        write_whole(&path.with_extension("f32"), &bytes)?;
        write_whole(&path, serde_json::to_string(record)?.as_bytes())
    }

    /// Test scores of a finished training.
    fn scores(&self, name: &str, seed: u64) -> anyhow::Result<Vec<f32>> {
        let path = self.training(name, seed).with_extension("f32");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

struct Job<'a> {
    name: String,
    trial: &'a Trial<'a>,
    seed: u64,
}

/// Builds every model of the table once, so that an option that does not fit is found before anything is trained.
///
/// # Errors
/// Options that do not exist, or do not fit the data.
pub fn try_models(experiment: &Experiment, data: &Dataset, registry: &Registry) -> anyhow::Result<()> {
    let catalog = Arc::new(data.catalog.clone());
    for (encoder, mixture, trial) in trials(experiment, data, registry, &catalog) {
        trial.model(experiment.seeds[0]).with_context(|| format!("{encoder} x {mixture}"))?;
    }
    Ok(())
}

/// Trains whatever is not finished, writes results and tables, and returns the results.
///
/// # Errors
/// Names that do not exist, training that leaves the finite numbers, files that cannot be
/// written.
pub fn run(
    experiment: &Experiment,
    data: &Dataset,
    registry: &Registry,
    folder: &Folder,
) -> anyhow::Result<Results> {
    let catalog = Arc::new(data.catalog.clone());
    let trials = trials(experiment, data, registry, &catalog);
    let mut jobs = Vec::new();
    let mut records: BTreeMap<(String, u64), RunRecord> = BTreeMap::new();
    for (encoder, mixture, trial) in &trials {
        let name = format!("{encoder}-{mixture}");
        for seed in &experiment.seeds {
            match std::fs::read_to_string(folder.training(&name, *seed)) {
                Ok(text) => {
                    records.insert((name.clone(), *seed), serde_json::from_str(&text)?);
                }
                Err(_) => jobs.push(Job { name: name.clone(), trial, seed: *seed }),
            }
        }
    }
    train_all(experiment, &jobs, folder, &mut records)?;
    let mut cells = Vec::new();
    let bar = progress(trials.len() as u64, "timing");
    for (encoder, mixture, trial) in &trials {
        let name = format!("{encoder}-{mixture}");
        let runs = experiment.seeds.iter().filter_map(|s| records.remove(&(name.clone(), *s))).collect();
        cells.push(Cell::new(encoder, mixture, runs, Some(speed(trial)?)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    if experiment.controls {
        cells.extend(unlearned(experiment, data));
    }
    let labels: Vec<f32> = data.splits.test.iter().map(|s| s.label).collect();
    let bayes = data.bayes_test.as_ref().map(|b| b.iter().map(|p| *p as f32).collect::<Vec<_>>());
    let mut results = Results {
        data: DataRecord {
            name: data.name.clone(),
            sha256: data.sha256.clone(),
            split_sha256: data.split_sha256.clone(),
            users: data.interactions.users(),
            items: data.catalog.items - 1,
            train_samples: data.splits.train.len(),
            valid_samples: data.splits.valid.len(),
            test_samples: data.splits.test.len(),
            bayes_auc: bayes.and_then(|b| auc(&b, &labels)),
        },
        config_sha256: experiment.sha256()?,
        commit: commit(),
        seeds: experiment.seeds.clone(),
        environment: environment(),
        cells,
    };
    results.compare();
    compare_users(&mut results, data, folder)?;
    let json = serde_json::to_string_pretty(&results)? + "\n";
    write_whole(&folder.path.join("results.json"), json.as_bytes())?;
    let markdown =
        format!("{}\n{}", tables::accuracy(&results).to_markdown(), tables::cost(&results).to_markdown());
    write_whole(&folder.path.join("tables.md"), markdown.as_bytes())?;
    Ok(results)
}

/// Every row that is trained: its names in the table, and its trial.
fn trials<'a>(
    experiment: &'a Experiment,
    data: &'a Dataset,
    registry: &'a Registry,
    catalog: &'a Arc<Catalog>,
) -> Vec<(String, String, Trial<'a>)> {
    let trial = |spec: Spec, view| Trial { experiment, registry, data, catalog, spec, view };
    let mut out: Vec<(String, String, Trial<'a>)> = experiment
        .cells()
        .into_iter()
        .map(|(mixture, spec)| (spec.encoder.clone(), mixture, trial(spec, View::Full)))
        .collect();
    if experiment.controls {
        let twin = experiment.encoders.iter().find(|e| *e == "twin").unwrap_or(&experiment.encoders[0]);
        for (name, encoder, view) in
            [("target_only", "mean", View::Dropped), ("shuffled_history", twin.as_str(), View::Shuffled)]
        {
            out.push((name.into(), "none".into(), trial(Spec::new(encoder, "none"), view)));
        }
    }
    out
}

/// Works through the jobs with one thread each, as many at a time as there are threads.
fn train_all(
    experiment: &Experiment,
    jobs: &[Job<'_>],
    folder: &Folder,
    records: &mut BTreeMap<(String, u64), RunRecord>,
) -> anyhow::Result<()> {
    let workers = rayon::current_num_threads().min(jobs.len());
    let threads = rayon::current_num_threads().checked_div(workers).unwrap_or(1).max(1);
    let bar = progress((jobs.len() * experiment.epochs * experiment.validations) as u64, "training");
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
            bar.set_message(format!("{} seed {}", job.name, job.seed));
            let tick = || {
                bar.inc(1);
                !stop()
            };
            let record = pool
                .install(|| job.trial.run(job.seed, &tick))
                .with_context(|| format!("{}, seed {}", job.name, job.seed))?;
            let Some((record, scores)) = record else { break };
            folder.keep(&job.name, job.seed, &record, &scores)?;
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
    bar.finish_and_clear();
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    for (at, record) in done.into_inner().unwrap_or_default() {
        records.insert((jobs[at].name.clone(), jobs[at].seed), record);
    }
    Ok(())
}

/// Fills the differences to the plain encoder with their intervals over users.
fn compare_users(results: &mut Results, data: &Dataset, folder: &Folder) -> anyhow::Result<()> {
    let (labels, users) = columns(&data.splits.test);
    let draws = resamples(data.interactions.users(), 500, 0);
    let runs = |cell: &Cell| -> anyhow::Result<Option<Vec<GroupedAuc>>> {
        let name = format!("{}-{}", cell.encoder, cell.mixture);
        let scores =
            cell.runs.iter().map(|r| folder.scores(&name, r.seed)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(scores.iter().map(|s| GroupedAuc::new(s, &labels, &users)).collect())
    };
    let mut plain: Option<(String, Option<Vec<GroupedAuc>>)> = None;
    for at in 0..results.cells.len() {
        let cell = &results.cells[at];
        let base = results.cells.iter().find(|c| c.encoder == cell.encoder && c.mixture == "none");
        let Some(base) = base.filter(|_| cell.mixture != "none") else { continue };
        if plain.as_ref().is_none_or(|(encoder, _)| *encoder != base.encoder) {
            plain = Some((base.encoder.clone(), runs(base)?));
        }
        if let (Some((_, Some(base))), Some(runs)) = (&plain, runs(cell)?) {
            results.cells[at].delta_auc_users = bootstrap_users(&runs, base, &draws);
        }
    }
    Ok(())
}

/// Controls that learn nothing: `popularity`, the target's number of positive training samples, and `repetition`, how
/// often the target stands in the history. Where negatives are sampled, the second says how much of the task is solved by
/// knowing what the user has had before.
fn unlearned(experiment: &Experiment, data: &Dataset) -> [Cell; 2] {
    let test = &data.splits.test;
    let mut clicks = vec![0.0f32; data.catalog.items];
    data.splits.train.iter().for_each(|s| clicks[s.item as usize] += s.label);
    let popularity: Vec<f32> = test.iter().map(|s| clicks[s.item as usize]).collect();
    let repetition = test.par_iter().map(|s| {
        let from = data.interactions.offsets()[s.user as usize];
        let history = &data.interactions.items()[from..from + s.end as usize];
        history.iter().filter(|i| **i == s.item && s.item != 0).count() as f32
    });
    [("popularity", popularity), ("repetition", repetition.collect())].map(|(name, scores)| {
        let runs = experiment.seeds.iter().map(|seed| test_record(*seed, &scores, test, false)).collect();
        Cell::new(name, "none", runs, None)
    })
}

/// Median of three training steps and three scorings of one batch, after one of each that is not counted.
fn speed(trial: &Trial<'_>) -> anyhow::Result<Speed> {
    let samples = &trial.data.splits.train;
    let batch = trial.batch(&samples[..trial.experiment.batch.min(samples.len())]);
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
    let train = median(&mut || model.train_step(&batch, &trial.experiment.train, 100, 100).map(|_| ()))?;
    model.prepare_scoring();
    Ok(Speed { train, score: median(&mut || model.score(&batch).map(|_| ()))? })
}

fn progress(total: u64, what: &'static str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {elapsed} gone, {eta} left  {msg}");
    let bar = ProgressBar::new(total).with_prefix(what);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The commit of the source that this program was built from.
fn commit() -> String {
    let source = env!("CARGO_MANIFEST_DIR");
    let git = std::process::Command::new("git")
        .args(["-C", source, "describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let text =
        git.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".into())
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
