//! From a log to samples: sessions, labels, global time split, frozen negatives.

mod contexts;
mod cuts;
mod negatives;
mod plan;
mod targets;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use self::{
    contexts::MetContexts,
    plan::{Blocks, Plan, Tally},
};
use crate::{
    Card, Catalog, Contexts, Interactions, Log, Result, Sessionizer, UserBlock, card::Stats, rng::hex,
};

/// One prediction: would `user` at `time`, after `end` behaviours, click `item`?
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// User.
    pub user: u32,
    /// The first `end` events of the user are the history: those strictly before `time`, or as published.
    pub end: u32,
    /// Target item.
    pub item: u32,
    /// Time of the prediction.
    pub time: i64,
    /// 1 = click.
    pub label: f32,
    /// Its row among the contexts of impressions; `u32::MAX` where it is none.
    pub impression: u32,
}

/// Training, validation and test samples, split by global time.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// Before the first cut.
    pub train: Vec<Sample>,
    /// Between the cuts.
    pub valid: Vec<Sample>,
    /// From the second cut on.
    pub test: Vec<Sample>,
}

impl Splits {
    /// Hash of all samples of all parts.
    pub fn sha256(&self) -> String {
        let mut h = Sha256::new();
        for part in [&self.train, &self.valid, &self.test] {
            hash_part(&mut h, part);
        }
        hex(h)
    }
}

/// Adds a part of a split to its hash.
pub(crate) fn hash_part(h: &mut Sha256, part: &[Sample]) {
    h.update((part.len() as u64).to_le_bytes());
    hash_samples(h, part);
}

/// Adds samples of a part whose number was added before.
pub(crate) fn hash_samples(h: &mut Sha256, samples: &[Sample]) {
    for s in samples {
        h.update(s.user.to_le_bytes());
        h.update(s.end.to_le_bytes());
        h.update(s.item.to_le_bytes());
        h.update(s.time.to_le_bytes());
        h.update(s.label.to_le_bytes());
    }
}

/// Where labels come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum LabelRule {
    /// The log's own impressions.
    Impressions {},
    /// Every event is a sample, positive from this rating on.
    Rating {
        /// Smallest rating that counts as a click.
        at_least: f32,
    },
    /// Every event is a positive; negatives are sampled once and stay.
    Negatives {
        /// Negatives for each positive.
        per_positive: usize,
        /// Drawn with weight (training count)^exponent; 0 = uniform over items seen in training.
        exponent: f64,
        /// Only positives that the user never had before. A negative is new to the user in any case, so that without this
        /// the task can be solved by knowing what the user has had.
        #[serde(default)]
        novel: bool,
    },
}

impl LabelRule {
    /// For logs without impressions, where nothing else is asked for.
    pub const SAMPLED: Self = Self::Negatives { per_positive: 3, exponent: 0.75, novel: false };
}

impl std::fmt::Display for LabelRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Impressions {} => write!(f, "clicks on shown items"),
            Self::Rating { at_least } => write!(f, "ratings of {at_least} or more"),
            Self::Negatives { per_positive, exponent, novel } => {
                let new = if *novel { " new to the user" } else { "" };
                write!(f, "behaviours{new} against {per_positive} sampled negatives each (count^{exponent})")
            }
        }
    }
}

/// Where the time axis is cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cuts {
    /// At these quantiles of the samples' times.
    Quantile {
        /// Start of validation.
        valid: f64,
        /// Start of test.
        test: f64,
    },
    /// At these times, in the log's unit.
    Time {
        /// Start of validation.
        valid: i64,
        /// Start of test.
        test: i64,
    },
    /// As the set was published, which need not be by time.
    Published {},
}

/// How a log becomes a prediction task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Labels.
    pub label: LabelRule,
    /// Sessions.
    pub session: Sessionizer,
    /// Time split.
    pub cuts: Cuts,
    /// Samples with shorter histories are dropped (and counted).
    #[serde(default)]
    pub min_history: usize,
    /// At most this many training samples, drawn at random (and counted).
    #[serde(default)]
    pub max_train: Option<usize>,
    /// Seed of negatives and subsamples.
    #[serde(default)]
    pub seed: u64,
}

