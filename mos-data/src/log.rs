//! What a source returns.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::{Catalog, FeatureValues, Impression, Interactions, rng::hex};

/// A log as read, before any split.
#[derive(Clone, Debug)]
pub struct Log {
    /// Name of the data set.
    pub name: String,
    /// Behaviours.
    pub interactions: Interactions,
    /// Shown items with their labels, where the log has them.
    pub impressions: Option<Vec<Impression>>,
    /// Part and history of each impression, where the set was published with them.
    pub published: Option<Vec<Published>>,
    /// Context of users and impressions, where the log has any.
    pub contexts: Contexts,
    /// Items.
    pub catalog: Catalog,
    /// Raw id of each user.
    pub user_ids: Vec<String>,
    /// Raw id of each item; row 0 is empty.
    pub item_ids: Vec<String>,
    /// Name of each behaviour code; code 0 is empty.
    pub behaviour_names: Vec<String>,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Units of time in one second.
    pub ticks_per_second: i64,
    /// True click probability of each impression (synthetic data).
    pub bayes: Option<Vec<f64>>,
}

/// Part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Training.
    Train,
    /// Validation.
    Valid,
    /// Test.
    Test,
}

/// What a published split says of an impression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its part.
    pub part: Part,
    /// Its history is this many first events of its user, whatever their times; `None` = those strictly before its time.
    pub history: Option<u32>,
}

/// Categorical values that belong to users or to impressions; 0 = unknown or empty. [`Catalog::contexts`] names the
/// fields, those of users first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Number of fields of a user.
    pub user_fields: usize,
    /// `[users, user_fields]`, row-major.
    pub of_users: Vec<u32>,
    /// Number of fields of an impression.
    pub impression_fields: usize,
    /// `[impressions, impression_fields]`, row-major.
    pub of_impressions: Vec<u32>,
}

impl Contexts {
    /// The values of a prediction, one per field; those of impressions are unknown for `u32::MAX`, which is none.
    pub fn of(&self, user: u32, impression: u32) -> impl Iterator<Item = u32> {
        let user = &self.of_users[user as usize * self.user_fields..][..self.user_fields];
        let row = impression as usize * self.impression_fields;
        let shown = (0..self.impression_fields)
            .map(move |f| if impression == u32::MAX { 0 } else { self.of_impressions[row + f] });
        user.iter().copied().chain(shown)
    }
}

impl Log {
    /// Hash of every column that a model can see of this log, the same for a plain and a compressed file. Its unit of time is
    /// no part of it.
    pub fn sha256(&self) -> String {
        let mut h = LogHash::default();
        h.interactions(&self.interactions);
        h.rest(self);
        h.finish()
    }
}

/// The hash of a log, which a store computes without having all of it in memory.
#[derive(Default)]
pub(crate) struct LogHash {
    hash: Sha256,
    /// Small values go together into the hash.
    waiting: Vec<u8>,
}

impl LogHash {
    pub(crate) fn numbers<const N: usize>(&mut self, values: impl IntoIterator<Item = [u8; N]>) {
        for value in values {
            self.bytes(&value);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= 1 << 14 {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
    }

    pub(crate) fn interactions(&mut self, x: &Interactions) {
        self.numbers(x.offsets().iter().map(|v| (*v as u64).to_le_bytes()));
        self.numbers(x.items().iter().map(|v| v.to_le_bytes()));
        self.numbers(x.times().iter().map(|v| v.to_le_bytes()));
        self.numbers(x.behaviours().iter().map(|v| [*v]));
        self.numbers(x.ratings().into_iter().flatten().map(|v| v.to_le_bytes()));
        self.numbers(x.given_sessions().into_iter().flatten().map(|v| v.to_le_bytes()));
    }

    /// All that follows the behaviours of a log.
    pub(crate) fn rest(&mut self, log: &Log) {
        self.impressions(log.impressions.as_deref().unwrap_or_default());
        self.published(log.published.as_deref().unwrap_or_default());
        self.catalog(&log.catalog);
        let contexts = log.contexts.of_users.iter().chain(&log.contexts.of_impressions);
        self.numbers(contexts.map(|v| v.to_le_bytes()));
        self.texts(log.user_ids.iter().chain(&log.item_ids).chain(&log.behaviour_names));
    }

    pub(crate) fn impressions(&mut self, all: &[Impression]) {
        for i in all {
            self.bytes(&i.user.to_le_bytes());
            self.bytes(&i.item.to_le_bytes());
            self.bytes(&i.time.to_le_bytes());
            self.bytes(&i.label.to_le_bytes());
        }
    }

    pub(crate) fn published(&mut self, all: &[Published]) {
        for p in all {
            self.bytes(&[p.part as u8]);
            self.bytes(&p.history.unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    pub(crate) fn catalog(&mut self, catalog: &Catalog) {
        self.numbers(catalog.categories.iter().flatten().map(|v| v.to_le_bytes()));
        self.numbers(catalog.content.iter().flat_map(|c| &c.values).map(|v| v.to_le_bytes()));
        for feature in &catalog.features {
            self.texts([&feature.name]);
            match &feature.values {
                FeatureValues::One { ids, .. } => self.numbers(ids.iter().map(|v| v.to_le_bytes())),
                FeatureValues::Many { offsets, ids, .. } => {
                    self.numbers(offsets.iter().map(|v| (*v as u64).to_le_bytes()));
                    self.numbers(ids.iter().map(|v| v.to_le_bytes()));
                }
                FeatureValues::Dense(c) => self.numbers(c.values.iter().map(|v| v.to_le_bytes())),
            }
        }
    }

    pub(crate) fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a String>) {
        for text in texts {
            self.bytes(&(text.len() as u64).to_le_bytes());
            self.bytes(text.as_bytes());
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.hash.update(&self.waiting);
        hex(self.hash)
    }
}
