//! One file = one experiment.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use mos_baselines::{Registry, Spec};
use mos_core::{Adam, ModelConfig, TrainConfig};
use mos_data::{Dataset, Feed, Log, Sample, TaskConfig, nearest_name, prepare, sources::Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    settings::{Settings, with},
    stopping::{Plateau, StopOn},
    tune::Tune,
};

/// What is trained and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the run folder.
    pub name: String,
    /// Log.
    pub data: Source,
    /// What is predicted and where time is cut; default: what the source suggests.
    #[serde(default)]
    pub task: Option<TaskConfig>,
    /// Encoders of the table.
    pub encoders: Vec<String>,
    /// Mixtures of the table, each around each encoder.
    pub mixtures: Vec<String>,
    /// Print the control rows `target_only`, `shuffled_history`, `popularity` and `repetition` too.
    #[serde(default = "yes")]
    pub controls: bool,
    /// Options of encoders and mixtures, by name.
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
    /// Further mixtures: a registered one under a name and with options of its own, for ablations and tuning.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
    /// One training for each seed.
    pub seeds: Vec<u64>,
    /// Most recent behaviours that a history keeps.
    pub max_length: usize,
    /// Further lengths, for a study: each row is trained once more with each of them in place of `max_length`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<usize>,
    /// Samples of a batch.
    pub batch: usize,
    /// Passes over the training samples.
    pub epochs: usize,
    /// Validations in each epoch; the weights of the best are tested.
    pub validations: usize,
    /// Which validation is the best.
    #[serde(default)]
    pub stop_on: StopOn,
    /// Validations without a better one after which a training stops; 0: it never stops before its last epoch.
    #[serde(default)]
    pub patience: u64,
    /// At most this many validation samples and as many test samples, evenly from the split, for a quick look; the card counts
    /// what is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_scored: Option<usize>,
    /// Validations from one checkpoint of a training to the next.
    #[serde(default = "one")]
    pub checkpoint_every: u64,
    /// Keep the model of each training in the run folder.
    #[serde(default)]
    pub keep_models: bool,
    /// Features and head.
    #[serde(default)]
    pub model: ModelConfig,
    /// Optimizer.
    #[serde(default)]
    pub train: TrainConfig,
    /// Learning-rate decay where validations no longer get better.
    #[serde(default)]
    pub plateau: Plateau,
    /// Settings of single rows, by `<encoder>-<mixture>` as tuning finds them, or by `<encoder>` for all rows around it; see
    /// [`Settings`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Settings>,
    /// What `mos-bench tune` searches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<Tune>,
}

/// A row to be trained.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Name of the mixture in the table.
    pub mixture: String,
    /// What is built.
    pub spec: Spec,
    /// The experiment as it is for this row.
    pub experiment: Cow<'a, Experiment>,
}

/// The test samples. Training gets a data set without them.
#[derive(Clone, Debug)]
pub struct HeldOut {
    samples: Vec<Sample>,
    new: Vec<bool>,
}

impl HeldOut {
    /// The samples, in the order of the split.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Of each sample whether its target is an item that training never met.
    pub fn new_targets(&self) -> &[bool] {
        &self.new
    }
}

/// A registered mixture with other options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name of the registered mixture.
    pub of: String,
    /// Its options, over those that the experiment gives that mixture.
    pub options: Value,
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

impl Experiment {
    /// The quick tour: the comparison on synthetic data, sized for five minutes on 2 cores.
    pub fn quick() -> Self {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Self {
            name: "quick".into(),
            data: Source::new("synthetic", None).with("generator", serde_json::json!({ "users": 1200 })),
            task: None,
            encoders: names(&["mean", "din", "twin", "sdim"]),
            mixtures: names(&["none", "scales", "gshard", "mos", "mos-vq", "random_themes", "oracle_themes"]),
            controls: true,
            options: BTreeMap::new(),
            variants: BTreeMap::new(),
            seeds: vec![1, 2, 3],
            max_length: 128,
            lengths: Vec::new(),
            batch: 512,
            epochs: 5,
            validations: 1,
            stop_on: StopOn::default(),
            patience: 0,
            max_scored: None,
            checkpoint_every: 1,
            keep_models: false,
            model: ModelConfig::default(),
            train: TrainConfig { adam: Adam { lr: 6e-3, ..Adam::default() }, ..TrainConfig::default() },
            plateau: Plateau::default(),
            settings: BTreeMap::new(),
            tune: None,
        }
    }

