//! Where logs come from: one file per published layout.
//!
//! A layout is a type of plain options that is a [`Format`]; one line in [`FORMATS`] makes it known. A [`Source`] names a
//! format, a path and options, as a configuration does.

mod amazon;
mod blocks;
mod builder;
mod columns;
mod convert;
mod csv;
mod dates;
mod diginetica;
mod ebnerd;
mod files;
mod foursquare;
mod fuxictr;
mod gowalla;
mod json;
mod jsonl;
mod kuairand;
mod kuairec;
mod lastfm;
mod likely;
mod longctr;
mod mind;
mod movielens;
mod parquet;
mod parts;
mod python;
mod reading;
mod recbole;
mod rechorus;
mod reczoo;
mod retailrocket;
mod row;
pub mod schema;
pub mod sets;
mod steam;
mod store;
pub mod synthetic;
mod table;
mod taobao;
mod taobao_ad;
mod watch;
mod yoochoose;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use files::{Files, Member};
pub use reading::Reading;
pub use watch::Note;

use crate::{
    Cuts, Dataset, Error, Feed, LabelRule, Log, Result, Sample, Sessionizer, Store, TaskConfig, events::Keep,
    feed::Stream, nearest_name, prepare,
};

/// A published layout: its options, how it is read, and the prediction task that goes with it.
pub trait Format: Default + Serialize + DeserializeOwned {
    /// Name in configurations and commands.
    const NAME: &'static str;
    /// What it is, in one line.
    const LINE: &'static str;

    /// Reads the log.
    ///
    /// # Errors
    /// What cannot be read, with file, line, column, text and likely fix, where `reading` does not tolerate it.
    fn read(&self, reading: &Reading) -> Result<Log>;

    /// What is predicted, where nothing else is asked for.
    ///
    /// # Errors
    /// Options that cannot be read.
    fn task(&self) -> Result<TaskConfig> {
        Ok(task(LabelRule::SAMPLED, Sessionizer::HALF_HOUR))
    }

    /// Blocks of a window, where users are to be read from disk again and again instead of being in memory.
    fn window(&self) -> Option<usize> {
        None
    }

    /// The same as [`Self::task`] for a format that says it where the data is.
    ///
    /// # Errors
    /// Options or files that cannot be read.
    fn task_at(&self, _path: Option<&Path>) -> Result<TaskConfig> {
        self.task()
    }
}

/// A task with these labels and sessions; the last fifth of time is held out.
fn task(label: LabelRule, session: Sessionizer) -> TaskConfig {
    let cuts = Cuts::Quantile { valid: 0.8, test: 0.9 };
    TaskConfig { label, session, cuts, min_history: 0, max_train: None, seed: 0 }
}

/// Clicks on shown items, in the parts in which the set was published.
fn published() -> TaskConfig {
    TaskConfig { cuts: Cuts::Published {}, ..task(LabelRule::Impressions {}, Sessionizer::HALF_HOUR) }
}

/// A log by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the format.
    pub source: String,
    /// Where the set lies: a file, a folder or a zip archive, files plain or gzip; absent where nothing is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Options of the format; what is left out has its default.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

/// A log that was read for a check.
#[derive(Debug)]
pub struct Checked {
    /// The log, without the rows that could not be read.
    pub log: Log,
    /// Why each of these could not be read.
    pub errors: Vec<Error>,
    /// What is legal in the others, but seldom meant.
    pub notes: Vec<Note>,
}

/// Options, path and, for a check, the number of tolerated errors to the log and what was found.
type Load = fn(&Value, Option<&Path>, Option<usize>) -> Result<Checked>;

/// Options, path and behaviours that are kept to the log and, where these are too many, their number for each user.
type Part = fn(&Value, &Path, Keep) -> Result<(Log, Option<Vec<u64>>)>;

/// A known format.
#[derive(Clone, Copy)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub line: &'static str,
    load: Load,
    part: Part,
    task: fn(&Value, Option<&Path>) -> Result<TaskConfig>,
    window: fn(&Value) -> Result<Option<usize>>,
    complete: fn(&Value) -> Result<Value>,
}

/// Every format, in the order in which they are listed.
pub const FORMATS: &[Known] = &[
    Known::generated(),
    Known::of::<taobao::Taobao>(),
    Known::of::<movielens::MovieLens>(),
    Known::of::<amazon::Amazon>(),
    Known::of::<steam::Steam>(),
    Known::of::<retailrocket::Retailrocket>(),
    Known::of::<yoochoose::Yoochoose>(),
    Known::of::<diginetica::Diginetica>(),
    Known::of::<mind::Mind>(),
    Known::of::<gowalla::Gowalla>(),
    Known::of::<foursquare::Foursquare>(),
    Known::of::<lastfm::LastFm>(),
    Known::of::<recbole::RecBole>(),
    Known::of::<rechorus::ReChorus>(),
    Known::of::<reczoo::KuaiVideo>(),
    Known::of::<reczoo::MicroVideo>(),
    Known::of::<reczoo::EbnerdSmall>(),
    Known::of::<ebnerd::Ebnerd>(),
    Known::of::<taobao_ad::TaobaoAd>(),
    Known::of::<kuairand::KuaiRand>(),
    Known::of::<kuairec::KuaiRec>(),
    Known::of::<fuxictr::FuxiCtr>(),
    Known::of::<csv::Csv>(),
    Known::of::<jsonl::Jsonl>(),
    Known::of::<parquet::Parquet>(),
    Known::of::<store::Stored>(),
];

