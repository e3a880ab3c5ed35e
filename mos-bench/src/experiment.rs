//! The grid of an experiment: every row with every seed, trained side by side into a run folder, and what it amounts to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, bail};
use mos_baselines::Registry;
use mos_data::{Dataset, Epoch, Feed};
use serde::Serialize;

use crate::{
    config::{Experiment, HeldOut, Row},
    environment::environment,
    folder::{COMMIT, Finished, Folder},
    metrics::{GroupedAuc, auc},
    progress::Progress,
    results::{Cell, DataRecord, Results, RunRecord, Speed},
    routing::{self, RoutingRecord},
    stats::{bootstrap_users, resamples},
    tables,
    train::{Trial, View, columns, test_record},
    training::Validation,
};

/// The rows of an experiment on its data, and all that has to be trained for them.
#[derive(Debug)]
pub struct Grid<'a> {
    experiment: &'a Experiment,
    data: &'a Dataset<Feed>,
    held_out: &'a HeldOut,
    rows: Vec<Trained<'a>>,
}

/// A row that is trained: its names in the table, and its trial.
#[derive(Debug)]
struct Trained<'a> {
    encoder: String,
    mixture: String,
    trial: Trial<'a>,
}

/// One training: a row with a seed.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    of: &'a Experiment,
    row: &'a Trained<'a>,
    seed: u64,
}

impl Job<'_> {
    /// Encoder, or the name of a control row.
    pub fn encoder(&self) -> &str {
        &self.row.encoder
    }

    /// Mixture.
    pub fn mixture(&self) -> &str {
        &self.row.mixture
    }

    /// Seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Name of its files, without the seed.
    pub fn name(&self) -> String {
        self.of.training(&self.row.encoder, &self.row.mixture, self.length())
    }

    /// Behaviours that a history keeps.
    fn length(&self) -> usize {
        self.row.trial.experiment.max_length
    }

    /// How it is trained.
    pub fn trial(&self) -> &Trial<'_> {
        &self.row.trial
    }

    /// The validations as lines of `metrics.jsonl`.
    ///
    /// # Errors
    /// None in practice: they are plain data.
    pub fn lines(&self, validations: &[Validation]) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Line<'l> {
            encoder: &'l str,
            mixture: &'l str,
            max_length: usize,
            seed: u64,
            #[serde(flatten)]
            validation: &'l Validation,
        }
        let (encoder, mixture, max_length, seed) = (self.encoder(), self.mixture(), self.length(), self.seed);
        let line = |validation| {
            Ok(serde_json::to_string(&Line { encoder, mixture, max_length, seed, validation })? + "\n")
        };
        validations.iter().map(line).collect()
    }
}

impl fmt::Display for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.encoder(), self.mixture())?;
        if self.length() != self.of.max_length {
            write!(f, "-L{}", self.length())?;
        }
        write!(f, "/{}", self.seed)
    }
}

/// What trainings found, by the name of their files and their seed.
pub type Records = BTreeMap<(String, u64), Finished>;

impl<'a> Grid<'a> {
    /// The grid of `experiment`.
    ///
    /// # Errors
    /// Settings of a row that do not fit the experiment.
    pub fn new(
        experiment: &'a Experiment,
        data: &'a Dataset<Feed>,
        held_out: &'a HeldOut,
        registry: &'a Registry,
    ) -> anyhow::Result<Self> {
        Ok(Self { experiment, data, held_out, rows: trials(experiment, data, registry)? })
    }

