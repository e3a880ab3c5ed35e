//! Tuning: random search with the same number of trials for every model, judged by validation alone.
//!
//! Trial 0 is the configuration as it stands. The value of a setting in a trial depends on the search's seed, the trial and
//! the setting's name alone, so that models which share a setting try the same values of it, and a search can be
//! resumed or enlarged. Test samples are given away before anything is trained.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail, ensure};
use mos_baselines::Registry;
use mos_data::{Dataset, Feed, nearest_name, rng};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{Experiment, Row},
    experiment::side_by_side,
    folder::Folder,
    progress::Progress,
    settings::{Settings, plain, with},
    stopping::StopOn,
    tables::Table,
    train::{Trial, View},
};

/// The file of trials in the folder of a search.
pub const TRIALS: &str = "trials.jsonl";

/// What is searched, and with which budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tune {
    /// Trials of each model, the configuration as it stands included.
    #[serde(default = "twenty")]
    pub trials: usize,
    /// Seeds of the trainings of a trial; none of the experiment's own.
    pub seeds: Vec<u64>,
    /// Seed of the search.
    #[serde(default)]
    pub seed: u64,
    /// Ranges by dotted name, as in `"train.adam.lr" = { log_uniform = [1e-3, 1e-2] }`. Of `options.<name>` a model has
    /// those of its encoder and its mixture.
    pub space: BTreeMap<String, Range>,
}

fn twenty() -> usize {
    20
}

/// Where the values of a setting come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// One of these.
    Choice(Vec<Value>),
    /// Between two numbers.
    Uniform([f64; 2]),
    /// Between two positive numbers, each magnitude alike.
    LogUniform([f64; 2]),
    /// A whole number between two, both included.
    Integer([i64; 2]),
}

impl Range {
    fn check(&self) -> Result<(), &'static str> {
        let rising = |[low, high]: [f64; 2]| low.is_finite() && high.is_finite() && low < high;
        match self {
            Self::Choice(all) if all.is_empty() => Err("choice needs at least one value"),
            Self::Uniform(range) if !rising(*range) => Err("uniform needs two rising numbers"),
            Self::LogUniform([low, high]) if !rising([*low, *high]) || *low <= 0.0 => {
                Err("log_uniform needs two rising numbers above 0")
            }
            Self::Integer([low, high]) if low >= high => Err("integer needs two rising whole numbers"),
            _ => Ok(()),
        }
    }

    /// Numbers have four significant digits, so that what is published is what was tried.
    fn draw(&self, rng: &mut impl rand::Rng) -> Value {
        let short = |x: f64| Value::from(format!("{x:.3e}").parse::<f64>().unwrap_or(x));
        match self {
            Self::Choice(all) => all[rng.random_range(0..all.len() as u64) as usize].clone(),
            Self::Uniform([low, high]) => short(low + (high - low) * rng.random::<f64>()),
            Self::LogUniform([low, high]) => {
                short((low.ln() + (high / low).ln() * rng.random::<f64>()).exp())
            }
            Self::Integer([low, high]) => Value::from(rng.random_range(*low..=*high)),
        }
    }
}

impl Tune {
    /// # Errors
    /// Ranges of nothing, seeds that the experiment is evaluated with, settings that do not exist.
    pub fn check(&self, experiment: &Experiment, registry: &Registry) -> anyhow::Result<()> {
        ensure!(
            self.trials > 0 && !self.seeds.is_empty(),
            "tune.trials and tune.seeds must not be 0 or empty"
        );
        ensure!(experiment.lengths.is_empty(), "tune: lengths are a study of their own; leave them out");
        if let Some(seed) = self.seeds.iter().find(|s| experiment.seeds.contains(s)) {
            bail!(
                "tune.seeds: {seed} stands in seeds too; what was chosen with a seed cannot be judged with it"
            );
        }
        for (name, range) in &self.space {
            if let Err(message) = range.check() {
                bail!("tune.space.{name:?}: {message}");
            }
        }
        let variants = experiment.variants.keys().map(String::as_str);
        let options: Vec<&str> =
            registry.encoders().map(|e| e.0).chain(registry.mixtures().map(|m| m.0)).collect();
        let variants: Vec<&str> = variants.collect();
        for name in self.space.keys() {
            let mut parts = name.split('.');
            let (known, of) = match (parts.next(), parts.next()) {
                (Some("options"), Some(of)) => (&options, of),
                (Some("variants"), Some(of)) => (&variants, of),
                _ => continue,
            };
            if !known.contains(&of) {
                let near = nearest_name(of, known.iter().copied()).unwrap_or_default();
                bail!("tune.space.{name:?}: {of} is not known; did you mean {near}?");
            }
        }
        for Row { mixture, spec, experiment: own } in experiment.rows()? {
            for trial in 0..self.trials as u64 {
                let settings = self.settings(experiment, &spec.encoder, &mixture, trial);
                let place = || format!("tune.space, {} x {mixture}", spec.encoder);
                let tried = with(&own, &settings).with_context(place)?;
                tried.model.check().with_context(place)?;
                tried.train.check().with_context(place)?;
                registry.check(&tried.spec(&spec.encoder, &mixture)).with_context(place)?;
            }
        }
        Ok(())
    }

