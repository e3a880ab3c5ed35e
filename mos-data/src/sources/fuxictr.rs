//! The FuxiCTR form of the BARS and RecZoo `x1` sets: one row per shown item, its history inside the row.
//!
//! `train`, `valid`, `test` as `.csv` with a header or as `.parquet`, also with names like `train_sample.csv`. A history is a
//! cell of ids separated by `^`, oldest first, or a list; it may be empty. `feature_map.json`, where it lies beside, says which
//! columns belong to the item and which one the history shares its ids with. Known columns need no options:
//!
//! | set | label | user | item | history |
//! | --- | --- | --- | --- | --- |
//! | KuaiVideo_x1 | `is_click` | `user_id` | `item_id` | `pos_items` |
//! | MicroVideo1.7M_x1 | `is_click` | `user_id` | `item_id` | `clicked_items` |
//! | AmazonElectronics_x1 | `label` | `user_id` | `item_id` | `item_history` |
//! | TaobaoAd_x1 | `clk` | `userid` | `cate_id` | `cate_his` |
//!
//! **Histories are joined.** The rows of a user show pieces of one list, each cut to the most recent ids, so the list is put
//! together from them and kept once; the history of a row is its part up to where the row's ends. It ends with exactly the
//! published ids and may reach further back than the published cut; cap histories at that cut (100 in the video sets) to have
//! the published task. Where a piece does not continue what is there, it is appended and counted.
//!
//! **Parts** are those of the files. The `x1` sets have no validation file: then every tenth training row is one.
//!
//! What else: `cate_id`, `item_category` or `category` is the category of the item; columns of the item (by the feature map) are
//! its attributes, all others the context of the row, each text one value, numbers too. Further histories of a row (categories,
//! unclicked items) are left out and counted, as are the image vectors of the `x1` sets, which are HDF5. In files with a feature
//! map ids are encoded, and 0 = padding is unknown; otherwise empty cells are. There are no times: an item's place in the list
//! stands for its time.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Format, Reading,
    builder::LogBuilder,
    columns::Columns,
    files::Member,
    longctr::{LABELS, PARTS},
    published,
    table::{Layout, Row, Table},
};
use crate::{Error, Event, Impression, Log, Part, Published, Result, TaskConfig, nearest_name};

const USERS: &[&str] = &["user_id", "userid", "user_index"];
const HISTORIES: &[&str] =
    &["clicked_items", "pos_items", "item_history", "click_sequence", "click_history", "cate_his"];
const ITEMS: &[&str] = &["item_id", "adgroup_id", "cate_id"];
const CATEGORIES: [&str; 3] = ["cate_id", "item_category", "category"];
/// Without a validation file every so many training rows are one.
const EVERY: u64 = 10;

/// Any set in this form; columns that are not named are found by the names that sets use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FuxiCtr {
    label: Option<String>,
    user: Option<String>,
    item: Option<String>,
    /// The column of the history.
    history: Option<String>,
}

impl Format for FuxiCtr {
    const NAME: &'static str = "fuxictr";
    const LINE: &'static str = "FuxiCTR and BARS x1 sets: train, valid, test with the history in the row";

    fn read(&self, reading: &Reading) -> Result<Log> {
        self.log(reading, &reading.files.name())
    }

    fn task(&self) -> Result<TaskConfig> {
        Ok(published())
    }
}