    /// Every training, in the order of the table.
    pub fn jobs(&self) -> impl Iterator<Item = Job<'_>> {
        self.rows.iter().flat_map(|row| self.jobs_of(row))
    }

    fn jobs_of<'g>(&'g self, row: &'g Trained<'a>) -> impl Iterator<Item = Job<'g>> {
        let of = self.experiment;
        of.seeds.iter().map(move |seed| Job { of, row, seed: *seed })
    }

    /// Builds every model once, so that an option that does not fit is found before anything is trained.
    ///
    /// # Errors
    /// Options that do not exist, or do not fit the data.
    pub fn try_models(&self) -> anyhow::Result<()> {
        for row in &self.rows {
            let tried = row.trial.model(self.experiment.seeds[0]);
            tried.with_context(|| format!("{} x {}", row.encoder, row.mixture))?;
        }
        Ok(())
    }

    /// Trains whatever of the folder's part is not finished.
    ///
    /// # Errors
    /// Files that cannot be written, a folder that was filled from other data or by another configuration.
    pub fn train(&self, folder: &Folder, quiet: bool) -> anyhow::Result<()> {
        let mine = |(number, _): &(usize, Job<'_>)| folder.shard().is_none_or(|s| s.has(*number));
        let (mut open, mut others) = (Vec::new(), BTreeSet::new());
        for (_, job) in self.jobs().enumerate().filter(mine) {
            match self.finished_in(folder, job)? {
                Some(finished) => others.extend(finished.commits),
                None => open.push(job),
            }
        }
        warn_of_others(folder, &others);
        folder.keep_test(self.data, self.held_out)?;
        folder.log().note(&format!("{} trainings to do", open.len()));
        self.train_all(&open, folder, quiet)
    }

    /// Works through the jobs with one thread each, as many at a time as there are threads.
    fn train_all(&self, jobs: &[Job<'_>], folder: &Folder, quiet: bool) -> anyhow::Result<()> {
        let total = jobs.iter().map(|j| j.trial().validations()).sum();
        let progress = Progress::new("training", total, quiet);
        side_by_side(jobs, |job, stop| {
            progress.at(job.to_string());
            self.train_one(*job, folder, &progress, stop).with_context(|| job.to_string())
        })?;
        progress.finish();
        Ok(())
    }

    /// Trains and tests one; whether it was finished, and not stopped.
    fn train_one(
        &self,
        job: Job<'_>,
        folder: &Folder,
        progress: &Progress,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<bool> {
        let name = job.name();
        let mut training = folder.begin(&name, &job.row.trial, job.seed)?;
        let mut done = training.validations().len() as u64;
        if done > 0 {
            folder.log().note(&format!("{job} goes on after {done} validations"));
            warn_of_others(folder, &training.commits());
        }
        progress.add(done);
        folder.keep_validations(&name, job.seed, &job.lines(training.validations())?)?;
        while training.advance()?.is_some() {
            done += 1;
            folder.keep_validations(&name, job.seed, &job.lines(training.validations())?)?;
            if done.is_multiple_of(self.experiment.checkpoint_every) {
                folder.keep_checkpoint(&name, &training)?;
            }
            progress.add(1);
            if stop() {
                return Ok(false);
            }
        }
        let fitted = training.finish();
        progress.add(job.trial().validations().saturating_sub(done));
        if self.experiment.keep_models {
            folder.keep_model(&name, job.trial(), &fitted)?;
        }
        let names = (job.encoder(), job.mixture(), job.seed);
        let routing = routing::record(job.trial(), fitted.model(), names, self.held_out.samples())?;
        folder.keep_routing(&name, job.seed, routing.as_ref())?;
        let trouble = fitted.trouble().map(ToString::to_string);
        let commits = fitted.commits().clone();
        let (record, scores) = job.trial().test(fitted, self.held_out)?;
        folder.keep(&name, self.data, commits, &record, &scores)?;
        let figure = |value: Option<f64>| value.map_or("undefined".to_owned(), |v| format!("{v:.5}"));
        if let Some(stopping) = record.stopping {
            let said = format!(
                "{job}: {stopping}: {} at step {}; test AUC {}; {:.1} s, {}",
                figure(record.valid),
                record.best_step,
                figure(record.auc),
                record.seconds,
                RunRecord::waiting([&record])
            );
            folder.log().note(&said);
            if let Some(trouble) = trouble {
                folder.log().note(&format!("{job}: {trouble}"));
                progress.say(&format!("warning: {job}: {trouble}; the best weights until then are tested"));
            }
        }
        Ok(true)
    }

    /// A training as a folder holds it; `None` if it is not finished.
    ///
    /// # Errors
    /// A training that is damaged, or was made from other data or by another configuration.
    pub fn finished_in(&self, folder: &Folder, job: Job<'_>) -> anyhow::Result<Option<Finished>> {
        folder.finished(&job.name(), job.seed, self.data)
    }

    /// The trainings that a folder holds, and those that it lacks.
    ///
    /// # Errors
    /// A training that is damaged, or was made from other data or by another configuration.
    pub fn finished(&self, folder: &Folder) -> anyhow::Result<(Records, Vec<Job<'_>>)> {
        let (mut records, mut missing) = (BTreeMap::new(), Vec::new());
        for job in self.jobs() {
            match self.finished_in(folder, job)? {
                Some(finished) => drop(records.insert((job.name(), job.seed), finished)),
                None => missing.push(job),
            }
        }
        Ok((records, missing))
    }

    /// Measures the speed of each row, writes results, metrics and tables of a folder in which every training is finished, and
    /// returns the results.
    ///
    /// # Errors
    /// A training that is missing or damaged, files that cannot be written.
    pub fn conclude(&self, folder: &Folder, quiet: bool) -> anyhow::Result<Results> {
        let (records, missing) = self.finished(folder)?;
        if let Some(first) = missing.first() {
            bail!(
                "{}: {} of its trainings are missing, {first} first",
                folder.path().display(),
                missing.len()
            );
        }
        let progress = Progress::new("timing", self.rows.len() as u64, quiet);
        let timed = |row: &Trained<'_>| {
            let speed = speed(&row.trial);
            progress.add(1);
            speed
        };
        let speeds = self.rows.iter().map(timed).collect::<anyhow::Result<Vec<_>>>()?;
        progress.finish();
        let results = self.results(folder, &records, &speeds)?;
        let lines = self.jobs().map(|job| folder.validations(&job.name(), job.seed));
        folder.write("metrics.jsonl", lines.collect::<anyhow::Result<String>>()?.as_bytes())?;
        let json = serde_json::to_string_pretty(&results)? + "\n";
        folder.write("results.json", json.as_bytes())?;
        let routing = self.routing(folder)?;
        if !routing.is_empty() {
            folder.write("routing.json", (serde_json::to_string_pretty(&routing)? + "\n").as_bytes())?;
        }
        folder.write("tables.md", tables::markdown(&results, &routing).as_bytes())?;
        folder.log().note("results.json is written");
        Ok(results)
    }

    /// What the records of all trainings and the scores in the folder amount to; `speeds` of each row where it was measured.
    ///
    /// # Errors
    /// Scores that cannot be read.
    pub fn results(
        &self,
        folder: &Folder,
        records: &Records,
        speeds: &[Option<Speed>],
    ) -> anyhow::Result<Results> {
        let (experiment, data, held_out) = (self.experiment, self.data, self.held_out);
        let mut cells = Vec::new();
        for (row, speed) in self.rows.iter().zip(speeds) {
            let runs = self.jobs_of(row).filter_map(|job| records.get(&(job.name(), job.seed)));
            let runs = runs.map(|finished| finished.record.clone()).collect();
            cells.push(Cell {
                max_length: row.trial.experiment.max_length,
                variant: experiment.variants.get(&row.mixture).cloned(),
                settings: experiment.own_settings(&row.trial.spec.encoder, &row.mixture),
                ..Cell::new(&row.encoder, &row.mixture, runs, *speed)
            });
        }
        if experiment.controls {
            cells.extend(unlearned(experiment, data, held_out)?);
        }
        let test = held_out.samples();
        let labels: Vec<f32> = test.iter().map(|s| s.label).collect();
        let bayes = data.bayes_test.as_ref().map(|b| b.iter().map(|p| *p as f32).collect::<Vec<_>>());
        let commits: BTreeSet<&str> =
            records.values().flat_map(|finished| &finished.commits).map(String::as_str).collect();
        let mut results = Results {
            data: DataRecord {
                name: data.name.clone(),
                sha256: data.sha256.clone(),
                split_sha256: data.split_sha256.clone(),
                label: data.label,
                users: data.user_ids.len(),
                items: data.catalog.items - 1,
                train_samples: data.users.train_samples() as usize,
                valid_samples: data.users.valid.len(),
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
        Ok(results)
    }

    /// What the trained routers do, as their records in the folder say.
    ///
    /// # Errors
    /// A record that is damaged.
    pub fn routing(&self, folder: &Folder) -> anyhow::Result<Vec<RoutingRecord>> {
        let all = self.jobs().map(|job| folder.routing(&job.name(), job.seed));
        Ok(all.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The data.
    pub fn data(&self) -> &Dataset<Feed> {
        self.data
    }

    /// The test samples.
    pub fn held_out(&self) -> &HeldOut {
        self.held_out
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// Says so where trainings were made by another build than this one.
fn warn_of_others(folder: &Folder, commits: &BTreeSet<String>) {
    if commits.iter().any(|c| c != COMMIT || c == "unknown" || c.ends_with("-dirty")) {
        let warning = format!("warning: some trainings were made by commit {commits:?}, this is {COMMIT}");
        folder.log().note(&warning);
        eprintln!("{warning}");
    }
}

/// Works through jobs with one thread each, as many at a time as there are threads, until one fails. `work` may ask whether
/// another has failed, and returns whether to go on.
pub(crate) fn side_by_side<T: Sync>(
    jobs: &[T],
    work: impl Fn(&T, &(dyn Fn() -> bool + Sync)) -> anyhow::Result<bool> + Sync,
) -> anyhow::Result<()> {
    let workers = rayon::current_num_threads().min(jobs.len());
    let threads = rayon::current_num_threads().checked_div(workers).unwrap_or(1).max(1);
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let stop = || failed.lock().is_ok_and(|f| f.is_some());
    let run = || -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop() || !pool.install(|| work(job, &stop))? {
                break;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                if let (Err(error), Ok(mut failed)) = (run(), failed.lock()) {
                    failed.get_or_insert(error);
                }
            });
        }
    });
    failed.into_inner().unwrap_or_default().map_or(Ok(()), Err)
}

/// Every row that is trained.
fn trials<'a>(
    experiment: &'a Experiment,
    data: &'a Dataset<Feed>,
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
            let own = experiment.own(encoder, "none")?;
            let spec = own.spec(encoder, "none");
            let trial = Trial { experiment: own, registry, data, spec, view };
            out.push(Trained { encoder: name.into(), mixture: "none".into(), trial });
        }
    }
    Ok(out)
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
    let mut plain: BTreeMap<(String, usize), Option<Vec<GroupedAuc>>> = BTreeMap::new();
    for at in 0..results.cells.len() {
        let cell = &results.cells[at];
        let base = results.beside(cell, "none");
        let Some(base) = base.filter(|_| cell.mixture != "none") else { continue };
        let key = (base.encoder.clone(), base.max_length);
        if !plain.contains_key(&key) {
            plain.insert(key.clone(), runs(base)?);
        }
        if let (Some(base), Some(runs)) = (&plain[&key], runs(cell)?) {
            results.cells[at].delta_auc_users = bootstrap_users(&runs, base, &draws);
        }
    }
    Ok(())
}