    /// The ranges that concern no row of the experiment.
    pub fn unused(&self, experiment: &Experiment) -> Vec<&str> {
        let pairs =
            || experiment.encoders.iter().flat_map(|e| experiment.mixtures.iter().map(move |m| (e, m)));
        let used = |name: &str| pairs().any(|(e, m)| concerns(name, experiment, e, m));
        self.space.keys().map(String::as_str).filter(|name| !used(name)).collect()
    }

    /// What a model tries.
    pub fn settings(&self, experiment: &Experiment, encoder: &str, mixture: &str, trial: u64) -> Settings {
        if trial == 0 {
            return Settings::new();
        }
        let mine = self.space.iter().filter(|(name, _)| concerns(name, experiment, encoder, mixture));
        mine.map(|(name, range)| {
            let mut draw = rng::stream(self.seed, &format!("tune/{name}"), &[trial]);
            (name.clone(), range.draw(&mut draw))
        })
        .collect()
    }
}

/// Whether the setting `name` can matter to a model.
fn concerns(name: &str, experiment: &Experiment, encoder: &str, mixture: &str) -> bool {
    let mut parts = name.split('.');
    match (parts.next(), parts.next()) {
        (Some("options"), Some(of)) => {
            of == encoder || (of == mixture && !experiment.variants.contains_key(mixture))
        }
        (Some("variants"), Some(of)) => of == mixture,
        _ => true,
    }
}

/// One trial, as it stands in a line of `trials.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Number of the trial; 0 = the configuration as it stands.
    pub trial: u64,
    /// Hash of the samples that it was trained and judged on.
    pub split_sha256: String,
    /// What differed from it.
    pub settings: Settings,
    /// Seeds of the trainings.
    pub seeds: Vec<u64>,
    /// Best validation of each, by the experiment's metric.
    pub valid: Vec<Option<f64>>,
    /// Their mean; absent if one of them is, or if training left the finite numbers.
    pub score: Option<f64>,
    /// Why a training failed.
    pub failed: Option<String>,
    /// Wall time of all trainings.
    pub seconds: f64,
}

/// Searches, writes each trial to `trials.jsonl` when it is finished, and returns all, in order.
///
/// # Errors
/// Files that cannot be read or written, and models that cannot be built. A training that fails is a trial that failed.
pub fn search(
    experiment: &Experiment,
    tune: &Tune,
    data: &Dataset<Feed>,
    registry: &Registry,
    folder: &Folder,
) -> anyhow::Result<Vec<Tried>> {
    let path = folder.path().join(TRIALS);
    let mut all = read(&path)?;
    if let Some(other) = all.iter().find(|t| t.split_sha256 != data.split_sha256) {
        bail!(
            "{}: trial {} of {} x {} was made on other samples; start a new search",
            path.display(),
            other.trial,
            other.encoder,
            other.mixture
        );
    }
    let mut jobs = Vec::new();
    for trial in 0..tune.trials as u64 {
        for Row { mixture, spec, experiment: own } in experiment.rows()? {
            let encoder = spec.encoder;
            if all.iter().any(|t| (&t.encoder, &t.mixture, t.trial) == (&encoder, &mixture, trial)) {
                continue;
            }
            let settings = tune.settings(experiment, &encoder, &mixture, trial);
            let own = with(&own, &settings)?;
            jobs.push((encoder, mixture, trial, settings, own));
        }
    }
    // Whole lines only: what an interrupted write left is cut off.
    let lines = all.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    folder.write(TRIALS, lines.iter().flat_map(|l| [l, "\n"]).collect::<String>().as_bytes())?;
    let file = std::fs::OpenOptions::new().append(true).open(&path).context(path.display().to_string())?;
    let kept = Mutex::new((file, Vec::new()));
    let progress = Progress::new("trials", jobs.len() as u64, false);
    side_by_side(&jobs, |(encoder, mixture, trial, settings, own), stop| {
        progress.at(format!("{encoder}-{mixture} trial {trial}"));
        let started = std::time::Instant::now();
        let spec = own.spec(encoder, mixture);
        let subject =
            Trial { experiment: std::borrow::Cow::Borrowed(own), registry, data, spec, view: View::Full };
        let (mut valid, mut failure) = (Vec::new(), None);
        for seed in &tune.seeds {
            let fitted = subject.fit(*seed, &|| !stop());
            let place = || format!("{encoder} x {mixture}, trial {trial}");
            let Some(fitted) = fitted.with_context(place)? else { return Ok(false) };
            failure = fitted.trouble().map(ToString::to_string).or(failure);
            valid.push(fitted.best().0.filter(|_| fitted.trouble().is_none()));
        }
        let known: Option<Vec<f64>> = valid.iter().copied().collect();
        let tried = Tried {
            encoder: encoder.clone(),
            mixture: mixture.clone(),
            trial: *trial,
            split_sha256: data.split_sha256.clone(),
            settings: settings.clone(),
            seeds: tune.seeds.clone(),
            score: known.map(|v| v.iter().sum::<f64>() / v.len() as f64),
            valid,
            failed: failure,
            seconds: started.elapsed().as_secs_f64(),
        };
        let line = serde_json::to_string(&tried)? + "\n";
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.write_all(line.as_bytes()).context(TRIALS)?;
        kept.1.push(tried);
        progress.add(1);
        Ok(true)
    })?;
    progress.finish();
    all.extend(kept.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    all.retain(|t| t.trial < tune.trials as u64);
    let place = |t: &Tried| {
        let at = |names: &[String], name: &String| names.iter().position(|n| n == name);
        (at(&experiment.encoders, &t.encoder), at(&experiment.mixtures, &t.mixture), t.trial)
    };
    all.sort_by_key(place);
    Ok(all)
}

/// Trials that were finished; a last line that was cut off in writing is none.
fn read(path: &Path) -> anyhow::Result<Vec<Tried>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let line = |(n, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| {
            format!("{}:{}: no trial; delete the line to run it again", path.display(), n + 1)
        })
    };
    whole.lines().enumerate().map(line).collect()
}