/// Users side by side: their histories and samples.
#[derive(Clone, Debug)]
pub struct Users {
    /// The first of them; user 0 of the columns is this one.
    pub first_user: u32,
    /// Behaviours.
    pub interactions: Interactions,
    /// Session of each event.
    pub sessions: Vec<u32>,
    /// Context of users and impressions.
    pub contexts: Contexts,
    /// Samples; their users are numbered as in the log.
    pub splits: Splits,
    /// Units of time in one second.
    pub ticks_per_second: i64,
}

/// A task ready to be trained on. `U` says where its users are: [`Users`], all of them in memory, or a [`Feed`](crate::Feed).
#[derive(Clone, Debug)]
pub struct Dataset<U = Users> {
    /// Name of the data set.
    pub name: String,
    /// Histories and samples.
    pub users: U,
    /// Items; models share them.
    pub catalog: Arc<Catalog>,
    /// Raw user ids.
    pub user_ids: Vec<String>,
    /// Raw item ids.
    pub item_ids: Vec<String>,
    /// Of each item whether it can stand in a sample as itself: it occurs before the validation cut, or its content is known.
    pub known_items: Vec<bool>,
    /// Name of each behaviour code; code 0 is empty.
    pub behaviour_names: Vec<String>,
    /// How events fell into sessions.
    pub session: Sessionizer,
    /// Units of time in one second.
    pub ticks_per_second: i64,
    /// Hash of the log.
    pub sha256: String,
    /// Hash of all samples of all parts, negatives included.
    pub split_sha256: String,
    /// Where its labels come from.
    pub label: LabelRule,
    /// What a reader should know of it.
    pub card: Card,
    /// True click probability of each test sample (synthetic data).
    pub bayes_test: Option<Vec<f64>>,
}

impl Users {
    /// Of the `items` rows of the catalog whether training meets them, as a target or in a history.
    pub fn seen_in_training(&self, items: usize) -> Vec<bool> {
        let mut seen = vec![false; items];
        self.see(&mut seen);
        seen
    }

    /// Adds the items that these users have in training.
    pub(crate) fn see(&self, seen: &mut [bool]) {
        let mut ends = vec![0; self.interactions.users()];
        for sample in &self.splits.train {
            seen[sample.item as usize] = true;
            let end = &mut ends[(sample.user - self.first_user) as usize];
            *end = sample.end.max(*end);
        }
        for (from, end) in self.interactions.offsets().iter().zip(ends) {
            let history = &self.interactions.items()[*from..*from + end as usize];
            history.iter().for_each(|item| seen[*item as usize] = true);
        }
    }
}

impl<U> Dataset<U> {
    /// The same task with its users elsewhere.
    pub(crate) fn map<V>(self, users: impl FnOnce(U) -> V) -> Dataset<V> {
        Dataset {
            users: users(self.users),
            name: self.name,
            catalog: self.catalog,
            user_ids: self.user_ids,
            item_ids: self.item_ids,
            known_items: self.known_items,
            behaviour_names: self.behaviour_names,
            session: self.session,
            ticks_per_second: self.ticks_per_second,
            sha256: self.sha256,
            split_sha256: self.split_sha256,
            label: self.label,
            card: self.card,
            bayes_test: self.bayes_test,
        }
    }
}

/// Prepares a task, all of it in memory.
///
/// # Errors
/// [`crate::Error::TooFew`] when a part of the split is empty or has one label only, [`crate::Error::Config`] for impossible rules.
pub fn prepare(log: Log, task: &TaskConfig) -> Result<Dataset> {
    let sha256 = log.sha256();
    let (log, block) = UserBlock::take(log);
    let mut plan = Plan::new(&block, &log, task)?;
    let (mut users, mut tally) = plan.users(block, &log.user_ids)?;
    plan.choose(users.splits.train.len() as u64, &mut tally.dropped)?;
    plan.keep(&mut users.splits.train, 0);
    let mut stats = Stats::default();
    stats.add(&users);
    let mut met = MetContexts::new(&log.catalog);
    met.add(&users);
    met.forget(&mut users.contexts);
    let split_sha256 = users.splits.sha256();
    plan.dataset(log, sha256, &stats, tally, users, split_sha256)
}
