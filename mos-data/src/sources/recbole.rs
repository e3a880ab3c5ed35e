//! RecBole's atomic files (Zhao et al., CIKM 2021): `.inter`, with `.item` and `.user` beside it, or the three parts
//! `x.train.inter`, `x.valid.inter` and `x.test.inter`.
//!
//! Tabs, and a header of names with types: `user_id:token item_id:token rating:float timestamp:float`. Types are `token`,
//! `token_seq` (blanks between), `float` and `float_seq`. Options say which names mean user, item, time, rating and label.
//!
//! - A `label` (0 or 1) makes each row a shown item; clicks are the behaviours, further tokens of `.inter` are the context of
//!   the shown item, and the parts are the published split. Without it each row is a behaviour, and further columns are not
//!   used.
//! - `.item`: tokens are attributes, the first `float_seq` is the content vector, single floats are not used. The category is
//!   the first token of the option `category`, by default of `class`, `genre`, `genres`, `categories`, `category`,
//!   `category_id` or `cate_id`, whichever comes first.
//! - `.user`: tokens are context.
//!
//! Fractions of the time unit are cut off.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    files::Member,
    parts::parts,
    schema::TimeUnit,
    table::{Layout, Row, Table},
};
use crate::{Error, Event, Impression, Log, Part, Published, Result};

/// RecBole's atomic files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RecBole {
    user: String,
    item: String,
    time: String,
    rating: String,
    label: String,
    time_unit: TimeUnit,
    /// Field of `.item` that is the category.
    category: Option<String>,
}

impl Default for RecBole {
    fn default() -> Self {
        Self {
            user: "user_id".into(),
            item: "item_id".into(),
            time: "timestamp".into(),
            rating: "rating".into(),
            label: "label".into(),
            time_unit: TimeUnit::Seconds,
            category: None,
        }
    }
}

const CATEGORIES: [&str; 7] =
    ["class", "genre", "genres", "categories", "category", "category_id", "cate_id"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Token,
    TokenSeq,
    Float,
    FloatSeq,
}

/// A table and what its header says.
struct Typed {
    table: Table,
    file: Member,
    columns: Vec<(String, Type)>,
}

impl Format for RecBole {
    const NAME: &'static str = "recbole";
    const LINE: &'static str = "RecBole atomic files: x.inter, with x.item and x.user beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let files = parts(reading, "x.inter", |name| name.rsplit('.').next() == Some("inter"))?;
        let mut log = LogBuilder::new(reading);
        let mut context = None;
        for (part, file) in &files {
            self.interactions(*part, Typed::open(file)?, reading, &mut log, &mut context)?;
        }
        let name = files[0].1.name();
        let set = name.split('.').next().unwrap_or_default();
        let side = |ending: &str| reading.files.find(&[&format!("{set}.{ending}")]);
        if let Some(file) = side("item") {
            self.items(Typed::open(&file)?, reading, &mut log)?;
        }
        if let Some(file) = side("user") {
            self.users(Typed::open(&file)?, reading, &mut log)?;
        }
        log.build(set, self.time_unit.ticks())
    }
}

impl RecBole {
    fn interactions(
        &self,
        part: Option<Part>,
        mut from: Typed,
        reading: &Reading,
        log: &mut LogBuilder,
        context: &mut Option<Vec<usize>>,
    ) -> Result<()> {
        let [user, item, time] =
            [from.column(&self.user)?, from.column(&self.item)?, from.column(&self.time)?];
        let (rating, label) = (from.find(&self.rating), from.find(&self.label));
        let fields: Vec<(usize, usize)> = (0..from.columns.len())
            .filter(|c| label.is_some() && ![user, item, time].contains(c) && from.token(*c))
            .map(|c| (c, log.impression_field(&from.columns[c].0)))
            .collect();
        let mut numbers: Vec<usize> = fields.iter().map(|f| f.1).collect();
        numbers.sort_unstable();
        if *context.get_or_insert_with(|| numbers.clone()) != numbers {
            let message = "the parts have different columns";
            return Err(Error::file(
                &from.file.path,
                message,
                "the first line of each part must name the same ones",
            ));
        }
        from.table.each(reading, |row| {
            let (user, item) = (row.id(user)?, row.id(item)?);
            let time = self.moment(row, time)?;
            let rating = rating.map(|c| row.float(c)).transpose()?;
            let label = label.map(|c| row.label(c)).transpose()?;
            let (user, item) = (log.users.number(&user), log.items.number(&item));
            if let Some(label) = label {
                log.impressions.get_or_insert_default().push(Impression { user, item, time, label });
                for (c, field) in &fields {
                    log.set_impression(*field, &row.text(*c));
                }
                if let Some(part) = part {
                    log.published.get_or_insert_default().push(Published { part, history: None });
                }
            }
            if label.is_none_or(|l| l > 0.5) {
                log.events.push(Event { user, item, time, behaviour: 0, rating, session: None });
            }
            Ok(())
        })
    }

