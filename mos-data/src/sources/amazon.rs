//! Amazon reviews (McAuley et al. 2015; Ni et al. 2019; Hou et al. 2024), as published; not checked against the published
//! files.
//!
//! | edition | reviews | metadata, optional |
//! | --- | --- | --- |
//! | 2014 | lines of JSON `reviewerID`, `asin`, `overall`, `unixReviewTime`; `ratings_X.csv`: user, item, rating, time | `meta_X.json`: Python dictionaries with `categories` (lists of steps), `brand` |
//! | 2018 | the same lines; `X.csv`: item, user, rating, time | `meta_X.json`: `category` (one list of steps), `brand` |
//! | 2023 | lines of JSON `user_id`, `parent_asin`, `rating`, `timestamp`; `X.csv` with that header, perhaps with `history` | `meta_X.jsonl`: `main_category`, `categories`, `store` |
//!
//! Times are seconds (days, in truth) in 2014 and 2018, milliseconds in 2023. A csv without header has its users first or its
//! items first: ids of users begin with `A`, those of items never do, and the first row tells; the option `columns` says it
//! where that does not. `X.train.csv`, `X.valid.csv` and `X.test.csv` of 2023 are read as one log; `history` repeats earlier
//! rows and is not used.
//!
//! The category of an item is `main_category`, else the last step of the last list, or the step that the option `step` says.
//! Attributes: `categories` (every step of every list) and `brand` (in 2023 the `store`). Ratings are kept. Text, votes,
//! prices and pictures are not used.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    files::Member,
    json::lists,
    parts::parts,
    table::{Layout, Row, Table},
};
use crate::{Error, Event, Log, Result};

/// Amazon reviews of any edition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Amazon {
    /// Order of the columns of a csv without header.
    columns: Option<Order>,
    /// Step of a list of categories that is the category of an item, from 1; default: the last.
    step: Option<usize>,
}

/// Order of the columns before rating and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// User, item.
    UserFirst,
    /// Item, user.
    ItemFirst,
}

/// Places of user, item, rating and time, and the unit of time.
#[derive(Clone, Copy, PartialEq)]
struct Places {
    user: usize,
    item: usize,
    rating: usize,
    time: usize,
    ticks: i64,
}

const OLD: Places = Places { user: 0, item: 1, rating: 2, time: 3, ticks: 1 };
const ITEM_FIRST: Places = Places { user: 1, item: 0, ..OLD };
const OLD_FIELDS: [&str; 4] = ["reviewerID", "asin", "overall", "unixReviewTime"];
const NEW_FIELDS: [&str; 4] = ["user_id", "parent_asin", "rating", "timestamp"];
/// Both editions' fields side by side.
const NEW_RECORD: Places = Places { user: 4, item: 5, rating: 6, time: 7, ticks: 1000 };
const NEW_CSV: Places = Places { ticks: 1000, ..OLD };

impl Format for Amazon {
    const NAME: &'static str = "amazon";
    const LINE: &'static str =
        "Amazon reviews of 2014, 2018 or 2023, lines of JSON or csv, with meta_... beside them";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let endings = ["json", "jsonl", "csv"];
        let files = parts(reading, "reviews as .json, .jsonl or .csv", |name| {
            !name.starts_with("meta_") && name.rsplit('.').next().is_some_and(|e| endings.contains(&e))
        })?;
        let mut log = LogBuilder::new(reading);
        let mut places: Option<Places> = None;
        for (_, file) in &files {
            if file.name().ends_with("csv") {
                self.ratings(file, reading, &mut log, &mut places)?;
            } else {
                let fields = [OLD_FIELDS, NEW_FIELDS].concat();
                Table::records(file, &fields, 0)?.each(reading, |row| {
                    let at = if row.text(OLD.user).is_empty() { NEW_RECORD } else { OLD };
                    if *places.get_or_insert(at) != at {
                        return Err(other_edition(row, at.user));
                    }
                    take(row, at, &mut log)
                })?;
            }
        }
        let set = set_of(&files[0].1);
        if let Some(meta) = reading.files.find(&[&format!("meta_{set}.jsonl"), &format!("meta_{set}.json")]) {
            self.describe(&meta, reading, &mut log)?;
        }
        log.build(&format!("amazon-{set}"), places.map_or(1, |p| p.ticks))
    }
}

