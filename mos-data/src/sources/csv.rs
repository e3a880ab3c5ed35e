//! Any delimited text with one event or impression per row, described by a schema.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::{Ids, LogBuilder},
    schema::{Column, Schema},
    table::{Layout, Row, Table},
};
use crate::{Error, Event, Impression, Log, Result, TaskConfig, nearest_name};

/// Delimited text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Csv {
    /// The schema file.
    schema: PathBuf,
}

impl Format for Csv {
    const NAME: &'static str = "csv";
    const LINE: &'static str = "any delimited text, described by --schema FILE.toml";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let schema = Schema::read(&self.schema)?;
        let file = reading.files.main(&["log.csv"])?;
        let path = &file.path;
        let Schema { separator, header, quotes, .. } = &schema;
        let layout = Layout { separator, header: *header, quotes: *quotes, columns: None };
        let mut table = Table::open(&file, layout)?;
        let places = Places::of(&schema, path, table.header(), table.columns())?;
        if table.header().get(places.time).is_some_and(|name| name.parse::<f64>().is_ok()) {
            return Err(Error::file(
                path,
                format!(
                    "the first line is to name the columns, but its time is {:?}",
                    table.header()[places.time]
                ),
                "set header = false in the schema, and name columns by number",
            ));
        }
        let mut log = LogBuilder::new(reading);
        log.impressions = places.label.map(|_| Vec::new());
        let mut sessions = Ids::default();
        let ticks = schema.ticks();
        table.each(reading, |row| one_row(row, &places, ticks, &mut log, &mut sessions))?;
        let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned());
        log.build(&schema.name.clone().or(stem).unwrap_or_else(|| "csv".into()), ticks)
    }

    fn task(&self) -> Result<TaskConfig> {
        Schema::read(&self.schema).map(|schema| schema.task())
    }
}

/// Places of the columns in a row.
pub(super) struct Places {
    user: usize,
    item: usize,
    time: usize,
    category: Option<usize>,
    behaviour: Option<usize>,
    session: Option<usize>,
    rating: Option<usize>,
    pub(super) label: Option<usize>,
}

impl Places {
    pub(super) fn of(schema: &Schema, file: &Path, header: &[String], columns: usize) -> Result<Self> {
        let needed = |c: &Column| place(c, file, header, columns);
        let optional = |c: &Option<Column>| c.as_ref().map(needed).transpose();
        Ok(Self {
            user: needed(&schema.user)?,
            item: needed(&schema.item)?,
            time: needed(&schema.time)?,
            category: optional(&schema.category)?,
            behaviour: optional(&schema.behaviour)?,
            session: optional(&schema.session)?,
            rating: optional(&schema.rating)?,
            label: optional(&schema.label)?,
        })
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<usize> {
        let Self { user, item, time, category, behaviour, session, rating, label } = *self;
        let optional = [category, behaviour, session, rating, label];
        [user, item, time].into_iter().chain(optional.into_iter().flatten()).collect()
    }
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

/// Takes one event or impression into the log.
pub(super) fn one_row(
    row: &Row<'_>,
    at: &Places,
    ticks: i64,
    log: &mut LogBuilder,
    sessions: &mut Ids,
) -> Result<()> {
    let (user, item, time) = (row.id(at.user)?, row.id(at.item)?, row.time(at.time, ticks)?);
    let rating = at.rating.map(|c| row.float(c)).transpose()?;
    let label = at.label.map(|c| row.label(c)).transpose()?;
    // All is read before anything is kept, so that a refused row leaves nothing behind.
    let clicked = label.is_none_or(|l| l > 0.5);
    let of_clicks = |c: Option<usize>| c.filter(|_| clicked).map(|c| row.id(c)).transpose();
    let (behaviour, session) = (of_clicks(at.behaviour)?, of_clicks(at.session)?);
    let (user, item) = (log.users.number(&user), log.items.number(&item));
    if let Some(c) = at.category {
        log.categorise(item, &row.text(c));
    }
    if let (Some(label), Some(impressions)) = (label, &mut log.impressions) {
        impressions.push(Impression { user, item, time, label });
    }
    if clicked {
        // The builder refuses more than 255 kinds.
        let behaviour = behaviour.map_or(0, |b| log.behaviours.number(&b) as u8);
        let session = session.map(|s| u64::from(sessions.number(&s)));
        log.events.push(Event { user, item, time, behaviour, rating, session });
    }
    Ok(())
}
