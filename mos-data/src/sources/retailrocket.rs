//! Retailrocket e-commerce events (Kaggle, 2017), as published; not checked against the published files.
//!
//! | file | columns |
//! | --- | --- |
//! | `events.csv` | `timestamp,visitorid,event,itemid,transactionid`: milliseconds; `view`, `addtocart`, `transaction`; any order |
//! | `item_properties_part1.csv`, `item_properties_part2.csv` | `timestamp,itemid,property,value`; optional |
//! | `category_tree.csv` | `categoryid,parentid`; roots have no parent; optional |
//!
//! The category of an item is its earliest `categoryid`; later ones are counted. The attribute `root_category` is the top of
//! the tree above it. The other properties are hashed texts and are not used.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    table::{Layout, Table},
};
use crate::{Event, Log, Result};

const BEHAVIOURS: [&str; 3] = ["view", "addtocart", "transaction"];
const COMMAS: Layout<'_> = Layout { separator: ",", header: true, quotes: true, columns: None };

/// Retailrocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retailrocket {}

impl Format for Retailrocket {
    const NAME: &'static str = "retailrocket";
    const LINE: &'static str = "Retailrocket events.csv, with item properties and category tree beside it";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let mut table = Table::open(&reading.files.main(&["events.csv"])?, COMMAS)?;
        let [time, user, event, item] = [
            table.column(&["timestamp"])?,
            table.column(&["visitorid"])?,
            table.column(&["event"])?,
            table.column(&["itemid"])?,
        ];
        let mut log = LogBuilder::new(reading);
        for behaviour in BEHAVIOURS {
            log.behaviours.number(behaviour);
        }
        table.each(reading, |row| {
            let (user, item, time) = (row.number_id(user)?, row.number_id(item)?, row.time(time, 1000)?);
            let none = || row.fail(event, "is no event", "view, addtocart or transaction");
            let behaviour = log.behaviours.find(&row.text(event)).ok_or_else(none)? as u8;
            let (user, item) = (log.users.number(&user), log.items.number(&item));
            log.events.push(Event { user, item, time, behaviour, rating: None, session: None });
            Ok(())
        })?;
        let categories = earliest_categories(reading, &mut log)?;
        let parents = parents(reading)?;
        let root = log.attribute("root_category", false);
        let mut items: Vec<_> = categories.into_iter().collect();
        items.sort_unstable();
        for (item, (_, category)) in items {
            log.categorise(item, &category);
            log.describe(item, root, top(&parents, &category));
        }
        log.build("retailrocket", 1000)
    }
}

/// The first category of each item of the log, with its time.
fn earliest_categories(reading: &Reading, log: &mut LogBuilder) -> Result<HashMap<u32, (i64, String)>> {
    let mut out: HashMap<u32, (i64, String)> = HashMap::new();
    for part in ["item_properties_part1.csv", "item_properties_part2.csv"] {
        let Some(file) = reading.files.find(&[part]) else { continue };
        let mut table = Table::open(&file, COMMAS)?;
        let [time, item, property, value] = [
            table.column(&["timestamp"])?,
            table.column(&["itemid"])?,
            table.column(&["property"])?,
            table.column(&["value"])?,
        ];
        table.each(reading, |row| {
            if row.text(property) != "categoryid" {
                return Ok(());
            }
            let (time, category) = (row.time(time, 1000)?, row.number_id(value)?);
            let Some(item) = log.items.find(&row.number_id(item)?) else { return Ok(()) };
            let first = out.entry(item).or_insert_with(|| (time, category.clone().into_owned()));
            if first.1 != category {
                log.drop_row("changes of an item's category (the earliest stays)");
            }
            if time < first.0 {
                *first = (time, category.into_owned());
            }
            Ok(())
        })?;
    }
    Ok(out)
}

/// The parent of each category that has one.
fn parents(reading: &Reading) -> Result<HashMap<String, String>> {
    let mut out = HashMap::new();
    if let Some(file) = reading.files.find(&["category_tree.csv"]) {
        let mut table = Table::open(&file, COMMAS)?;
        let (category, parent) = (table.column(&["categoryid"])?, table.column(&["parentid"])?);
        table.each(reading, |row| {
            let child = row.number_id(category)?.into_owned();
            if !row.text(parent).is_empty() {
                out.insert(child, row.number_id(parent)?.into_owned());
            }
            Ok(())
        })?;
    }
    Ok(out)
}

/// The top of the tree above a category. Circles, which no tree has, end too.
fn top<'a>(parents: &'a HashMap<String, String>, mut category: &'a str) -> &'a str {
    for _ in 0..parents.len() {
        match parents.get(category) {
            Some(parent) => category = parent,
            None => break,
        }
    }
    category
}
