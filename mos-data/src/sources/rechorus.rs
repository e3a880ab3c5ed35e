//! ReChorus (Wang et al. 2020; Li et al. 2024): `train.csv`, `dev.csv` and `test.csv`, with `item_meta.csv` and
//! `user_meta.csv` beside them; tabs between columns, which the header names.
//!
//! - `user_id`, `item_id`, `time` (unix seconds): each row is a behaviour. The negatives that dev and test list in `neg_items`
//!   are not used, which is counted: the task samples its own.
//! - With a `label` (0 or 1) each row is a shown item, clicks are the behaviours, `c_...` columns are the context of the shown
//!   item, and the files are the published split. This form follows ReChorus's description
//!   and is not checked against published files.
//! - `item_meta.csv`: `i_...` columns are attributes, `i_category` or `i_category_c` is the category. `user_meta.csv`: `u_...`
//!   columns are context. Numerical columns (`..._f`) and relations between items (`r_...`) are not used.

use serde::{Deserialize, Serialize};

use super::{
    Format, Reading,
    builder::LogBuilder,
    parts::parts,
    table::{Layout, Table},
};
use crate::{Error, Event, Impression, Log, Published, Result};

const TABS: Layout<'_> = Layout { separator: "\t", header: true, quotes: false, columns: None };

/// ReChorus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReChorus {}

impl Format for ReChorus {
    const NAME: &'static str = "rechorus";
    const LINE: &'static str =
        "ReChorus train.csv, dev.csv and test.csv (tabs), with item_meta.csv beside them";

    fn read(&self, reading: &Reading) -> Result<Log> {
        let names = ["train.csv", "dev.csv", "test.csv"];
        let mut log = LogBuilder::new(reading);
        let mut context: Option<Vec<usize>> = None;
        for (part, file) in parts(reading, "train.csv", |name| names.contains(&name))? {
            let mut table = Table::open(&file, TABS)?;
            let [user, item, time] =
                [table.column(&["user_id"])?, table.column(&["item_id"])?, table.column(&["time"])?];
            let (label, negatives) = (table.find(&["label"]), table.find(&["neg_items"]));
            let others = if label.is_some() { features(&table, "c_") } else { Vec::new() };
            let fields: Vec<(usize, usize)> =
                others.iter().map(|(c, name)| (*c, log.impression_field(name))).collect();
            let mut numbers: Vec<usize> = fields.iter().map(|f| f.1).collect();
            numbers.sort_unstable();
            if *context.get_or_insert_with(|| numbers.clone()) != numbers {
                let message = "the parts have different columns";
                let hint = "the first line of each part must name the same ones";
                return Err(Error::file(&file.path, message, hint));
            }
            table.each(reading, |row| {
                let (user, item, time) = (row.id(user)?, row.id(item)?, row.time(time, 1)?);
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
                if negatives.is_some_and(|c| !row.text(c).is_empty()) {
                    log.drop_row("rows whose list of negatives is not used");
                }
                if label.is_none_or(|l| l > 0.5) {
                    log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
                }
                Ok(())
            })?;
        }
        if let Some(file) = reading.files.find(&["item_meta.csv"]) {
            let mut table = Table::open(&file, TABS)?;
            let (id, category) = (table.column(&["item_id"])?, table.find(&["i_category", "i_category_c"]));
            let attributes: Vec<_> = features(&table, "i_")
                .into_iter()
                .map(|(c, name)| (c, log.attribute(&name, false)))
                .collect();
            table.each(reading, |row| {
                let Some(item) = log.items.find(&row.id(id)?) else { return Ok(()) };
                if let Some(c) = category {
                    log.categorise(item, &row.text(c));
                }
                attributes.iter().for_each(|(c, attribute)| log.describe(item, *attribute, &row.text(*c)));
                Ok(())
            })?;
        }
        if let Some(file) = reading.files.find(&["user_meta.csv"]) {
            let mut table = Table::open(&file, TABS)?;
            let id = table.column(&["user_id"])?;
            let fields: Vec<_> =
                features(&table, "u_").into_iter().map(|(c, name)| (c, log.user_field(&name))).collect();
            table.each(reading, |row| {
                if let Some(user) = log.users.find(&row.id(id)?) {
                    fields.iter().for_each(|(c, field)| log.set_user(user, *field, &row.text(*c)));
                }
                Ok(())
            })?;
        }
        log.build(&set_name(reading), 1)
    }
}

/// The folder that the files lie in.
fn set_name(reading: &Reading) -> String {
    let root = reading.files.root();
    let folder =
        if root.is_file() && root.extension().is_none_or(|e| e != "zip") { root.parent() } else { None };
    let name = folder.and_then(|f| f.file_name()).map(|n| n.to_string_lossy().into_owned());
    name.unwrap_or_else(|| reading.files.name())
}

/// The categorical columns with this prefix: place and name.
fn features(table: &Table, prefix: &str) -> Vec<(usize, String)> {
    let wanted = |name: &str| name.starts_with(prefix) && !name.ends_with("_f");
    let columns = table.header().iter().cloned().enumerate();
    columns.filter(|(_, name)| wanted(name)).collect()
}
