//! What the columns of any table with one event or impression per row mean: a small file of the user's.
//!
//! ```toml
//! # Columns by name, or by number from 1 where the file has no header.
//! user = "visitor"
//! item = "product"
//! time = "when"
//! time_unit = "milliseconds"     # seconds (default), milliseconds, microseconds
//! separator = ";"                # default ","
//! category = "department"        # optional, as are behaviour, session, rating and label
//! rating = "stars"
//!
//! [rule]                         # what is predicted; optional
//! from = "rating"
//! at_least = 4.0
//! ```
//!
//! With a `label` column each row is a shown item, 1 = clicked, 0 = not; clicks form the histories. Without it each row
//! is a behaviour.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, LabelRule, Result, Sessionizer, TaskConfig};

/// A column by name or by number from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// Number, from 1.
    Number(usize),
    /// Name in the header.
    Name(String),
}

/// What one unit of the time column is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Unix seconds.
    #[default]
    Seconds,
    /// A thousandth.
    Milliseconds,
    /// A millionth.
    Microseconds,
}

/// What the columns of a file mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Name of the data set; default: the file's.
    pub name: Option<String>,
    /// Between columns.
    #[serde(default = "comma")]
    pub separator: String,
    /// Whether the first line names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// Whether `"` encloses fields.
    #[serde(default = "yes")]
    pub quotes: bool,
    /// User id.
    pub user: Column,
    /// Item id.
    pub item: Column,
    /// Time.
    pub time: Column,
    /// Unit of time.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// Category of the item.
    pub category: Option<Column>,
    /// Kind of behaviour.
    pub behaviour: Option<Column>,
    /// Session, any text: a change of it starts a session.
    pub session: Option<Column>,
    /// Rating.
    pub rating: Option<Column>,
    /// 0 or 1: the row is an impression.
    pub label: Option<Column>,
    /// What is predicted. Default: the label where there is one, else sampled negatives.
    pub rule: Option<LabelRule>,
}

fn comma() -> String {
    ",".into()
}

fn yes() -> bool {
    true
}

impl Schema {
    /// Reads a schema file.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, a key that does not exist or one that is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e, "check the path"))?;
        let schema: Self = toml::from_str(&text).map_err(|e| {
            Error::file(path, e.to_string().trim_end(), "see the keys of a schema in the documentation")
        })?;
        if schema.separator.is_empty() {
            return Err(Error::file(path, "separator is empty", "for example \",\" or \"\\t\""));
        }
        if schema.label.is_some() && !matches!(schema.rule, None | Some(LabelRule::Impressions {})) {
            let message =
                "a `label` column makes each row a shown item, so the rule can only be \"impressions\"";
            return Err(Error::file(path, message, "drop the rule, or name the column `rating`"));
        }
        Ok(schema)
    }

    /// What is predicted.
    pub fn rule(&self) -> LabelRule {
        self.rule.unwrap_or(if self.label.is_some() { LabelRule::Impressions {} } else { LabelRule::SAMPLED })
    }

    /// Sessions: the schema's column, else gaps of half an hour.
    pub fn sessions(&self) -> Sessionizer {
        if self.session.is_some() { Sessionizer::Given {} } else { Sessionizer::HALF_HOUR }
    }

    /// The task that goes with it.
    pub(super) fn task(&self) -> TaskConfig {
        super::task(self.rule(), self.sessions())
    }

    /// Ticks of one second.
    pub(super) fn ticks(&self) -> i64 {
        self.time_unit.ticks()
    }
}

impl TimeUnit {
    /// How many make a second.
    pub(super) fn ticks(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds => 1000,
            Self::Microseconds => 1_000_000,
        }
    }
}