    /// Times have type `float`.
    fn moment(&self, row: &Row<'_>, c: usize) -> Result<i64> {
        let ticks = self.time_unit.ticks();
        let text = row.text(c);
        match text.parse::<f64>() {
            Ok(time) if time.is_finite() && text.parse::<i64>().is_err() => {
                row.known_time(c, time.floor() as i64, ticks)
            }
            _ => row.time(c, ticks),
        }
    }

    fn items(&self, mut from: Typed, reading: &Reading, log: &mut LogBuilder) -> Result<()> {
        let id = from.column(&self.item)?;
        let category = match &self.category {
            Some(name) => Some(from.column(name)?),
            None => CATEGORIES.iter().find_map(|name| from.find(name)),
        };
        let others = || (0..from.columns.len()).filter(|c| *c != id);
        let attributes: Vec<(usize, usize)> = others()
            .filter(|c| from.token(*c))
            .map(|c| (c, log.attribute(&from.columns[c].0, from.columns[c].1 == Type::TokenSeq)))
            .collect();
        let content = others().find(|c| from.columns[*c].1 == Type::FloatSeq);
        let many: Vec<bool> = from.columns.iter().map(|(_, t)| *t == Type::TokenSeq).collect();
        from.table.each(reading, |row| {
            let Some(item) = log.items.find(&row.id(id)?) else { return Ok(()) };
            let values = |c: usize| -> Vec<String> {
                let text = row.text(c);
                if many[c] { text.split(' ').map(str::to_owned).collect() } else { vec![text.into_owned()] }
            };
            if let Some(first) = category.and_then(|c| values(c).into_iter().next()) {
                log.categorise(item, &first);
            }
            for (c, attribute) in &attributes {
                values(*c).iter().for_each(|value| log.describe(item, *attribute, value));
            }
            if let Some(c) = content {
                let numbers: std::result::Result<Vec<f32>, _> =
                    row.text(c).split_ascii_whitespace().map(str::parse).collect();
                let numbers =
                    numbers.map_err(|_| row.fail(c, "is no list of numbers", "blanks between numbers"))?;
                let hint = "all vectors have one width";
                log.set_content(item, &numbers).map_err(|message| row.fail(c, message, hint))?;
            }
            Ok(())
        })
    }

    fn users(&self, mut from: Typed, reading: &Reading, log: &mut LogBuilder) -> Result<()> {
        let id = from.column(&self.user)?;
        let fields: Vec<(usize, usize)> = (0..from.columns.len())
            .filter(|c| *c != id && from.token(*c))
            .map(|c| (c, log.user_field(&from.columns[c].0)))
            .collect();
        from.table.each(reading, |row| {
            if let Some(user) = log.users.find(&row.id(id)?) {
                fields.iter().for_each(|(c, field)| log.set_user(user, *field, &row.text(*c)));
            }
            Ok(())
        })
    }
}

impl Typed {
    fn open(file: &Member) -> Result<Self> {
        let layout = Layout { separator: "\t", header: true, quotes: false, columns: None };
        let table = Table::open(file, layout)?;
        let columns = table.header().iter().map(|cell| {
            let (name, kind) = cell.rsplit_once(':').unwrap_or((cell, ""));
            let kind = match kind {
                "token" => Type::Token,
                "token_seq" => Type::TokenSeq,
                "float" => Type::Float,
                "float_seq" => Type::FloatSeq,
                _ => {
                    let hint = "the first line is name:type with tabs between, the types are token, token_seq, float and float_seq";
                    return Err(Error::file(&file.path, format!("{cell:?} in the first line has no type"), hint));
                }
            };
            Ok((name.to_owned(), kind))
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { table, file: file.clone(), columns })
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(n, _)| n == name)
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
            Error::file(
                &self.file.path,
                format!("there is no field {name:?}"),
                format!("the fields are {}; options say which means what", names.join(", ")),
            )
        })
    }

    fn token(&self, c: usize) -> bool {
        matches!(self.columns[c].1, Type::Token | Type::TokenSeq)
    }
}
