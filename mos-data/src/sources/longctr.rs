//! The LongCTR form of the RecZoo sets: KuaiVideo_x2, MicroVideo1.7M_x2 and Ebnerd_small_x1.
//!
//! | file | one row | columns |
//! | --- | --- | --- |
//! | `train.parquet`, `valid.parquet`, `test.parquet` | a shown item | label, `user_index`, `item_index`, `seq_len`, context |
//! | `user_info.parquet` | a user | `full_item_seq`: every item of the user, once, in order |
//! | `item_info.parquet` | an item | `item_index`, attributes, an image vector |
//!
//! The history of a shown item is the first `seq_len` items of its user's list. The parts are kept as published. A user's row
//! is named by `user_index` where `user_info` has that column, else by its number from 0.
//!
//! What becomes what: `item_index` is the item; the columns of `item_info` are its attributes (`cate_id` or `category` also its
//! category), a list of fractions there is its content vector; further columns of a shown item are its context, lists among
//! them (topics of the article) attributes of the item. All ids are encoded, 0 = padding or unknown, and 0 stays unknown here.
//! There are no times: an item's place in the list stands for its time, so a gap in time ends no session.
//!
//! Names of files and columns follow the published configurations and loader of the benchmark; no file of these sets was at
//! hand when this was written.

use super::{
    Reading,
    builder::LogBuilder,
    columns::{Cells, Columns},
    files::Member,
};
use crate::{Error, Event, Impression, Log, Part, Published, Result};

pub(super) const PARTS: [(Part, &str); 3] =
    [(Part::Train, "train"), (Part::Valid, "valid"), (Part::Test, "test")];
/// What the label is called.
pub(super) const LABELS: [&str; 4] = ["is_click", "click", "label", "clk"];

/// Whether the set has this form.
pub(super) fn is_here(reading: &Reading) -> bool {
    reading.files.find(&["user_info.parquet"]).is_some()
}

/// Reads a set of this form.
pub(super) fn read(reading: &Reading, name: &str) -> Result<Log> {
    let mut log = LogBuilder::new(reading);
    log.impressions = Some(Vec::new());
    log.published = Some(Vec::new());
    let lengths = histories(reading, &mut log)?;
    items(reading, &mut log)?;
    for (part, file) in PARTS {
        let file = open(reading, &format!("{file}.parquet"))?;
        shown(reading, &file, part, &lengths, &mut log)?;
    }
    log.build(name, 1)
}

fn open(reading: &Reading, name: &str) -> Result<Member> {
    reading.files.find(&[name]).ok_or_else(|| {
        let hint = "a set in this form has train, valid, test, user_info and item_info, all .parquet";
        Error::file(reading.files.root(), format!("{name} is not here"), hint)
    })
}

/// The text of an encoded id; empty for 0.
fn known(text: &str) -> &str {
    if matches!(text, "0" | "0.0") { "" } else { text }
}

fn item_number(log: &mut LogBuilder, id: &str) -> u32 {
    match known(id) {
        "" => 0,
        id => log.items.number(id),
    }
}

/// Reads the histories of all users; returns their lengths by user.
fn histories(reading: &Reading, log: &mut LogBuilder) -> Result<Vec<u32>> {
    let users = Columns::open(&open(reading, "user_info.parquet")?, 1)?;
    let [items] = users.places(["full_item_seq"])?;
    let named = users.find("user_index");
    let (mut lengths, mut row_number) = (Vec::new(), 0u64);
    users.each(reading, &[Some(items), named].into_iter().flatten().collect::<Vec<_>>(), |row| {
        let id = match named {
            Some(c) => row.number_id(c)?.into_owned(),
            None => row_number.to_string(),
        };
        row_number += 1;
        let user = log.users.number(&id);
        if (user as usize) < lengths.len() {
            return Err(row.fail(named.unwrap_or(items), "is there twice", "one row for each user"));
        }
        let history = row.texts(items);
        lengths.push(history.len() as u32);
        for (place, id) in history.iter().enumerate() {
            let (item, time) = (item_number(log, id), place as i64);
            log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
        }
        Ok(())
    })?;
    Ok(lengths)
}

