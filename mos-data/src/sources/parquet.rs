//! Any parquet file with one event or impression per row, described by a schema: the same as for delimited text.
//!
//! Columns go by name, or by number from 1. A column whose type is a time is read in the schema's `time_unit`; times that
//! are plain numbers must be in that unit already. Cells that are lists have no meaning here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::{Ids, LogBuilder},
    columns::Columns,
    csv::{Places, one_row},
    schema::Schema,
};
use crate::{Impression, Log, Result, TaskConfig};

/// Columns of a parquet file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parquet {
    /// The schema file.
    schema: PathBuf,
}

impl Format for Parquet {
    const NAME: &'static str = "parquet";
    const LINE: &'static str = "any parquet file, described by --schema FILE.toml";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let schema = Schema::read(&self.schema)?;
        let ticks = schema.ticks();
        let file = reading.files.main(&["log.parquet"])?;
        let columns = Columns::open(&file, ticks)?;
        let places = Places::of(&schema, &file.path, columns.names(), columns.names().len())?;
        let mut log = LogBuilder::new(reading);
        log.impressions = places.label.map(|_| Vec::<Impression>::new());
        let mut sessions = Ids::default();
        columns.each(reading, &places.all(), |row| one_row(row, &places, ticks, &mut log, &mut sessions))?;
        let stem = file.path.file_stem().map(|n| n.to_string_lossy().into_owned());
        log.build(&schema.name.clone().or(stem).unwrap_or_else(|| "parquet".into()), ticks)
    }

    fn task(&self) -> Result<TaskConfig> {
        Schema::read(&self.schema).map(|schema| schema.task())
    }
}
