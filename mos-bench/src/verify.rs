//! Does a run folder hold what its trainings say, and do they say it again?

use std::fmt;

use anyhow::{Context as _, bail};
use mos_data::rng;
use rand::seq::IteratorRandom as _;
use serde::Serialize;
use serde_json::Value;

use crate::{
    config::{Experiment, HeldOut},
    experiment::{Grid, Job, Records},
    folder::{Folder, sha256, test_csv},
    results::{Results, RunRecord},
    routing,
    stopping::{Ended, Stopper, Stopping},
    train::test_record,
    training::Validation,
};

/// A value that is not what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// File, or training.
    pub place: String,
    /// Which value.
    pub field: String,
    /// What stands there.
    pub stored: Value,
    /// What was found instead.
    pub found: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, stored, found } = self;
        write!(f, "{place}: {field}: stored {stored}, found {found}")
    }
}

/// What a clock or the machine wrote, which no repetition brings back.
const MEASURED: [&str; 2] = ["ms_per_1000", "environment"];

/// Every value in which two JSON trees differ, apart from measured times.
pub fn differences(place: &str, stored: &Value, found: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    compare(place, "", stored, found, &mut out);
    out
}

fn compare(place: &str, at: &str, stored: &Value, found: &Value, out: &mut Vec<Difference>) {
    match (stored, found) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))).collect();
            keys.retain(|key| !MEASURED.contains(&key.as_str()));
            for key in keys {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let of = |tree: &serde_json::Map<String, Value>| tree.get(key).cloned().unwrap_or_default();
                compare(place, &at, &of(a), &of(b), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(place, &format!("{at}[{}]", element(a, i)), a, b, out);
            }
        }
        _ if stored != found => out.push(Difference {
            place: place.to_owned(),
            field: at.to_owned(),
            stored: stored.clone(),
            found: found.clone(),
        }),
        _ => {}
    }
}

/// An element of an array as a reader of tables knows it.
fn element(value: &Value, number: usize) -> String {
    match (&value["encoder"], &value["mixture"], &value["seed"]) {
        (Value::String(encoder), Value::String(mixture), _) => format!("{encoder} x {mixture}"),
        (_, _, Value::Number(seed)) => format!("seed {seed}"),
        _ => number.to_string(),
    }
}

/// Derives what is in `results.json` again from the stored scores and validations, and compares; cost, size and time are taken
/// from the records.
///
/// # Errors
/// Files that are missing or cannot be read, data that is not that of the run.
pub fn stored(grid: &Grid<'_>, experiment: &Experiment, folder: &Folder) -> anyhow::Result<Vec<Difference>> {
    let file = folder.path().join("results.json");
    let results = Results::read(&file)?;
    let data = grid.data();
    if (&results.data.sha256, &results.data.split_sha256) != (&data.sha256, &data.split_sha256) {
        bail!("{}: these are results of other data than {}", file.display(), data.name);
    }
    let mut out = Vec::new();
    let test = std::fs::read(folder.path().join("test.csv")).context("test.csv")?;
    out.extend(lines("test.csv", &text(&test), &text(&test_csv(data, grid.held_out())?)));
    let mut records = Records::new();
    let (mut metrics, mut scores_fit) = (String::new(), true);
    for job in grid.jobs() {
        let name = job.name();
        let place = format!("trainings/{name}-{}", job.seed());
        let Some(mut finished) = folder.record(&name, job.seed())? else {
            bail!("{}/{place}.json is missing; mos-bench resume makes it again", folder.path().display());
        };
        let validations = folder.validations(&name, job.seed())?;
        metrics += &validations;
        let scores = folder.scores(&name, job.seed())?;
        let bytes = folder.score_bytes(&name, job.seed())?;
        let mut tell = |kind: &str, field: &str, stored: Value, found: Value| {
            if stored != found {
                out.push(Difference {
                    place: format!("{place}.{kind}"),
                    field: field.to_owned(),
                    stored,
                    found,
                });
            }
        };
        tell("json", "config_sha256", finished.config_sha256.as_str().into(), experiment.sha256()?.into());
        tell("json", "data_sha256", finished.data_sha256.as_str().into(), data.sha256.as_str().into());
        tell(
            "json",
            "split_sha256",
            finished.split_sha256.as_str().into(),
            data.split_sha256.as_str().into(),
        );
        tell("f32", "SHA-256 of the scores", finished.scores_sha256.as_str().into(), sha256(&bytes).into());
        if scores.len() != grid.held_out().samples().len() {
            tell("f32", "number of scores", scores.len().into(), grid.held_out().samples().len().into());
            scores_fit = false;
            continue;
        }
        let again = derived(job, grid.held_out(), &finished.record, &scores, &validations)
            .with_context(|| format!("{place}.jsonl"))?;
        let (stored, found) = (serde_json::to_value(&finished.record)?, serde_json::to_value(&again)?);
        out.extend(differences(&format!("{place}.json"), &stored, &found));
        finished.record = again;
        records.insert((name, job.seed()), finished);
    }
    if scores_fit {
        let found = grid.results(folder, &records, &vec![None; grid.rows()])?;
        let stored = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        out.extend(differences(
            "results.json",
            &serde_json::from_str(&stored)?,
            &serde_json::to_value(&found)?,
        ));
    }
    let path = folder.path().join("routing.json");
    let routed = if path.exists() { routing::read(&path)? } else { Vec::new() };
    let found = serde_json::to_value(grid.routing(folder)?)?;
    out.extend(differences("routing.json", &serde_json::to_value(routed)?, &found));
    let file = folder.path().join("metrics.jsonl");
    let stored = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    out.extend(lines("metrics.jsonl", &stored, &metrics));
    Ok(out)
}

