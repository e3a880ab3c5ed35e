//! What a source returns.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::{Catalog, Impression, Interactions, rng::hex};

/// A log as read, before any split.
#[derive(Clone, Debug)]
pub struct Log {
    /// Name of the data set.
    pub name: String,
    /// Behaviours.
    pub interactions: Interactions,
    /// Shown items with their labels, where the log has them.
    pub impressions: Option<Vec<Impression>>,
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

impl Log {
    /// Hash of everything that a model can see of this log, the same for a plain and a compressed file.
    pub fn sha256(&self) -> String {
        let mut h = Sha256::new();
        let x = &self.interactions;
        x.offsets().iter().for_each(|v| h.update((*v as u64).to_le_bytes()));
        x.items().iter().for_each(|v| h.update(v.to_le_bytes()));
        x.times().iter().for_each(|v| h.update(v.to_le_bytes()));
        h.update(x.behaviours());
        x.ratings().into_iter().flatten().for_each(|v| h.update(v.to_le_bytes()));
        x.given_sessions().into_iter().flatten().for_each(|v| h.update(v.to_le_bytes()));
        for i in self.impressions.iter().flatten() {
            h.update(i.user.to_le_bytes());
            h.update(i.item.to_le_bytes());
            h.update(i.time.to_le_bytes());
            h.update(i.label.to_le_bytes());
        }
        self.catalog.categories.iter().flatten().for_each(|v| h.update(v.to_le_bytes()));
        self.catalog.content.iter().flat_map(|c| &c.values).for_each(|v| h.update(v.to_le_bytes()));
        for id in self.user_ids.iter().chain(&self.item_ids).chain(&self.behaviour_names) {
            h.update((id.len() as u64).to_le_bytes());
            h.update(id);
        }
        hex(h)
    }
}
