//! Any delimited text with one event or impression per row, described by a small schema file.
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

use super::{
    builder::LogBuilder,
    table::{Layout, Row, Table},
};
use crate::{Error, Event, Impression, LabelRule, Log, Result, Sessionizer, error::nearest_name};

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

    /// Ticks of one second.
    fn ticks(&self) -> i64 {
        match self.time_unit {
            TimeUnit::Seconds => 1,
            TimeUnit::Milliseconds => 1000,
            TimeUnit::Microseconds => 1_000_000,
        }
    }
}

/// Places of the columns in a row.
struct Places {
    user: usize,
    item: usize,
    time: usize,
    category: Option<usize>,
    behaviour: Option<usize>,
    session: Option<usize>,
    rating: Option<usize>,
    label: Option<usize>,
}

fn place(column: &Column, file: &Path, header: &[String], columns: usize) -> Result<usize> {
    match column {
        Column::Number(n) if (1..=columns).contains(n) => Ok(n - 1),
        Column::Number(n) => Err(Error::file(
            file,
            format!("the schema names column {n}, the file has {columns}"),
            "columns are numbered from 1; is the separator right?",
        )),
        Column::Name(name) if header.iter().filter(|h| *h == name).count() > 1 => Err(Error::file(
            file,
            format!("the schema names column {name:?}, which is there more than once"),
            "rename one in the file, or use column numbers",
        )),
        Column::Name(name) => header.iter().position(|h| h == name).ok_or_else(|| {
            let names = header.iter().map(String::as_str);
            let hint = match nearest_name(name, names) {
                Some(near) => format!("did you mean {near:?}? The columns are {}", header.join(", ")),
                None => "a file without header needs column numbers".into(),
            };
            Error::file(file, format!("the schema names column {name:?}, which is not there"), hint)
        }),
    }
}

/// Reads a file by its schema.
///
/// # Errors
/// [`Error::Row`] at the first row that cannot be read, [`Error::File`] for a column that is not there.
pub fn read(path: &Path, schema: &Schema) -> Result<Log> {
    let Schema { separator, header, quotes, .. } = schema;
    let layout = Layout { separator, header: *header, quotes: *quotes, columns: None };
    let mut table = Table::open(path, layout)?;
    let (header, columns) = (table.header().to_vec(), table.columns());
    let needed = |c: &Column| place(c, path, &header, columns);
    let optional = |c: &Option<Column>| c.as_ref().map(needed).transpose();
    let places = Places {
        user: needed(&schema.user)?,
        item: needed(&schema.item)?,
        time: needed(&schema.time)?,
        category: optional(&schema.category)?,
        behaviour: optional(&schema.behaviour)?,
        session: optional(&schema.session)?,
        rating: optional(&schema.rating)?,
        label: optional(&schema.label)?,
    };
    if header.get(places.time).is_some_and(|name| name.parse::<f64>().is_ok()) {
        return Err(Error::file(
            path,
            format!("the first line is to name the columns, but its time is {:?}", header[places.time]),
            "set header = false in the schema, and name columns by number",
        ));
    }
    let mut log = LogBuilder::new();
    log.impressions = places.label.map(|_| Vec::new());
    let mut sessions = super::builder::Ids::default();
    while let Some(row) = table.next()? {
        one_row(&row, &places, schema.ticks(), &mut log, &mut sessions)?;
    }
    let file = path.file_stem().map(|n| n.to_string_lossy().into_owned());
    let name = schema.name.clone().or(file).unwrap_or_else(|| "csv".into());
    log.build(&name, schema.ticks())
}

fn one_row(
    row: &Row<'_>,
    at: &Places,
    ticks: i64,
    log: &mut LogBuilder,
    sessions: &mut super::builder::Ids,
) -> Result<()> {
    let (user, item, time) = (row.id(at.user)?, row.id(at.item)?, row.time(at.time, ticks)?);
    let rating = at.rating.map(|c| row.float(c)).transpose()?;
    let label = at.label.map(|c| match row.text(c).as_ref() {
        "1" | "1.0" => Ok(1.0f32),
        "0" | "0.0" => Ok(0.0),
        _ => Err(row.fail(c, "is no label", "0 or 1; for graded values use `rating` and a rule")),
    });
    let label = label.transpose()?;
    let (user, item) = (log.users.number(&user), log.items.number(&item));
    if let Some(c) = at.category {
        log.categorise(item, &row.text(c));
    }
    if let (Some(label), Some(impressions)) = (label, &mut log.impressions) {
        impressions.push(Impression { user, item, time, label });
    }
    if label.is_none_or(|l| l > 0.5) {
        let behaviour = at.behaviour.map(|c| row.id(c)).transpose()?;
        // The builder refuses more than 255 kinds.
        let behaviour = behaviour.map_or(0, |b| log.behaviours.number(&b) as u8);
        let session = at.session.map(|c| row.id(c)).transpose()?;
        let session = session.map(|s| u64::from(sessions.number(&s)));
        log.events.push(Event { user, item, time, behaviour, rating, session });
    }
    Ok(())
}
