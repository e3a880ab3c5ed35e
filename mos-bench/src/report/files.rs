//! What a report reads of a run folder. Only `results.json` must be there; other parts appear where their file is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use mos_data::Card;
use serde::{Deserialize, de::DeserializeOwned};

use crate::results::Results;

/// A run, as far as a report shows it.
#[derive(Debug)]
pub struct RunFiles {
    pub(crate) folder: PathBuf,
    pub(crate) results: Results,
    /// `config.toml`.
    pub(crate) config: Option<String>,
    /// `card.json`.
    pub(crate) card: Option<Card>,
    /// `metrics.jsonl`.
    pub(crate) validations: Vec<Validation>,
    /// `routing.json`.
    pub(crate) routing: Vec<Routing>,
    /// Labels and logits of the test part, by cell and seed.
    pub(crate) test: Option<TestScores>,
}

/// One validation during a training.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Validation {
    pub(crate) encoder: String,
    pub(crate) mixture: String,
    pub(crate) seed: u64,
    pub(crate) step: u64,
    /// Mean training loss since the validation before.
    pub(crate) loss: Option<f64>,
    pub(crate) auc: Option<f64>,
}

/// How the router of one cell behaves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Routing {
    pub(crate) encoder: String,
    pub(crate) mixture: String,
    pub(crate) seed: u64,
    /// Share of the behaviours that each theme takes.
    pub(crate) load: Vec<f64>,
    /// Entropy of the load.
    pub(crate) entropy: Option<f64>,
    /// Normalised mutual information of themes and categories.
    pub(crate) nmi: Option<f64>,
    /// Share of the behaviours that belong to the most frequent category of their theme.
    pub(crate) purity: Option<f64>,
    /// Share of neighbours within a session with one theme.
    pub(crate) session_stability: Option<f64>,
    pub(crate) heat: Option<Heat>,
    pub(crate) example: Option<Example>,
}

/// How often a theme (row) takes a behaviour of a category (column).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Heat {
    pub(crate) categories: Vec<String>,
    pub(crate) counts: Vec<Vec<f64>>,
}

/// One user's history.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Example {
    pub(crate) user: serde_json::Value,
    pub(crate) events: Vec<Event>,
}

/// A behaviour and its theme.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) session: u64,
    pub(crate) theme: usize,
    pub(crate) category: Option<serde_json::Value>,
}

/// Labels of the test part, and the logits of each training by cell (`encoder-mixture`).
#[derive(Debug)]
pub(crate) struct TestScores {
    pub(crate) labels: Vec<f32>,
    pub(crate) logits: BTreeMap<String, Vec<Vec<f32>>>,
}

impl RunFiles {
    /// Reads a run folder; the path of its `results.json` is as good.
    ///
    /// # Errors
    /// A folder without results, or with a file that is damaged.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) }.to_owned();
        let file = if path.is_dir() { folder.join("results.json") } else { path.to_owned() };
        let results = Results::read(&file)?;
        let routing = optional(&folder.join("routing.json"))?.map(|t| json(&folder.join("routing.json"), &t));
        let card = optional(&folder.join("card.json"))?.map(|t| json(&folder.join("card.json"), &t));
        Ok(Self {
            config: optional(&folder.join("config.toml"))?,
            card: card.transpose()?,
            validations: validations(&folder.join("metrics.jsonl"))?,
            routing: routing.transpose()?.unwrap_or_default(),
            test: test_scores(&folder, &results)?,
            folder,
            results,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the run found.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// The folder, as it stands in commands.
    pub(crate) fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

/// The text of a file that need not be there.
fn optional(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).with_context(|| path.display().to_string()),
    }
}

fn json<T: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).with_context(|| path.display().to_string())
}

/// The validations in order of step. Of a step that stands there twice (a resumed run repeats steps) the last one counts.
/// A last line that was cut off by an interruption is left out.
fn validations(path: &Path) -> anyhow::Result<Vec<Validation>> {
    let Some(text) = optional(path)? else { return Ok(Vec::new()) };
    let mut all = BTreeMap::new();
    let last = text.lines().count();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match serde_json::from_str::<Validation>(line) {
            Ok(v) => {
                all.insert((v.encoder.clone(), v.mixture.clone(), v.seed, v.step), v);
            }
            Err(_) if i + 1 == last && !text.ends_with('\n') => {}
            Err(error) => return Err(error).with_context(|| format!("{}:{}", path.display(), i + 1)),
        }
    }
    Ok(all.into_values().collect())
}

/// What is left of the test scores; `None` without the samples they belong to.
fn test_scores(folder: &Path, results: &Results) -> anyhow::Result<Option<TestScores>> {
    let path = folder.join("test.csv");
    let Some(text) = optional(&path)? else { return Ok(None) };
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let column = rows.headers()?.iter().position(|h| h == "label");
    let column = column.with_context(|| format!("{}: no column label", path.display()))?;
    let label = |row: csv::Result<csv::StringRecord>| -> anyhow::Result<f32> {
        let row = row?;
        let text = row.get(column).unwrap_or_default();
        text.parse().with_context(|| format!("label {text:?}"))
    };
    let labels: Vec<f32> = rows
        .records()
        .map(label)
        .collect::<anyhow::Result<_>>()
        .with_context(|| path.display().to_string())?;
    let mut logits: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    for cell in results.cells.iter().filter(|c| c.params.dense > 0) {
        let name = format!("{}-{}", cell.encoder, cell.mixture);
        for run in &cell.runs {
            let file = folder.join(format!("trainings/{name}-{}.f32", run.seed));
            let Ok(bytes) = std::fs::read(file) else { continue };
            let scores: Vec<f32> =
                bytes.chunks(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect();
            // Those of another test part say nothing here.
            if scores.len() == labels.len() {
                logits.entry(name.clone()).or_default().push(scores);
            }
        }
    }
    Ok(Some(TestScores { labels, logits }))
}