fn options<F: DeserializeOwned>(name: &str, value: &Value) -> Result<F> {
    serde_json::from_value(value.clone()).map_err(|e| Error::config("data", name, e))
}

/// The options with every one in place.
fn complete<F: DeserializeOwned + Serialize>(name: &str, value: &Value) -> Result<Value> {
    serde_json::to_value(options::<F>(name, value)?).map_err(|e| Error::config("data", name, e))
}

impl Known {
    const fn of<F: Format>() -> Self {
        Self {
            name: F::NAME,
            line: F::LINE,
            load: |value, path, check| {
                let format: F = options(F::NAME, value)?;
                let path = path.ok_or_else(|| Error::config("data.path", "", "this source reads files"))?;
                let reading =
                    check.map_or_else(|| Reading::strict(path), |most| Reading::checking(path, most))?;
                let log = format.read(&reading);
                let (errors, notes) = reading.into_findings();
                // What was left out says more than what came of it.
                match log {
                    Ok(log) => Ok(Checked { log, errors, notes }),
                    Err(error) if errors.is_empty() => Err(error),
                    Err(_) => Err(Error::Rows(errors)),
                }
            },
            part: |value, path, keep| {
                let reading = Reading::of(path, keep)?;
                let log = options::<F>(F::NAME, value)?.read(&reading)?;
                Ok((log, reading.counts.take()))
            },
            task: |value, path| options::<F>(F::NAME, value)?.task_at(path),
            window: |value| Ok(options::<F>(F::NAME, value)?.window()),
            complete: |value| complete::<F>(F::NAME, value),
        }
    }

    const fn generated() -> Self {
        use synthetic::Synthetic;
        Self {
            name: Synthetic::NAME,
            line: Synthetic::LINE,
            load: |value, path, _| match path {
                Some(path) => {
                    Err(Error::config("data.path", path.display(), "synthetic data is generated, not read"))
                }
                None => {
                    let log = options::<Synthetic>(Synthetic::NAME, value)?.generator.generate()?;
                    Ok(Checked { log, errors: Vec::new(), notes: Vec::new() })
                }
            },
            part: |value, _, _| {
                Ok((options::<Synthetic>(Synthetic::NAME, value)?.generator.generate()?, None))
            },
            task: |value, _| Ok(options::<Synthetic>(Synthetic::NAME, value)?.generator.task()),
            window: |_| Ok(None),
            complete: |value| complete::<Synthetic>(Synthetic::NAME, value),
        }
    }
}

impl Source {
    /// A source with default options.
    pub fn new(name: &str, path: Option<PathBuf>) -> Self {
        Self { source: name.to_owned(), path, options: Map::new() }
    }

    /// The same with an option.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.options.insert(option.to_owned(), value.into());
        self
    }

    fn known(&self) -> Result<(&'static Known, Value)> {
        let known = FORMATS.iter().find(|f| f.name == self.source).ok_or_else(|| {
            let near = nearest_name(&self.source, FORMATS.iter().map(|f| f.name)).unwrap_or_default();
            Error::config("data.source", &self.source, format!("no such source; did you mean {near}?"))
        })?;
        Ok((known, Value::Object(self.options.clone())))
    }

    /// The same source with every option in place.
    ///
    /// # Errors
    /// [`Error::Config`] for a source or option that does not exist.
    pub fn complete(mut self) -> Result<Self> {
        let (known, options) = self.known()?;
        if let Value::Object(all) = (known.complete)(&options)? {
            self.options = all;
        }
        Ok(self)
    }

    /// Reads the log.
    ///
    /// # Errors
    /// Those of the source: file, line, column, text and likely fix.
    pub fn load(&self) -> Result<Log> {
        Ok(self.read(None)?.log)
    }

    /// Reads the log, leaves out up to `most` rows that cannot be read, and looks for what is legal but seldom meant.
    ///
    /// # Errors
    /// [`Error::Rows`], the errors so far, where nothing can be made of the rest or there are more than `most`; any other
    /// error as it is.
    pub fn check(&self, most: usize) -> Result<Checked> {
        self.read(Some(most))
    }

    fn read(&self, check: Option<usize>) -> Result<Checked> {
        let (known, options) = self.known()?;
        (known.load)(&options, self.path.as_deref(), check)
    }

    /// Whether users are read from disk again and again instead of being in memory.
    ///
    /// # Errors
    /// [`Error::Config`] for a source or option that does not exist.
    pub fn is_streamed(&self) -> Result<bool> {
        let (known, options) = self.known()?;
        Ok((known.window)(&options)?.is_some())
    }

    /// Prepares a task, in memory or, for a store that is to be streamed, on disk. The second value is the test samples, which a
    /// training does not get.
    ///
    /// # Errors
    /// Those of the source and of [`prepare`].
    pub fn feed(&self, task: &TaskConfig) -> Result<(Dataset<Feed>, Vec<Sample>)> {
        let (known, options) = self.known()?;
        match ((known.window)(&options)?, &self.path) {
            (Some(window), Some(path)) => Stream::prepare(Store::open(path)?, task, window),
            _ => Ok(prepare(self.load()?, task)?.into_feed()),
        }
    }

    /// The prediction task that goes with the source, where nothing else is asked for.
    ///
    /// # Errors
    /// Options that cannot be read.
    pub fn task(&self) -> Result<TaskConfig> {
        let (known, options) = self.known()?;
        (known.task)(&options, self.path.as_deref())
    }
}