/// The trials of each model, models in order.
fn by_model(trials: &[Tried]) -> impl Iterator<Item = &[Tried]> {
    trials.chunk_by(|a, b| (&a.encoder, &a.mixture) == (&b.encoder, &b.mixture))
}

/// Of one model's trials the best; of equals the first.
fn best(trials: &[Tried], by: StopOn) -> Option<&Tried> {
    let scored = trials.iter().filter(|t| t.score.is_some());
    scored.reduce(|best, t| if by.improves(t.score, best.score) { t } else { best })
}

/// The best settings of each model as a part of a configuration, with their scores.
pub fn best_settings(experiment: &Experiment, tune: &Tune, trials: &[Tried]) -> String {
    let mut out = format!(
        "# Best of {} trials of each model by mean validation {} over seeds {:?}; the test part was not looked at.\n\
         # Found by `mos-bench tune` on {}.\n",
        tune.trials, experiment.stop_on, tune.seeds, experiment.name
    );
    for of in by_model(trials) {
        let name = format!("{}-{}", of[0].encoder, of[0].mixture);
        match best(of, experiment.stop_on) {
            None => {
                let _ = writeln!(out, "\n# {name}: no trial could be scored");
            }
            Some(best) => {
                let (score, trial) = (best.score.unwrap_or_default(), best.trial);
                let start = of[0].score.map_or("none".into(), |s| format!("{s:.4}"));
                let _ = writeln!(out, "\n# {score:.4} in trial {trial}; as it stood: {start}");
                let _ = writeln!(out, "[settings.{name:?}]");
                // What the row had of its own before stays, where the trial changed nothing of it.
                let mut all = experiment.own_settings(&of[0].encoder, &of[0].mixture);
                all.extend(best.settings.clone());
                for (key, v) in &all {
                    // As TOML and not for people: 0.0 must not become 0.
                    let v = toml::Value::try_from(v).map_or_else(|_| v.to_string(), |v| v.to_string());
                    let _ = writeln!(out, "{key:?} = {v}");
                }
            }
        }
    }
    out
}

/// The best of each model beside the configuration as it stood.
pub fn table(experiment: &Experiment, tune: &Tune, trials: &[Tried]) -> Table {
    let score = |s: Option<f64>| s.map_or("–".into(), |s| format!("{s:.4}"));
    let row = |of: &[Tried]| {
        let best = best(of, experiment.stop_on);
        let settings = best.map_or(String::new(), |b| {
            let all = b.settings.iter().map(|(name, v)| format!("{name} = {}", plain(v)));
            all.collect::<Vec<_>>().join(", ")
        });
        let failed = of.iter().filter(|t| t.score.is_none()).count();
        vec![
            of[0].encoder.clone(),
            of[0].mixture.clone(),
            of.len().to_string(),
            failed.to_string(),
            score(of[0].score),
            score(best.and_then(|b| b.score)),
            if settings.is_empty() { "as it stands".into() } else { settings },
        ]
    };
    Table {
        title: format!("Tuning on {}", experiment.name),
        header: ["encoder", "mixture", "trials", "failed", "as it stands", "best", "settings of the best"]
            .map(Into::into)
            .into(),
        rows: by_model(trials).map(row).collect(),
        wide: Vec::new(),
        notes: vec![format!(
            "Mean validation {} over seeds {:?}, the same {} trials for each model; the best of many is better than it \
             will be again.",
            experiment.stop_on, tune.seeds, tune.trials
        )],
        wide_notes: Vec::new(),
    }
}
