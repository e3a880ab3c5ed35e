//! Frozen negatives: each user has a random stream of its own, so that users are served side by side.

use std::collections::{HashMap, HashSet};

use rand::RngExt as _;
use rayon::prelude::*;

use super::targets::Target;
use crate::{Error, Interactions, Result, rng};

/// Leaves the first occurrence of each item with each user; `x` holds the users from `first` on.
pub(super) fn keep_novel(x: &Interactions, first: u32, targets: &[Target]) -> Vec<Target> {
    let of_user = |targets: &[Target]| {
        let events = x.range(targets[0].user - first);
        let mut first = HashMap::new();
        for (item, time) in x.items()[events.clone()].iter().zip(&x.times()[events]) {
            first.entry(*item).or_insert(*time);
        }
        let novel = |t: &&Target| first.get(&t.item).is_none_or(|time| *time >= t.time);
        targets.iter().filter(novel).copied().collect::<Vec<_>>()
    };
    targets.par_chunk_by(|a, b| a.user == b.user).flat_map_iter(of_user).collect()
}

/// Draws items by weights.
#[derive(Debug)]
pub(super) struct Negatives {
    /// Training occurrences of each item.
    counts: Vec<u64>,
    items: Vec<u32>,
    /// Of the weights of the items.
    cumulated: Vec<f64>,
    per_positive: usize,
    seed: u64,
}

impl Negatives {
    /// Draws item i with weight `counts[i]^exponent`, never one that has no count, and never the unknown item.
    pub(super) fn new(counts: Vec<u64>, per_positive: usize, exponent: f64, seed: u64) -> Result<Self> {
        if !(1..=1000).contains(&per_positive) {
            let message = "must lie between 1 and 1,000";
            return Err(Error::config("task.label.per_positive", per_positive, message));
        }
        if !(0.0..=2.0).contains(&exponent) {
            return Err(Error::config("task.label.exponent", exponent, "must lie in [0, 2]"));
        }
        let items: Vec<u32> = (1..counts.len()).filter(|i| counts[*i] > 0).map(|i| i as u32).collect();
        if items.is_empty() {
            return Err(Error::too_few("no behaviour lies before the validation cut", "check task.cuts"));
        }
        let mut sum = 0.0;
        let weight = |i: &u32| (sum += (counts[*i as usize] as f64).powf(exponent), sum).1;
        let cumulated = items.iter().map(weight).collect();
        Ok(Self { counts, items, cumulated, per_positive, seed })
    }

    /// Whether an item can be drawn.
    pub(super) fn can_be(&self, item: u32) -> bool {
        item != 0 && self.counts[item as usize] > 0
    }

    /// Negatives of each positive.
    pub(super) fn per_positive(&self) -> usize {
        self.per_positive
    }

    /// Each positive followed by its negatives, none of which its user has at any time; `x` holds the users from `first` on.
    pub(super) fn with(
        &self,
        x: &Interactions,
        first: u32,
        positives: &[Target],
        user_ids: &[String],
    ) -> Result<Vec<Target>> {
        let users = positives.par_chunk_by(|a, b| a.user == b.user);
        let users: Vec<Option<Vec<Target>>> = users
            .map(|of_user| self.of_user(&x.items()[x.range(of_user[0].user - first)], of_user))
            .collect();
        let mut out = Vec::with_capacity(positives.len() * (1 + self.per_positive));
        for (of_user, drawn) in positives.chunk_by(|a, b| a.user == b.user).zip(users) {
            out.extend(drawn.ok_or_else(|| {
                let what = format!(
                    "user {} has every item of the training part, so there is no negative",
                    user_ids.get(of_user[0].user as usize).map_or("", String::as_str)
                );
                Error::too_few(what, "use the log's own labels instead of sampled negatives")
            })?);
        }
        Ok(out)
    }

    /// The same for one user, who has `items`; `None` where these are all.
    fn of_user(&self, items: &[u32], positives: &[Target]) -> Option<Vec<Target>> {
        let known: HashSet<u32> = items.iter().copied().collect();
        if self.items.iter().all(|i| known.contains(i)) {
            return None;
        }
        let mut draw = rng::stream(self.seed, "negatives", &[u64::from(positives[0].user)]);
        let sum = self.cumulated.last().copied().unwrap_or(0.0);
        let mut out = Vec::with_capacity(positives.len() * (1 + self.per_positive));
        for positive in positives {
            out.push(*positive);
            for _ in 0..self.per_positive {
                let item = loop {
                    let mass = draw.random::<f64>() * sum;
                    let at = self.cumulated.partition_point(|c| *c <= mass);
                    let item = self.items[at.min(self.items.len() - 1)];
                    if !known.contains(&item) {
                        break item;
                    }
                };
                out.push(Target { item, label: 0.0, ..*positive });
            }
        }
        Some(out)
    }
}