fn items(reading: &Reading, log: &mut LogBuilder) -> Result<()> {
    let columns = Columns::open(&open(reading, "item_info.parquet")?, 1)?;
    let [id] = columns.places(["item_index"])?;
    let mut vector = None;
    let mut attributes = Vec::new();
    let mut categories = None;
    for (c, name) in columns.names().iter().enumerate().filter(|(c, _)| *c != id) {
        if !columns.is_vector(c) {
            attributes.push((c, columns.is_list(c), log.attribute(name, columns.is_list(c))));
        } else if vector.is_none() {
            vector = Some(c);
        } else {
            log.drop_row("columns of item vectors beyond the first");
        }
        if ["cate_id", "category"].contains(&name.as_str()) {
            categories = Some(c);
        }
    }
    let wanted: Vec<usize> = attributes.iter().map(|a| a.0).chain([id]).chain(vector).collect();
    columns.each(reading, &wanted, |row| {
        let item = item_number(log, &row.number_id(id)?);
        if item == 0 {
            return Ok(());
        }
        for (c, many, attribute) in &attributes {
            describe(log, row, item, *c, *many, *attribute);
        }
        if let Some(c) = categories {
            log.categorise(item, known(&row.text(c)));
        }
        if let Some(c) = vector {
            log.set_content(item, &row.floats(c)?)
                .map_err(|e| row.fail(c, e, "all items have vectors of one width"))?;
        }
        Ok(())
    })
}

fn describe(log: &mut LogBuilder, row: &Cells<'_>, item: u32, c: usize, many: bool, attribute: usize) {
    if many {
        row.texts(c).iter().for_each(|value| log.describe(item, attribute, known(value)));
    } else {
        log.describe(item, attribute, known(&row.text(c)));
    }
}

fn shown(reading: &Reading, file: &Member, part: Part, lengths: &[u32], log: &mut LogBuilder) -> Result<()> {
    let columns = Columns::open(file, 1)?;
    let label = LABELS.iter().find_map(|l| columns.find(l));
    let label = label.map_or_else(|| columns.places([LABELS[0]]).map(|[c]| c), Ok)?;
    let [user, item, length] = columns.places(["user_index", "item_index", "seq_len"])?;
    let fields: Vec<(usize, bool, usize)> = (0..columns.names().len())
        .filter(|c| ![label, user, item, length].contains(c))
        .map(|c| {
            let many = columns.is_list(c);
            let name = &columns.names()[c];
            (c, many, if many { log.attribute(name, true) } else { log.impression_field(name) })
        })
        .collect();
    let wanted: Vec<usize> = (0..columns.names().len()).collect();
    columns.each(reading, &wanted, |row| {
        let clicked = row.label(label)?;
        let id = row.number_id(user)?;
        let missing = || row.fail(user, "has no row in user_info", "are the files of one set?");
        let number = log.users.find(&id).ok_or_else(missing)?;
        let most = lengths[number as usize];
        let history = row.integer(length)?;
        let history = u32::try_from(history).ok().filter(|n| *n <= most).ok_or_else(|| {
            row.fail(
                length,
                format!("is no length of a history: its user has {most} items"),
                "is user_info whole?",
            )
        })?;
        let item = item_number(log, &row.number_id(item)?);
        let shown = Impression { user: number, item, time: i64::from(history), label: clicked };
        log.impressions.get_or_insert_default().push(shown);
        log.published.get_or_insert_default().push(Published { part, history: Some(history) });
        for (c, many, field) in &fields {
            if *many {
                describe(log, row, item, *c, true, *field);
            } else {
                log.set_impression(*field, known(&row.text(*c)));
            }
        }
        Ok(())
    })
}