/// A record with all that follows from the test scores and the validations derived again; cost, size and time stay as they are.
fn derived(
    job: Job<'_>,
    held_out: &HeldOut,
    record: &RunRecord,
    scores: &[f32],
    validations: &str,
) -> anyhow::Result<RunRecord> {
    let (mut stopper, experiment) = (Stopper::default(), &job.trial().experiment);
    let (mut count, mut steps) = (0, 0);
    for line in validations.lines() {
        let validation: Validation = serde_json::from_str(line)?;
        (count, steps) = (count + 1, validation.step);
        let value = experiment.stop_on.of(&validation);
        stopper.take(experiment.stop_on, &experiment.plateau, validation.step, value);
    }
    Ok(RunRecord {
        valid: stopper.best().and_then(|best| best.value),
        best_step: stopper.best().map_or(record.best_step, |best| best.step),
        stopping: record.stopping.map(|stopping| Stopping {
            metric: experiment.stop_on,
            patience_validations: experiment.patience,
            validations: count,
            // What diverged did so after its last validation.
            steps: if stopping.ended == Ended::Diverged { stopping.steps } else { steps },
            ..stopping
        }),
        seconds: record.seconds,
        waited: record.waited,
        macs: record.macs,
        macs_full: record.macs_full,
        params: record.params,
        ..test_record(record.seed, scores, held_out, true)
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first line in which two texts differ.
fn lines(place: &str, stored: &str, found: &str) -> Option<Difference> {
    let (mut a, mut b) = (stored.lines(), found.lines());
    (1..)
        .map_while(|n| match (a.next(), b.next()) {
            (None, None) => None,
            pair => Some((n, pair)),
        })
        .find(|(_, (a, b))| a != b)
        .map(|(n, (a, b))| Difference {
            place: place.to_owned(),
            field: format!("line {n}"),
            stored: a.into(),
            found: b.into(),
        })
}

/// Trains one cell with one seed again and compares test scores, validations and record to the bit.
///
/// # Errors
/// A training that is not finished, or cannot be repeated.
pub fn repeat(grid: &Grid<'_>, folder: &Folder, job: Job<'_>) -> anyhow::Result<Vec<Difference>> {
    let (name, seed) = (job.name(), job.seed());
    let Some(stored) = folder.record(&name, seed)? else { bail!("{job} is not finished") };
    let place = format!("{job}, trained again");
    let mut training = crate::training::Training::begin(job.trial(), seed)?;
    while training.advance()?.is_some() {}
    let timeless = |text: &str| -> anyhow::Result<Value> {
        let mut all = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        for line in &mut all {
            drop((line["seconds"].take(), line["waited"].take()));
        }
        Ok(Value::Array(all))
    };
    let (was, is) = (folder.validations(&name, seed)?, job.lines(training.validations())?);
    let mut out = differences(&format!("{place}: validations"), &timeless(&was)?, &timeless(&is)?);
    let fitted = training.finish();
    let names = (job.encoder(), job.mixture(), seed);
    let (was, is) = (
        folder.routing(&name, seed)?,
        routing::record(job.trial(), fitted.model(), names, grid.held_out().samples())?,
    );
    let place_of_routing = format!("{place}: routing");
    out.extend(differences(&place_of_routing, &serde_json::to_value(was)?, &serde_json::to_value(is)?));
    let (record, scores) = job.trial().test(fitted, grid.held_out())?;
    let kept = folder.scores(&name, seed)?;
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
    let differ = kept.iter().zip(&scores).filter(|pair| !same(*pair)).count();
    if kept.len() != scores.len() {
        let (stored, found) = (kept.len().into(), scores.len().into());
        out.push(Difference { place: place.clone(), field: "number of scores".into(), stored, found });
    } else if let Some(at) = kept.iter().zip(&scores).position(|pair| !same(pair)) {
        out.push(Difference {
            place: place.clone(),
            field: format!("test score {} (line {} of test.csv; {differ} differ)", at + 1, at + 2),
            stored: f64::from(kept[at]).into(),
            found: f64::from(scores[at]).into(),
        });
    }
    let timeless =
        |record: RunRecord| serde_json::to_value(RunRecord { seconds: 0.0, waited: 0.0, ..record });
    out.extend(differences(&place, &timeless(stored.record)?, &timeless(record)?));
    Ok(out)
}

/// So many trainings of a grid, drawn from `seed`.
pub fn choice<'g>(grid: &'g Grid<'_>, cells: usize, seed: u64) -> Vec<Job<'g>> {
    grid.jobs().sample(&mut rng::stream(seed, "verify", &[]), cells)
}