    /// Reads a TOML file, puts parts of configurations over it (as `mos-bench tune` writes one) and applies `key=value`
    /// overrides (`train.adam.lr=0.001`).
    ///
    /// # Errors
    /// A file that cannot be read, a key that does not exist, a value of the wrong kind; each names the place.
    pub fn read(path: Option<&Path>, parts: &[PathBuf], overrides: &[String]) -> anyhow::Result<Self> {
        let place = path.map_or("--set".to_owned(), |p| p.display().to_string());
        let text = |path: &Path| std::fs::read_to_string(path).context(path.display().to_string());
        let mut table = match path {
            Some(path) => {
                let text = text(path)?;
                if overrides.is_empty() && parts.is_empty() {
                    // Read as a whole, an error names its line and column.
                    toml::from_str::<Self>(&text).context(place.clone())?;
                }
                text.parse::<toml::Table>().context(place.clone())?
            }
            None => toml::Table::try_from(Self::quick())?,
        };
        for part in parts {
            let place = part.display().to_string();
            let part = text(part)?.parse::<toml::Table>().context(place.clone())?;
            merge(&mut table, part);
            // Now, so that an error names the part and not the whole.
            toml::Value::Table(table.clone()).try_into::<Self>().context(place)?;
        }
        Self::of(table, &place, overrides)
    }

