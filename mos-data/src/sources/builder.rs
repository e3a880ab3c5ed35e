//! Collects events of raw ids into a log.

use std::{cell::RefCell, collections::BTreeMap, hash::BuildHasher as _, rc::Rc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable, hash_table};

use super::{
    reading::{Counts, Reading},
    watch::Watch,
};
use crate::{
    Catalog, Content, ContextField, Contexts, Error, Event, FeatureValues, Impression, ItemFeature, Log,
    Published, Result,
    events::{EventColumns, slot},
};

/// Numbers for raw ids, in order of first occurrence. An id that is a plain number is found by its value.
#[derive(Debug, Default)]
pub(super) struct Ids {
    plain: HashMap<u64, u32>,
    /// The one that was asked for last: rows of a user lie together in most files.
    last: Option<(u64, u32)>,
    /// Numbers of all other ids, found by their names.
    others: HashTable<u32>,
    hasher: DefaultHashBuilder,
    names: Vec<String>,
}

impl Ids {
    /// Numbers from 1; 0 stands for "none".
    pub(super) fn from_one() -> Self {
        Self { names: vec![String::new()], ..Self::default() }
    }

    pub(super) fn number(&mut self, id: &str) -> u32 {
        if let Some(value) = plain_number(id.as_bytes()) {
            return self.number_plain(value);
        }
        let n = self.names.len() as u32;
        let Self { others, hasher, names, .. } = self;
        let known = |n: &u32| names[*n as usize] == id;
        match others.entry(hasher.hash_one(id), known, |n| hasher.hash_one(names[*n as usize].as_str())) {
            hash_table::Entry::Occupied(found) => *found.get(),
            hash_table::Entry::Vacant(place) => {
                place.insert(n);
                names.push(id.to_owned());
                n
            }
        }
    }

    /// The same for an id whose text is that of a number.
    pub(super) fn number_plain(&mut self, id: u64) -> u32 {
        match self.last {
            Some((last, number)) if last == id => return number,
            _ => {}
        }
        let n = self.names.len() as u32;
        let number = *self.plain.entry(id).or_insert(n);
        if number == n {
            self.names.push(id.to_string());
        }
        self.last = Some((id, number));
        number
    }

    /// The number of an id that occurred before.
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        if let Some(value) = plain_number(id.as_bytes()) {
            return self.plain.get(&value).copied();
        }
        let known = |n: &u32| self.names[*n as usize] == id;
        self.others.find(self.hasher.hash_one(id), known).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The value of digits that are just how it is written: no sign, no zero in front, not too long.
pub(super) fn plain_number(text: &[u8]) -> Option<u64> {
    leading_number(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// The same of the digits in front, and what follows them.
pub(super) fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut digits) = (0u64, 0);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // What is too long for the type is refused below.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        digits += 1;
    }
    let canonical = matches!(text, [b'1'..=b'9', ..]) || (digits == 1 && text[0] == b'0');
    (canonical && digits < 20).then(|| (number, &text[digits..]))
}

/// An attribute of items under way.
#[derive(Debug)]
struct Attribute {
    name: String,
    values: Ids,
    of_item: Vec<Vec<u32>>,
    many: bool,
}

/// A field of context under way; 0 where nothing was said.
#[derive(Debug)]
struct Field {
    name: String,
    values: Ids,
    rows: Vec<u32>,
}

/// The number of a field, which is declared once for each name.
fn declared(fields: &mut Vec<Field>, name: &str) -> usize {
    fields.iter().position(|f| f.name == name).unwrap_or_else(|| {
        fields.push(Field { name: name.to_owned(), values: Ids::from_one(), rows: Vec::new() });
        fields.len() - 1
    })
}