impl FuxiCtr {
    pub(super) fn log(&self, reading: &Reading, name: &str) -> Result<Log> {
        let map = FeatureMap::read(reading)?;
        let files = PARTS.into_iter().map(|(part, stem)| Ok((part, file(reading, stem)?)));
        let files = files.collect::<Result<Vec<_>>>()?;
        let valid = files.iter().any(|(part, file)| *part == Part::Valid && file.is_some());
        let mut log = LogBuilder::new(reading);
        log.impressions = Some(Vec::new());
        log.published = Some(Vec::new());
        for _ in reading.files.matching(|name| name.rsplit('.').next() == Some("h5")) {
            log.drop_row("files of item vectors in HDF5, which is not read");
        }
        let mut reader = Reader { log, map, names: self.clone(), lists: Vec::new(), fields: HashMap::new() };
        for (part, file) in files {
            let Some(file) = file else {
                if part == Part::Valid {
                    continue;
                }
                let stem = if part == Part::Train { "train" } else { "test" };
                let message = format!("{stem}.csv or {stem}.parquet is not here");
                return Err(Error::file(reading.files.root(), message, "a set in this form has both parts"));
            };
            let mut rows = 0;
            let part = |row: u64| match part {
                Part::Train if !valid && row.is_multiple_of(EVERY) => Part::Valid,
                part => part,
            };
            if file.name().ends_with(".parquet") {
                let columns = Columns::open(&file, 1)?;
                let lists = (0..columns.names().len()).map(|c| columns.is_list(c)).collect();
                let places = reader.places(&file, columns.names(), lists)?;
                let all: Vec<usize> = (0..columns.names().len()).collect();
                columns.each(reading, &all, |row| {
                    rows += 1;
                    let history = if places.lists[places.history] {
                        row.texts(places.history)
                    } else {
                        split(&row.text(places.history))
                    };
                    reader.row(row, &places, part(rows), history)
                })?;
            } else {
                let layout = Layout { separator: ",", header: true, quotes: true, columns: None };
                let mut table = Table::open(&file, layout)?;
                let places = reader.places(&file, table.header(), vec![false; table.columns()])?;
                table.each(reading, |row| {
                    rows += 1;
                    reader.row(row, &places, part(rows), split(&row.text(places.history)))
                })?;
            }
        }
        let Reader { mut log, lists, .. } = reader;
        for (user, list) in lists.iter().enumerate() {
            for (place, item) in list.iter().enumerate() {
                let (user, item, time) = (user as u32, *item, place as i64);
                log.events.push(Event { user, item, time, behaviour: 0, rating: None, session: None });
            }
        }
        log.build(name, 1)
    }
}

/// The file of a part: `train.csv`, `train_sample.csv`, `train.parquet`.
fn file(reading: &Reading, stem: &str) -> Result<Option<Member>> {
    let exact = [format!("{stem}.parquet"), format!("{stem}.csv")];
    let exact = reading.files.find(&exact.each_ref().map(String::as_str));
    if exact.is_some() {
        return Ok(exact);
    }
    let named = |name: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(['_', '-']))
            && [".csv", ".csv.gz", ".parquet"].iter().any(|end| name.ends_with(end))
    };
    let mut found = reading.files.matching(named);
    if let [a, b, ..] = &found[..] {
        let message = format!("{} and {} could both be read", a.name(), b.name());
        return Err(Error::file(reading.files.root(), message, "leave one file for each part"));
    }
    Ok(found.pop())
}