    /// The experiment that `table`, read at `place`, describes, with overrides as [`Self::read`] takes them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(mut table: toml::Table, place: &str, overrides: &[String]) -> anyhow::Result<Self> {
        for change in overrides {
            let Some((key, value)) = change.split_once('=') else {
                bail!("--set {change}: needs the form key=value");
            };
            // A bare word is a string, anything else is read as TOML.
            let value = format!("v = {value}")
                .parse::<toml::Table>()
                .ok()
                .and_then(|mut t| t.remove("v"))
                .unwrap_or_else(|| toml::Value::String(value.to_owned()));
            let mut at = &mut table;
            let mut parts = key.split('.').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_none() {
                    at.insert(part.to_owned(), value);
                    break;
                }
                at = at
                    .entry(part)
                    .or_insert_with(|| toml::Table::new().into())
                    .as_table_mut()
                    .with_context(|| format!("--set {change}: {part} is not a table"))?;
            }
        }
        if let Some(key) = not_finite(&table, "") {
            bail!("{place}: {key} is not a finite number");
        }
        let mut experiment: Self = toml::Value::Table(table).try_into().context(place.to_owned())?;
        experiment.data = experiment.data.complete().context(place.to_owned())?;
        Ok(experiment)
    }

    /// Checks what can be checked before any data is read.
    ///
    /// # Errors
    /// Sizes of nothing, and names that `registry` does not know or the table does not use.
    pub fn check(&self, registry: &Registry) -> anyhow::Result<()> {
        let lists = [self.encoders.is_empty(), self.mixtures.is_empty(), self.seeds.is_empty()];
        if lists.contains(&true)
            || self.batch == 0
            || self.epochs == 0
            || self.validations == 0
            || self.max_length == 0
            || self.checkpoint_every == 0
            || self.max_scored == Some(0)
        {
            bail!(
                "encoders, mixtures, seeds, batch, epochs, validations, checkpoint_every, max_scored and max_length must not \
                 be empty or 0"
            );
        }
        self.plateau.check()?;
        self.model.check()?;
        self.train.check()?;
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let lengths: Vec<String> = self.lengths.iter().map(usize::to_string).collect();
        if let Some(length) = self.lengths.iter().find(|l| **l == 0 || **l > self.max_length) {
            bail!("lengths: {length} must lie between 1 and max_length = {}", self.max_length);
        }
        for (what, all) in [
            ("seeds", &seeds),
            ("encoders", &self.encoders),
            ("mixtures", &self.mixtures),
            ("lengths", &lengths),
        ] {
            if let Some(twice) = all.iter().enumerate().find(|(i, x)| all[..*i].contains(x)) {
                bail!("{what}: {} stands there twice", twice.1);
            }
        }
        for name in self.variants.keys().chain([&self.name]) {
            if name.is_empty() || name.contains(['/', '\\', '|']) || name.starts_with('.') {
                bail!("{name:?}: the name of an experiment or variant must be the name of a file, without |");
            }
        }
        let registered = |list: &[String], known: &[&str], what: &str| match list
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => {
                let near = nearest_name(name, known.iter().copied()).unwrap_or_default();
                bail!("{what} {name}: not known; did you mean `{near}`?")
            }
        };
        let encoders: Vec<&str> = registry.encoders().map(|e| e.0).collect();
        let mixtures: Vec<&str> = registry.mixtures().map(|m| m.0).collect();
        let with_variants: Vec<&str> =
            mixtures.iter().copied().chain(self.variants.keys().map(String::as_str)).collect();
        registered(&self.encoders, &encoders, "encoder")?;
        registered(&self.mixtures, &with_variants, "mixture")?;
        for (name, variant) in &self.variants {
            registered(std::slice::from_ref(&variant.of), &mixtures, &format!("variants.{name}: mixture"))?;
            if mixtures.contains(&name.as_str()) {
                bail!(
                    "variants.{name}: is the name of a registered mixture; set options.{name} or choose another"
                );
            }
        }
        let known: Vec<&str> = encoders.iter().chain(&mixtures).copied().collect();
        registered(&self.options.keys().cloned().collect::<Vec<_>>(), &known, "options of")?;
        // Rows that this run leaves out may have settings too.
        let mut names: Vec<String> = encoders.iter().map(ToString::to_string).collect();
        names.extend(encoders.iter().flat_map(|e| with_variants.iter().map(move |m| format!("{e}-{m}"))));
        if let Some(name) = self.settings.keys().find(|name| !names.contains(name)) {
            let near = nearest_name(name, names.iter().map(String::as_str)).unwrap_or_default();
            bail!("settings.{name}: no such row; did you mean {near}?");
        }
        let mut files = BTreeSet::new();
        for Row { mixture, spec, experiment } in self.rows()? {
            let file = self.training(&spec.encoder, &mixture, experiment.max_length);
            if !files.insert(file.clone()) {
                bail!("variants.{mixture}: two rows would have the files {file}; give it another name");
            }
            experiment.model.check()?;
            if self.keep_models {
                mos_core::model_folder::check_model(&experiment.model)?;
            }
            experiment.train.check()?;
            registry.check(&spec).with_context(|| format!("{} x {mixture}", spec.encoder))?;
        }
        self.tune.as_ref().map_or(Ok(()), |tune| tune.check(self, registry))
    }

    /// Loads and prepares the data, and takes the test part out of it.
    ///
    /// # Errors
    /// Those of the source.
    pub fn load(&self) -> anyhow::Result<(Dataset<Feed>, HeldOut)> {
        Ok(self.hold_out(self.data.feed(&self.task()?)?))
    }

    /// What is predicted, and how.
    ///
    /// # Errors
    /// Those of the source.
    pub fn task(&self) -> anyhow::Result<TaskConfig> {
        Ok(self.task.clone().map_or_else(|| self.data.task(), Ok)?)
    }

    /// As [`Self::load`], of a log that has been read.
    ///
    /// # Errors
    /// Where the log cannot be made into samples.
    pub fn prepare(&self, log: Log) -> anyhow::Result<(Dataset<Feed>, HeldOut)> {
        Ok(self.hold_out(prepare(log, &self.task()?)?.into_feed()))
    }

    /// Keeps the test samples from training, and thins what is scored where that was asked for.
    fn hold_out(&self, (mut data, mut samples): (Dataset<Feed>, Vec<Sample>)) -> (Dataset<Feed>, HeldOut) {
        if let Some(most) = self.max_scored {
            let left = thin(&mut data.users.valid, most) + thin(&mut samples, most);
            if let Some(clicks) = &mut data.bayes_test {
                thin(clicks, most);
            }
            if left > 0 {
                let what = "validation and test samples left out for a quick look".to_owned();
                data.card.dropped.insert(what, left as u64);
                data.hash_again(&samples);
            }
        }
        for length in self.lengths.iter().chain([&self.max_length]) {
            let later = data.users.valid.iter().chain(&samples).filter(|s| s.end as usize > *length).count();
            let long = data.users.longer_than(*length) + later as u64;
            if long > 0 {
                let what = format!("samples whose history is cut to its last {length} behaviours");
                data.card.dropped.insert(what, long);
            }
        }
        let seen = data.users.seen_in_training();
        let new = samples.iter().map(|s| !seen[s.item as usize]).collect();
        (data, HeldOut { samples, new })
    }

    fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        self.encoders.iter().flat_map(|e| self.mixtures.iter().map(move |m| (e, m)))
    }

    /// What is built for an encoder and a mixture or variant.
    pub fn spec(&self, encoder: &str, mixture: &str) -> Spec {
        let options = |name: &str| self.options.get(name).cloned().unwrap_or_default();
        let variant = self.variants.get(mixture);
        Spec {
            encoder: encoder.to_owned(),
            mixture: variant.map_or(mixture, |v| &v.of).to_owned(),
            encoder_options: options(encoder),
            mixture_options: match variant {
                None => options(mixture),
                Some(variant) => match (options(&variant.of), variant.options.clone()) {
                    (Value::Object(mut of), Value::Object(own)) => {
                        of.extend(own);
                        Value::Object(of)
                    }
                    (_, own) => own,
                },
            },
        }
    }

    /// The settings of a row: those of its encoder, and over them its own.
    pub fn own_settings(&self, encoder: &str, mixture: &str) -> Settings {
        let of = |name: &str| self.settings.get(name).cloned().unwrap_or_default();
        let mut all = of(encoder);
        all.extend(of(&format!("{encoder}-{mixture}")));
        all
    }

    /// This experiment as it is for a row.
    ///
    /// # Errors
    /// Settings of the row that do not fit the experiment.
    pub fn own(&self, encoder: &str, mixture: &str) -> anyhow::Result<Cow<'_, Self>> {
        let settings = self.own_settings(encoder, mixture);
        if settings.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let place = || format!("settings of {encoder} x {mixture}");
        with(self, &settings).with_context(place).map(Cow::Owned)
    }

    /// This experiment with one row alone, and histories of `length`.
    #[must_use]
    pub fn only(&self, encoder: &str, mixture: &str, length: usize) -> Self {
        let mut one = Self {
            encoders: vec![encoder.into()],
            mixtures: vec![mixture.into()],
            max_length: length,
            lengths: Vec::new(),
            tune: None,
            ..self.clone()
        };
        let pair = format!("{encoder}-{mixture}");
        one.settings.retain(|name, _| *name == encoder || *name == pair);
        one
    }

    /// The rows of the table, in order: encoders, mixtures, lengths.
    ///
    /// # Errors
    /// Settings of a row that do not fit the experiment.
    pub fn rows(&self) -> anyhow::Result<Vec<Row<'_>>> {
        let mut rows = Vec::new();
        for (encoder, mixture) in self.pairs() {
            let own = self.own(encoder, mixture)?;
            let others = self.lengths.iter().copied().filter(|l| *l != self.max_length);
            for length in others.chain([self.max_length]) {
                let mut experiment = own.clone();
                if length != self.max_length {
                    experiment.to_mut().max_length = length;
                }
                rows.push(Row {
                    mixture: mixture.clone(),
                    spec: experiment.spec(encoder, mixture),
                    experiment,
                });
            }
        }
        Ok(rows)
    }

    /// Name of a row's files: encoder and mixture, and the length where it is another than `max_length`.
    pub fn training(&self, encoder: &str, mixture: &str, length: usize) -> String {
        if length == self.max_length {
            format!("{encoder}-{mixture}")
        } else {
            format!("{encoder}-{mixture}-L{length}")
        }
    }

    /// SHA-256 of the resolved configuration.
    ///
    /// # Errors
    /// None in practice: the configuration is plain data.
    pub fn sha256(&self) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(self)?);
        Ok(mos_data::rng::hex(hash))
    }
}

/// Puts `over` over `table`, tables into tables.
fn merge(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(over)) => merge(inner, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Keeps at most `most`, evenly; how many were left out.
fn thin<T>(all: &mut Vec<T>, most: usize) -> usize {
    let (n, mut next) = (all.len(), 0);
    if n > most {
        all.retain(|_| {
            let at = next;
            next += 1;
            // The first of each of `most` nearly equal pieces.
            at == 0 || at * most / n > (at - 1) * most / n
        });
        all.shrink_to_fit();
    }
    n - all.len()
}

/// The dotted name of a number that is not finite: JSON, in which a configuration is hashed, has none.
fn not_finite(table: &toml::Table, at: &str) -> Option<String> {
    table.iter().find_map(|(key, value)| match value {
        toml::Value::Float(x) if !x.is_finite() => Some(format!("{at}{key}")),
        toml::Value::Table(inner) => not_finite(inner, &format!("{at}{key}.")),
        _ => None,
    })
}