/// What a source has read so far.
#[derive(Debug)]
pub(super) struct LogBuilder {
    pub(super) users: Ids,
    pub(super) items: Ids,
    pub(super) behaviours: Ids,
    events: EventColumns,
    pub(super) impressions: Option<Vec<Impression>>,
    /// One for each impression, where the set was published with a split.
    pub(super) published: Option<Vec<Published>>,
    attributes: Vec<Attribute>,
    user_fields: Vec<Field>,
    impression_fields: Vec<Field>,
    content: Option<Content>,
    categories: Ids,
    of_item: Vec<u32>,
    dropped: BTreeMap<String, u64>,
    watch: Option<Rc<RefCell<Watch>>>,
    /// Where the number of each user's events goes, if they are too many.
    counts: Counts,
}

impl LogBuilder {
    pub(super) fn new(reading: &Reading) -> Self {
        Self {
            watch: reading.watch.clone(),
            counts: reading.counts.clone(),
            users: Ids::default(),
            items: Ids::from_one(),
            behaviours: Ids::from_one(),
            events: EventColumns::new(reading.keep.clone()),
            impressions: None,
            published: None,
            attributes: Vec::new(),
            user_fields: Vec::new(),
            impression_fields: Vec::new(),
            content: None,
            categories: Ids::from_one(),
            of_item: vec![0],
            dropped: BTreeMap::new(),
        }
    }

    /// Makes room for this many behaviours.
    pub(super) fn expect(&mut self, behaviours: usize) {
        self.events.reserve(behaviours);
    }

    /// Takes in a behaviour.
    pub(super) fn push(&mut self, event: Event) {
        if let Some(watch) = &self.watch {
            watch.borrow_mut().behaviour(event.user, event.item, event.time, event.behaviour);
        }
        self.events.push(event);
    }

    /// Takes in a shown item that has a time.
    pub(super) fn show(&mut self, shown: Impression) {
        if let Some(watch) = &self.watch {
            watch.borrow_mut().impression(shown.user, shown.item, shown.time, shown.label);
        }
        self.impressions.get_or_insert_default().push(shown);
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
        self.put_category(item, number);
    }

    /// The same for a category whose text is that of a number.
    pub(super) fn categorise_plain(&mut self, item: u32, category: u64) {
        let number = self.categories.number_plain(category);
        self.put_category(item, number);
    }

    fn put_category(&mut self, item: u32, number: u32) {
        let known = slot(&mut self.of_item, item as usize);
        if *known == 0 {
            *known = number;
        } else if *known != number {
            self.drop_row("rows whose item had another category before (the first stays)");
        }
    }

    /// Declares an attribute of items with one value, or with any number of them; its number for [`Self::describe`].
    pub(super) fn attribute(&mut self, name: &str, many: bool) -> usize {
        let known = self.attributes.iter().position(|a| a.name == name && a.many == many);
        known.unwrap_or_else(|| {
            let name = name.to_owned();
            self.attributes.push(Attribute { name, values: Ids::from_one(), of_item: Vec::new(), many });
            self.attributes.len() - 1
        })
    }

    /// Adds a value to an attribute of an item; empty = none. Where there can be one value only, the first stays.
    pub(super) fn describe(&mut self, item: u32, attribute: usize, value: &str) {
        let a = &mut self.attributes[attribute];
        if value.is_empty() {
            return;
        }
        let number = a.values.number(value);
        let values = slot(&mut a.of_item, item as usize);
        if values.contains(&number) {
        } else if a.many || values.is_empty() {
            values.push(number);
        } else {
            let reason = format!("rows whose item had another value of {} before (the first stays)", a.name);
            self.drop_row(&reason);
        }
    }

    /// Gives an item its content vector; all have the width of the first.
    pub(super) fn set_content(&mut self, item: u32, vector: &[f32]) -> std::result::Result<(), String> {
        if vector.is_empty() {
            return Ok(());
        }
        let content = self.content.get_or_insert_with(|| Content { dim: vector.len(), values: Vec::new() });
        if content.dim != vector.len() {
            return Err(format!("has {} numbers, the vectors before have {}", vector.len(), content.dim));
        }
        let (from, to) = (item as usize * content.dim, (item as usize + 1) * content.dim);
        if content.values.len() < to {
            content.values.resize(to, 0.0);
        }
        content.values[from..to].copy_from_slice(vector);
        Ok(())
    }