fn split(cell: &str) -> Vec<String> {
    cell.split('^').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// What `feature_map.json` says of the columns.
#[derive(Default)]
struct FeatureMap {
    here: bool,
    /// Column whose ids a history has, by history.
    shared: Vec<(String, String)>,
    of_item: Vec<String>,
    labels: Vec<String>,
}

impl FeatureMap {
    fn read(reading: &Reading) -> Result<Self> {
        let Some(file) = reading.files.find(&["feature_map.json"]) else { return Ok(Self::default()) };
        let refuse = |e: &dyn std::fmt::Display| {
            Error::file(&file.path, e, "`features` is a list of {name: {type, source, ...}}")
        };
        let map: Value = serde_json::from_slice(&file.bytes()?).map_err(|e| refuse(&e))?;
        let mut out = Self { here: true, ..Self::default() };
        let features = map["features"].as_array().ok_or_else(|| refuse(&"has no list `features`"))?;
        for (name, feature) in features.iter().filter_map(Value::as_object).flatten() {
            if feature["type"] == "sequence" {
                let shared = feature["share_embedding"].as_str().unwrap_or_default();
                out.shared.push((name.clone(), shared.to_owned()));
            } else if feature["source"] == "item" {
                out.of_item.push(name.clone());
            }
        }
        let labels = map["labels"].as_array().into_iter().flatten();
        out.labels = labels.filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(out)
    }
}

/// Places of the columns in a row.
struct Places {
    label: usize,
    user: usize,
    item: usize,
    history: usize,
    category: Option<usize>,
    /// Attributes of the item: place and number.
    attributes: Vec<(usize, usize)>,
    /// Context: place and number.
    context: Vec<(usize, usize)>,
    lists: Vec<bool>,
}

struct Reader {
    log: LogBuilder,
    map: FeatureMap,
    names: FuxiCtr,
    /// The items of each user so far.
    lists: Vec<Vec<u32>>,
    /// Numbers of attributes and fields by column.
    fields: HashMap<String, usize>,
}

impl Reader {
    fn places(&mut self, file: &Member, header: &[String], lists: Vec<bool>) -> Result<Places> {
        let place = |what: &str, wanted: Option<&String>, usual: &[&str]| -> Result<usize> {
            let at = |name: &str| header.iter().position(|h| h == name);
            let found = match wanted {
                Some(name) => at(name),
                None => usual.iter().find_map(|name| at(name)),
            };
            found.ok_or_else(|| {
                let message = match wanted {
                    Some(name) => format!("has no column {name:?}"),
                    None => format!("has no column of the {what} with a known name ({})", usual.join(", ")),
                };
                let near = wanted.and_then(|name| nearest_name(name, header.iter().map(String::as_str)));
                let near = near.map_or(String::new(), |near| format!("did you mean {near:?}? "));
                let hint = format!("{near}set the option `{what}`; the columns are {}", header.join(", "));
                Error::file(&file.path, message, hint)
            })
        };
        let shared = self.map.shared.first();
        let history = self.names.history.as_ref().or(shared.map(|s| &s.0));
        let history = place("history", history, HISTORIES)?;
        let shares = self.map.shared.iter().find(|s| s.0 == header[history] && !s.1.is_empty());
        // The history of TaobaoAd_x1 is one of categories, whatever other ids are there.
        let usual = if header[history] == "cate_his" { &["cate_id"][..] } else { ITEMS };
        let item = place("item", self.names.item.as_ref().or(shares.map(|s| &s.1)), usual)?;
        let user = place("user", self.names.user.as_ref(), USERS)?;
        let label = place("label", self.names.label.as_ref().or(self.map.labels.first()), &LABELS)?;
        let category = header.iter().position(|h| CATEGORIES.contains(&h.as_str())).filter(|c| *c != item);
        let (mut attributes, mut context) = (Vec::new(), Vec::new());
        for (c, name) in header.iter().enumerate() {
            if [label, user, item, history].contains(&c) || Some(c) == category {
                continue;
            }
            let further = self.map.shared.iter().any(|s| s.0 == *name) || is_history(name) || lists[c];
            let known = self.fields.get(name).copied();
            if further {
                if known.is_none() {
                    self.log.drop_row("columns with a further history of the row");
                    self.fields.insert(name.clone(), 0);
                }
            } else if self.map.of_item.contains(name) {
                attributes.push((c, known.unwrap_or_else(|| self.log.attribute(name, false))));
                self.fields.insert(name.clone(), attributes[attributes.len() - 1].1);
            } else {
                context.push((c, known.unwrap_or_else(|| self.log.impression_field(name))));
                self.fields.insert(name.clone(), context[context.len() - 1].1);
            }
        }
        Ok(Places { label, user, item, history, category, attributes, context, lists })
    }

    fn row(&mut self, row: &Row<'_>, at: &Places, part: Part, history: Vec<String>) -> Result<()> {
        let label = row.label(at.label)?;
        let (user, item) = (row.id(at.user)?, row.id(at.item)?);
        let encoded = self.map.here;
        let known = |id: &str| -> bool { !(id.is_empty() || encoded && matches!(id, "0" | "0.0")) };
        let log = &mut self.log;
        let user = log.users.number(&user);
        if self.lists.len() <= user as usize {
            self.lists.push(Vec::new());
        }
        // Padding is no part of a history.
        let history: Vec<u32> =
            history.iter().filter(|id| known(id)).map(|id| log.items.number(id)).collect();
        let list = &mut self.lists[user as usize];
        let end = join(list, &history).unwrap_or_else(|| {
            log.drop_row(
                "histories that do not continue those before of their user (appended: what stands before may be later)",
            );
            list.extend(&history);
            list.len()
        });
        let item = if known(&item) { log.items.number(&item) } else { 0 };
        if item != 0 {
            if let Some(c) = at.category {
                let category = row.text(c);
                log.categorise(item, if known(&category) { &category } else { "" });
            }
            for (c, attribute) in &at.attributes {
                let value = row.text(*c);
                log.describe(item, *attribute, if known(&value) { &value } else { "" });
            }
        }
        log.impressions.get_or_insert_default().push(Impression { user, item, time: end as i64, label });
        log.published.get_or_insert_default().push(Published { part, history: Some(end as u32) });
        for (c, field) in &at.context {
            let value = row.text(*c);
            log.set_impression(*field, if known(&value) { &value } else { "" });
        }
        Ok(())
    }
}

fn is_history(name: &str) -> bool {
    HISTORIES.contains(&name)
        || ["clicked_categories", "neg_items"].contains(&name)
        || name.ends_with("_his")
        || name.ends_with("_history")
}

/// Joins a piece of a list to what of the list is known: its end in the list, or `None` where it continues nothing.
fn join(list: &mut Vec<u32>, piece: &[u32]) -> Option<usize> {
    if piece.is_empty() {
        return Some(0);
    }
    // A history that was not cut is the beginning of the list, wherever its row stands in the file.
    if list.starts_with(piece) {
        return Some(piece.len());
    }
    // Most pieces are the end of the list, perhaps with something new behind it.
    let longest = piece.len().min(list.len());
    if let Some(shared) = (1..=longest).rev().find(|n| list[list.len() - n..] == piece[..*n]) {
        list.extend(&piece[shared..]);
        return Some(list.len());
    }
    if list.is_empty() {
        list.extend(piece);
        return Some(list.len());
    }
    // Rows need not be in order: the piece may lie further back.
    list.windows(piece.len()).position(|w| w == piece).map(|from| from + piece.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::join;

    #[test]
    fn pieces_join_where_they_continue() {
        let mut list = vec![];
        assert_eq!(join(&mut list, &[]), Some(0));
        assert_eq!(join(&mut list, &[1, 2]), Some(2));
        assert_eq!(join(&mut list, &[2, 3, 4]), Some(4));
        assert_eq!(join(&mut list, &[2, 3]), Some(3));
        assert_eq!(join(&mut list, &[9]), None);
        assert_eq!(list, [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_history_of_a_row_ends_with_its_piece(
            pieces in prop::collection::vec(prop::collection::vec(1u32..5, 0..6), 1..8),
        ) {
            let mut list = Vec::new();
            for piece in pieces {
                let before = list.clone();
                let end = join(&mut list, &piece);
                prop_assert!(list.starts_with(&before), "earlier ends stay what they were");
                if let Some(end) = end {
                    prop_assert!(list[..end].ends_with(&piece));
                }
            }
        }

        #[test]
        fn windows_of_a_list_of_different_items_give_the_list(length in 1usize..40, cut in 2usize..10) {
            let whole: Vec<u32> = (0..length as u32).collect();
            let mut list = Vec::new();
            for end in 1..=length {
                prop_assert_eq!(join(&mut list, &whole[end.saturating_sub(cut)..end]), Some(end));
            }
            prop_assert_eq!(list, whole);
        }
    }
}
