//! Any lines of JSON with one event or impression per line, described by the schema of the `csv` source.
//!
//! Fields have names, `user.id` leads into nested records. `separator`, `header` and `quotes` of the schema say nothing
//! here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::{Ids, LogBuilder},
    csv::{Places, one_row},
    schema::{Column, Schema},
    table::Table,
};
use crate::{Error, Log, Result, TaskConfig};

/// Lines of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Jsonl {
    /// The schema file.
    schema: PathBuf,
}

impl Format for Jsonl {
    const NAME: &'static str = "jsonl";
    const LINE: &'static str = "any lines of JSON, described by --schema FILE.toml";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let schema = Schema::read(&self.schema)?;
        let file = reading.files.main(&["log.jsonl", "log.json"])?;
        let (fields, needed) = self.fields(&schema)?;
        let mut table = Table::records(&file, &fields, needed)?;
        let places = Places::of(&schema, &file.path, table.header(), table.columns())?;
        let mut log = LogBuilder::new(reading);
        log.impressions = schema.label.as_ref().map(|_| Vec::new());
        let mut sessions = Ids::default();
        let ticks = schema.ticks();
        table.each(reading, |row| one_row(row, &places, ticks, &mut log, &mut sessions))?;
        log.build(&schema.name.clone().unwrap_or_else(|| reading.files.name()), ticks)
    }

    fn task(&self) -> Result<TaskConfig> {
        Schema::read(&self.schema).map(|schema| schema.task())
    }
}

impl Jsonl {
    /// The fields that the schema names, and how many of them every record must have: all but the category.
    fn fields<'a>(&self, schema: &'a Schema) -> Result<(Vec<&'a str>, usize)> {
        let needed = [Some(&schema.user), Some(&schema.item), Some(&schema.time)];
        let optional = [&schema.behaviour, &schema.session, &schema.rating, &schema.label];
        let mut names = Vec::new();
        let mut take = |column: &'a Column| match column {
            Column::Name(name) => {
                if !names.contains(&name.as_str()) {
                    names.push(name.as_str());
                }
                Ok(names.len())
            }
            Column::Number(n) => Err(Error::file(
                &self.schema,
                format!("names column {n}, but records of JSON have fields by name"),
                "give the name of the field, user.id for one inside another record",
            )),
        };
        let mut count = 0;
        for column in needed.into_iter().chain(optional.map(Option::as_ref)).flatten() {
            count = take(column)?;
        }
        schema.category.as_ref().map(take).transpose()?;
        Ok((names, count))
    }
}
