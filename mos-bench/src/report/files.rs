//! What a report reads of a run folder. Only `results.json` must be there; other parts appear where their file is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use mos_data::{Card, hopping::Study};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    results::{Cell, Results},
    routing::{self, RoutingRecord},
};

/// A run, as far as a report shows it.
#[derive(Debug)]
pub struct RunFiles {
    pub(crate) folder: PathBuf,
    pub(crate) results: Results,
    /// `config.toml`.
    pub(crate) config: Option<String>,
    /// The length of histories that names of trainings leave out.
    max_length: Option<usize>,
    /// `card.json`.
    pub(crate) card: Option<Card>,
    /// `metrics.jsonl`.
    pub(crate) validations: Vec<Validation>,
    /// `routing.json`.
    pub(crate) routing: Vec<RoutingRecord>,
    /// `hopping.json`.
    pub(crate) hopping: Option<Study>,
    test: Option<TestScores>,
}

/// One validation during a training.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Validation {
    pub(crate) encoder: String,
    pub(crate) mixture: String,
    /// Behaviours that a history keeps.
    #[serde(default)]
    pub(crate) max_length: usize,
    pub(crate) seed: u64,
    pub(crate) step: u64,
    /// Mean training loss since the validation before.
    pub(crate) loss: Option<f64>,
    pub(crate) auc: Option<f64>,
}

/// Labels of the test part, and the logits of each training by encoder, mixture and length.
#[derive(Debug)]
struct TestScores {
    labels: Vec<f32>,
    logits: BTreeMap<(String, String, usize), Vec<Vec<f32>>>,
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
        let routing = folder.join("routing.json");
        let routing = if routing.exists() { routing::read(&routing)? } else { Vec::new() };
        let card = optional_json(&folder.join("card.json"))?;
        let hopping = optional_json(&folder.join("hopping.json"))?;
        let config = optional(&folder.join("config.toml"))?;
        let max_length = config.as_deref().map(max_length).transpose().context("config.toml")?.flatten();
        let mut run = Self {
            config,
            max_length,
            card,
            validations: validations(&folder.join("metrics.jsonl"))?,
            routing,
            hopping,
            test: None,
            folder,
            results,
        };
        run.test = test_scores(&run)?;
        Ok(run)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the run found.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// What routers do, where it was measured.
    pub fn routing(&self) -> &[RoutingRecord] {
        &self.routing
    }

    /// The mixture of a cell as it stands in names of trainings: with its length where it is not that of the configuration.
    pub(crate) fn mixture(&self, cell: &Cell) -> String {
        let usual = self.max_length.is_none_or(|l| l == cell.max_length) || cell.max_length == 0;
        if usual { cell.mixture.clone() } else { format!("{}-L{}", cell.mixture, cell.max_length) }
    }

    /// Test logits of a cell's trainings, those that are there; `None` without any.
    pub(crate) fn logits(&self, cell: &Cell) -> Option<(&[f32], &[Vec<f32>])> {
        let test = self.test.as_ref()?;
        let of = test.logits.get(&(cell.encoder.clone(), cell.mixture.clone(), cell.max_length))?;
        Some((&test.labels, of))
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

/// What a file of JSON holds that need not be there.
pub(crate) fn optional_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = optional(path)?;
    text.map(|t| serde_json::from_str(&t).with_context(|| path.display().to_string())).transpose()
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
                all.insert((v.encoder.clone(), v.mixture.clone(), v.max_length, v.seed, v.step), v);
            }
            Err(_) if i + 1 == last && !text.ends_with('\n') => {}
            Err(error) => return Err(error).with_context(|| format!("{}:{}", path.display(), i + 1)),
        }
    }
    Ok(all.into_values().collect())
}

/// The length that a configuration gives to all rows.
fn max_length(config: &str) -> anyhow::Result<Option<usize>> {
    let config: toml::Table = config.parse()?;
    Ok(config.get("max_length").and_then(toml::Value::as_integer).map(|l| l as usize))
}

/// What is left of the test scores; `None` without the samples they belong to.
fn test_scores(run: &RunFiles) -> anyhow::Result<Option<TestScores>> {
    let path = run.folder.join("test.csv");
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
    let mut logits: BTreeMap<_, Vec<Vec<f32>>> = BTreeMap::new();
    for cell in run.results.cells.iter().filter(|c| c.params.dense > 0) {
        let key = (cell.encoder.clone(), cell.mixture.clone(), cell.max_length);
        for seed in cell.runs.iter().map(|r| r.seed) {
            let name = format!("trainings/{}-{}-{seed}.f32", cell.encoder, run.mixture(cell));
            let Ok(bytes) = std::fs::read(run.folder.join(name)) else { continue };
            let scores: Vec<f32> =
                bytes.chunks(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect();
            // Those of another test part say nothing here.
            if scores.len() == labels.len() {
                logits.entry(key.clone()).or_default().push(scores);
            }
        }
    }
    Ok(Some(TestScores { labels, logits }))
}