    /// Declares a field of the users' context; its number for [`Self::set_user`].
    pub(super) fn user_field(&mut self, name: &str) -> usize {
        declared(&mut self.user_fields, name)
    }

    /// Sets a field of a user; empty = unknown.
    pub(super) fn set_user(&mut self, user: u32, field: usize, value: &str) {
        let f = &mut self.user_fields[field];
        let number = if value.is_empty() { 0 } else { f.values.number(value) };
        *slot(&mut f.rows, user as usize) = number;
    }

    /// Declares a field of the impressions' context; its number for [`Self::set_impression`].
    pub(super) fn impression_field(&mut self, name: &str) -> usize {
        declared(&mut self.impression_fields, name)
    }

    /// Sets a field of the impression that was pushed last; empty = unknown.
    pub(super) fn set_impression(&mut self, field: usize, value: &str) {
        let row = self.impressions.as_ref().map_or(0, Vec::len).saturating_sub(1);
        let f = &mut self.impression_fields[field];
        let number = if value.is_empty() { 0 } else { f.values.number(value) };
        *slot(&mut f.rows, row) = number;
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
        self.counts.replace(self.events.counts());
        let items = self.items.len();
        self.of_item.resize(items, 0);
        if let Some(content) = &mut self.content {
            content.values.resize(items * content.dim, 0.0);
        }
        let (users, shown) = (self.users.len(), self.impressions.as_ref().map_or(0, Vec::len));
        let field = |f: &Field| ContextField { name: f.name.clone(), count: f.values.len() };
        let context_fields = self.user_fields.iter().chain(&self.impression_fields).map(field).collect();
        let contexts = Contexts {
            user_fields: self.user_fields.len(),
            of_users: rows(&self.user_fields, users),
            impression_fields: self.impression_fields.len(),
            of_impressions: rows(&self.impression_fields, shown),
        };
        let features = self.attributes.into_iter().map(|a| a.finish(items)).collect();
        let category_count = self.categories.len();
        // What finds ids is not needed beside the columns that are sorted.
        let [user_ids, item_ids, behaviour_names] =
            [self.users, self.items, self.behaviours].map(|i| i.names);
        Ok(Log {
            name: name.to_owned(),
            interactions: self.events.sort(users)?,
            impressions: self.impressions,
            published: self.published,
            contexts,
            catalog: Catalog {
                items,
                categories: (category_count > 1).then_some(self.of_item),
                category_count: if category_count > 1 { category_count } else { 0 },
                content: self.content,
                behaviours,
                features,
                contexts: context_fields,
                themes: None,
            },
            user_ids,
            item_ids,
            behaviour_names,
            dropped: self.dropped,
            ticks_per_second,
            bayes: None,
        })
    }
}

/// `[count, fields]`, row-major.
fn rows(fields: &[Field], count: usize) -> Vec<u32> {
    (0..count).flat_map(|row| fields.iter().map(move |f| f.rows.get(row).copied().unwrap_or(0))).collect()
}

impl Attribute {
    fn finish(mut self, items: usize) -> ItemFeature {
        self.of_item.resize(items, Vec::new());
        let count = self.values.len();
        let values = if self.many {
            let mut offsets = vec![0];
            offsets.extend(self.of_item.iter().scan(0, |sum, ids| {
                *sum += ids.len();
                Some(*sum)
            }));
            FeatureValues::Many { offsets, ids: self.of_item.concat(), count }
        } else {
            let ids = self.of_item.iter().map(|ids| ids.first().copied().unwrap_or(0)).collect();
            FeatureValues::One { ids, count }
        };
        ItemFeature { name: self.name, values }
    }
}