/// Controls that learn nothing: `popularity`, the target's number of positive training samples, and `repetition`, how
/// often the target stands in the history. Where negatives are sampled, the second says how much of the task is solved by
/// knowing what the user has had before.
fn unlearned(
    experiment: &Experiment,
    data: &Dataset<Feed>,
    held_out: &HeldOut,
) -> mos_data::Result<[Cell; 2]> {
    let test = held_out.samples();
    let clicks = data.users.clicks();
    let popularity: Vec<f32> = test.iter().map(|s| clicks[s.item as usize] as f32).collect();
    let mut repetition = Vec::with_capacity(test.len());
    data.users.each_history(test, |s, history| {
        repetition.push(history.iter().filter(|i| **i == s.item && s.item != 0).count() as f32);
    })?;
    Ok([("popularity", popularity), ("repetition", repetition)].map(|(name, scores)| {
        let runs = experiment.seeds.iter().map(|seed| test_record(*seed, &scores, held_out, false)).collect();
        let mut cell = Cell { max_length: experiment.max_length, ..Cell::new(name, "none", runs, None) };
        // Nothing was drawn, so there is no interval.
        for interval in [&mut cell.auc, &mut cell.gauc].into_iter().flatten() {
            (interval.lo, interval.hi) = (None, None);
        }
        cell
    }))
}

/// Median of three training steps and three scorings of one batch of the training part, with fresh weights, after one of each
/// that is not counted.
///
/// `None` where training leaves the finite numbers.
fn speed(trial: &Trial<'_>) -> anyhow::Result<Option<Speed>> {
    let Experiment { batch, max_length, .. } = *trial.experiment;
    let first = Epoch { number: 0, seed: 0, batch, max_length, from: 0 };
    let batch = trial.data.users.epoch(first).next().context("there is no training sample")??;
    let batch = trial.view(batch);
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
    let train = median(&mut || model.train_step(&batch, &trial.experiment.train, 100, 1).map(|_| ()));
    let train = match train {
        Err(mos_core::Error::NotFinite { .. }) => return Ok(None),
        train => train?,
    };
    model.prepare_scoring();
    Ok(Some(Speed { train, score: median(&mut || model.score(&batch).map(|_| ()))? }))
}
