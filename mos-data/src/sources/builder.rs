//! Collects events of raw ids into a log.

use std::collections::{BTreeMap, HashMap};

use crate::{Catalog, Error, Event, Impression, Interactions, Log, Result};

/// Numbers for raw ids, in order of first occurrence.
#[derive(Debug, Default)]
pub(super) struct Ids {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<String>,
}

impl Ids {
    /// Numbers from 1; 0 stands for "none".
    pub(super) fn from_one() -> Self {
        Self { numbers: HashMap::new(), names: vec![String::new()] }
    }

    pub(super) fn number(&mut self, id: &str) -> u32 {
        if let Some(n) = self.numbers.get(id) {
            return *n;
        }
        let n = self.names.len() as u32;
        self.numbers.insert(id.into(), n);
        self.names.push(id.to_owned());
        n
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// What a source has read so far.
#[derive(Debug)]
pub(super) struct LogBuilder {
    pub(super) users: Ids,
    pub(super) items: Ids,
    pub(super) behaviours: Ids,
    pub(super) events: Vec<Event>,
    pub(super) impressions: Option<Vec<Impression>>,
    categories: Ids,
    of_item: Vec<u32>,
    dropped: BTreeMap<String, u64>,
}

impl LogBuilder {
    pub(super) fn new() -> Self {
        Self {
            users: Ids::default(),
            items: Ids::from_one(),
            behaviours: Ids::from_one(),
            events: Vec::new(),
            impressions: None,
            categories: Ids::from_one(),
            of_item: vec![0],
            dropped: BTreeMap::new(),
        }
    }

    /// Counts a row that is left out, or read otherwise than it stands.
    pub(super) fn drop_row(&mut self, reason: &str) {
        if let Some(count) = self.dropped.get_mut(reason) {
            *count += 1;
        } else {
            self.dropped.insert(reason.to_owned(), 1);
        }
    }

    /// Sets the category of an item; its first one stays.
    pub(super) fn categorise(&mut self, item: u32, category: &str) {
        if category.is_empty() {
            return;
        }
        let number = self.categories.number(category);
        let at = item as usize;
        if self.of_item.len() <= at {
            self.of_item.resize(at + 1, 0);
        }
        if self.of_item[at] == 0 {
            self.of_item[at] = number;
        } else if self.of_item[at] != number {
            self.drop_row("rows whose item had another category before (the first stays)");
        }
    }

    /// The log.
    pub(super) fn build(mut self, name: &str, ticks_per_second: i64) -> Result<Log> {
        if self.events.is_empty() {
            let why: Vec<String> = self.dropped.iter().map(|(why, n)| format!("{n}: {why}")).collect();
            return Err(Error::too_few(
                format!("{name}: no behaviour was read"),
                if self.impressions.as_ref().is_some_and(|all| !all.is_empty()) {
                    "all labels are 0, and only clicked items are behaviours".into()
                } else if why.is_empty() {
                    "the file has no rows".into()
                } else {
                    format!("left out {}", why.join(", "))
                },
            ));
        }
        let behaviours = self.behaviours.len();
        if behaviours > 256 {
            return Err(Error::too_few(
                format!("{name}: {} kinds of behaviour", behaviours - 1),
                "at most 255: is this the behaviour column?",
            ));
        }
        self.of_item.resize(self.items.len(), 0);
        let category_count = self.categories.len();
        Ok(Log {
            name: name.to_owned(),
            interactions: Interactions::from_events(self.users.len(), self.events)?,
            impressions: self.impressions,
            catalog: Catalog {
                items: self.items.len(),
                categories: (category_count > 1).then_some(self.of_item),
                category_count: if category_count > 1 { category_count } else { 0 },
                behaviours,
                ..Catalog::default()
            },
            user_ids: self.users.names,
            item_ids: self.items.names,
            behaviour_names: self.behaviours.names,
            dropped: self.dropped,
            ticks_per_second,
            bayes: None,
        })
    }
}
