//! Where logs come from: one file per source.

mod builder;
pub mod general;
pub mod movielens;
pub mod synthetic;
mod table;
pub mod taobao;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Cuts, Error, LabelRule, Log, Result, Sessionizer, TaskConfig};
use general::Schema;
use synthetic::SyntheticConfig;
use taobao::TaobaoItems;

/// A log, named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// The generator of session-hopping histories.
    Synthetic {
        /// The generator's choices.
        #[serde(default)]
        generator: SyntheticConfig,
    },
    /// Taobao UserBehavior.
    Taobao {
        /// `UserBehavior.csv`, plain or gzip, or its folder.
        path: PathBuf,
        /// What counts as an item.
        #[serde(default)]
        items: TaobaoItems,
    },
    /// Any MovieLens set.
    Movielens {
        /// The file of ratings, plain or gzip, or its folder.
        path: PathBuf,
    },
    /// Any delimited text.
    Csv {
        /// The file, plain or gzip.
        path: PathBuf,
        /// Its schema.
        schema: PathBuf,
    },
}

/// Name and line of every source.
pub const SOURCES: [(&str, &str); 4] = [
    ("synthetic", "generated session-hopping histories with planted themes (no PATH)"),
    ("taobao", "Taobao UserBehavior.csv, plain or gzip"),
    ("movielens", "MovieLens u.data, ratings.dat or ratings.csv, with the films beside it"),
    ("csv", "any delimited text, described by --schema FILE.toml"),
];

impl Source {
    /// Reads the log.
    ///
    /// # Errors
    /// Those of the source: file, line, column, text and likely fix.
    pub fn load(&self) -> Result<Log> {
        match self {
            Self::Synthetic { generator } => generator.generate(),
            Self::Taobao { path, items } => taobao::read(path, *items),
            Self::Movielens { path } => movielens::read(path),
            Self::Csv { path, schema } => general::read(path, &Schema::read(schema)?),
        }
    }

    /// The prediction task that goes with the source, where nothing else is asked for.
    ///
    /// # Errors
    /// A schema that cannot be read.
    pub fn task(&self) -> Result<TaskConfig> {
        let (label, session) = match self {
            Self::Synthetic { generator } => return Ok(generator.task()),
            Self::Taobao { .. } => (LabelRule::SAMPLED, Sessionizer::HALF_HOUR),
            Self::Movielens { .. } => (LabelRule::Rating { at_least: 4.0 }, Sessionizer::HALF_HOUR),
            Self::Csv { schema, .. } => {
                let schema = Schema::read(schema)?;
                (schema.rule(), schema.sessions())
            }
        };
        Ok(TaskConfig {
            label,
            session,
            cuts: Cuts::Quantile { valid: 0.8, test: 0.9 },
            min_history: 0,
            max_train: None,
            seed: 0,
        })
    }
}

/// `path` itself, or the first of `names` in the folder `path`.
fn find(path: &Path, names: &[&str]) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    names.iter().map(|n| path.join(n)).find(|f| f.exists()).ok_or_else(|| {
        Error::file(
            path,
            "none of the expected files is in this folder",
            format!("expected {}", names.join(" or ")),
        )
    })
}