/// `Books` of `reviews_Books_5.json` and its like.
fn set_of(file: &Member) -> String {
    let name = file.name();
    let name = name.split('.').next().unwrap_or_default();
    let name = name.strip_prefix("reviews_").or_else(|| name.strip_prefix("ratings_")).unwrap_or(name);
    name.strip_suffix("_5").unwrap_or(name).to_owned()
}

fn take(row: &Row<'_>, at: Places, log: &mut LogBuilder) -> Result<()> {
    let (user, item) = (row.id(at.user)?, row.id(at.item)?);
    let (rating, time) = (Some(row.float(at.rating)?), row.time(at.time, at.ticks)?);
    let (user, item) = (log.users.number(&user), log.items.number(&item));
    log.events.push(Event { user, item, time, behaviour: 0, rating, session: None });
    Ok(())
}

impl Amazon {
    fn ratings(
        &self,
        file: &Member,
        reading: &Reading,
        log: &mut LogBuilder,
        known: &mut Option<Places>,
    ) -> Result<()> {
        let layout = Layout { separator: ",", header: false, quotes: false, columns: None };
        Table::open(file, layout)?.each(reading, |row| {
            if row.len() < 4 {
                return Err(row.fail(0, "has too few columns", "user, item, rating and time"));
            }
            if NEW_FIELDS.iter().enumerate().all(|(c, name)| row.text(c) == *name) {
                return if *known.get_or_insert(NEW_CSV) == NEW_CSV {
                    Ok(())
                } else {
                    Err(other_edition(row, 0))
                };
            }
            let at = match *known {
                Some(at) if at == NEW_RECORD => return Err(other_edition(row, 0)),
                Some(at) => at,
                None => *known.insert(self.order(row)?),
            };
            take(row, at, log)
        })
    }

    fn order(&self, row: &Row<'_>) -> Result<Places> {
        let users = [row.text(0).starts_with('A'), row.text(1).starts_with('A')];
        match (self.columns, users) {
            (Some(Order::UserFirst), _) | (None, [true, false]) => Ok(OLD),
            (Some(Order::ItemFirst), _) | (None, [false, true]) => Ok(ITEM_FIRST),
            (None, _) => Err(no_order(row)),
        }
    }

    fn describe(&self, file: &Member, reading: &Reading, log: &mut LogBuilder) -> Result<()> {
        let fields = ["parent_asin", "asin", "main_category", "categories", "category", "store", "brand"];
        let (steps, brand) = (log.attribute("categories", true), log.attribute("brand", false));
        Table::records(file, &fields, 0)?.each(reading, |row| {
            let first = |a: usize, b: usize| if row.text(a).is_empty() { row.text(b) } else { row.text(a) };
            let Some(item) = log.items.find(&first(0, 1)) else { return Ok(()) };
            let lists = lists(&first(3, 4));
            let last = lists.last().and_then(|steps| {
                let step = self.step.map_or(steps.len(), |s| s.min(steps.len()));
                steps.get(step.checked_sub(1)?)
            });
            let main = row.text(2);
            let category = if main.is_empty() { last.map_or("", String::as_str) } else { &main };
            log.categorise(item, category);
            lists.iter().flatten().for_each(|step| log.describe(item, steps, step));
            log.describe(item, brand, &first(5, 6));
            Ok(())
        })
    }
}

fn other_edition(row: &Row<'_>, column: usize) -> Error {
    row.fail(column, "is of another edition than the rows before", "one edition at a time")
}

fn no_order(row: &Row<'_>) -> Error {
    row.fail(
        0,
        "and the next column do not tell users from items",
        "set the option columns to user_first (2014) or item_first (2018)",
    )
}
