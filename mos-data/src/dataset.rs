//! From a log to samples: sessions, labels, global time split, frozen negatives.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use rand::{RngExt as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Card, Catalog, Error, Impression, Interactions, Log, Result, Sessionizer,
    rng::{self, hex},
    sessions,
};

/// One prediction: would `user` at `time`, after `end` behaviours, click `item`?
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// User.
    pub user: u32,
    /// The first `end` events of the user are the history, all strictly before `time`.
    pub end: u32,
    /// Target item.
    pub item: u32,
    /// Time of the prediction.
    pub time: i64,
    /// 1 = click.
    pub label: f32,
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

/// A task ready to be trained on.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of the data set.
    pub name: String,
    /// Behaviours.
    pub interactions: Interactions,
    /// Session of each event.
    pub sessions: Vec<u32>,
    /// Items; models share them.
    pub catalog: Arc<Catalog>,
    /// Samples.
    pub splits: Splits,
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

impl Dataset {
    /// Of each catalog item whether training meets it, as a target or in a history `[V]`.
    pub fn seen_in_training(&self) -> Vec<bool> {
        let mut seen = vec![false; self.catalog.items];
        let mut ends = vec![0; self.interactions.users()];
        for sample in &self.splits.train {
            seen[sample.item as usize] = true;
            let end = &mut ends[sample.user as usize];
            *end = sample.end.max(*end);
        }
        for (from, end) in self.interactions.offsets().iter().zip(ends) {
            let history = &self.interactions.items()[*from..*from + end as usize];
            history.iter().for_each(|item| seen[*item as usize] = true);
        }
        seen
    }
}

/// Prepares a task.
///
/// # Errors
/// [`Error::TooFew`] when a part of the split is empty or has one label only, [`Error::Config`] for impossible rules.
pub fn prepare(log: Log, task: &TaskConfig) -> Result<Dataset> {
    let session_of = sessions(&log, &task.session)?;
    let sha256 = log.sha256();
    let ticks_per_second = log.ticks_per_second;
    let Log {
        name,
        mut interactions,
        impressions,
        catalog,
        user_ids,
        item_ids,
        behaviour_names,
        mut dropped,
        bayes,
        ..
    } = log;
    if interactions.users() < 2 {
        return Err(Error::too_few(
            format!("{} user(s) in {name}", interactions.users()),
            "a click model needs the histories of at least two users",
        ));
    }
    if task.max_train == Some(0) {
        return Err(Error::config("task.max_train", 0, "must be at least 1"));
    }
    let (mut targets, bayes) = targets(&interactions, impressions, bayes, &task.label)?;
    let (valid_from, test_from) = cut_times(&targets, task.cuts)?;
    let (known_items, mut unknown) = forget_unseen(&mut interactions, &mut targets, &catalog, valid_from);
    if let LabelRule::Negatives { per_positive, exponent, novel } = task.label {
        // A negative is always a known item, so an unknown positive could be told by that alone.
        let all = targets.len();
        targets.retain(|t| t.item != 0);
        unknown = 0.0;
        if targets.len() < all {
            let what = "positives of items that training never saw (a sampled negative is never one)";
            dropped.insert(what.into(), (all - targets.len()) as u64);
        }
        if novel {
            let all = targets.len();
            keep_novel(&interactions, &mut targets);
            dropped.insert("positives that the user had before".into(), (all - targets.len()) as u64);
        }
        targets =
            with_negatives(&interactions, &user_ids, targets, per_positive, exponent, valid_from, task.seed)?;
    }
    let mut splits = Splits::default();
    let mut bayes_test = Vec::new();
    for (i, t) in targets.iter().enumerate() {
        let end = interactions.before(t.user, t.time) as u32;
        if (end as usize) < task.min_history {
            *dropped.entry(format!("history shorter than {}", task.min_history)).or_default() += 1;
            continue;
        }
        let sample = Sample { user: t.user, end, item: t.item, time: t.time, label: t.label };
        if t.time < valid_from {
            splits.train.push(sample);
        } else if t.time < test_from {
            splits.valid.push(sample);
        } else {
            splits.test.push(sample);
            bayes_test.extend(bayes.as_ref().map(|b| b[i]));
        }
    }
    if let Some(most) = task.max_train.filter(|m| *m < splits.train.len()) {
        let mut order: Vec<usize> = (0..splits.train.len()).collect();
        order.shuffle(&mut rng::stream(task.seed, "max_train", &[]));
        order.truncate(most);
        order.sort_unstable();
        dropped.insert(format!("training samples beyond {most}"), (splits.train.len() - most) as u64);
        splits.train = order.into_iter().map(|i| splits.train[i]).collect();
    }
    for (part, samples) in
        [("training", &splits.train), ("validation", &splits.valid), ("test", &splits.test)]
    {
        let positive = samples.iter().filter(|s| s.label > 0.5).count();
        if positive == 0 || positive == samples.len() {
            let mut what =
                format!("the {part} part has {} samples, {positive} of them positive", samples.len());
            dropped.iter().for_each(|(why, n)| what += &format!("; {n} {why}"));
            return Err(Error::too_few(
                what,
                "both labels are needed in each part: check task.label, task.cuts and task.min_history",
            ));
        }
    }
    let card = Card::of(
        &name,
        &interactions,
        &session_of,
        &catalog,
        &splits,
        task,
        dropped,
        unknown,
        ticks_per_second,
    );
    let split_sha256 = split_hash(&splits);
    let bayes_test = bayes.map(|_| bayes_test);
    Ok(Dataset {
        name,
        interactions,
        sessions: session_of,
        catalog: Arc::new(catalog),
        splits,
        user_ids,
        item_ids,
        known_items,
        behaviour_names,
        session: task.session,
        ticks_per_second,
        sha256,
        split_sha256,
        label: task.label,
        card,
        bayes_test,
    })
}

type Targets = (Vec<Impression>, Option<Vec<f64>>);

fn targets(
    x: &Interactions,
    impressions: Option<Vec<Impression>>,
    bayes: Option<Vec<f64>>,
    rule: &LabelRule,
) -> Result<Targets> {
    let each = |label: &dyn Fn(usize) -> f32| -> Vec<Impression> {
        let users = (0..x.users() as u32).flat_map(|u| x.range(u).map(move |i| (u, i)));
        users
            .map(|(user, i)| Impression { user, item: x.items()[i], time: x.times()[i], label: label(i) })
            .collect()
    };
    match rule {
        LabelRule::Impressions {} => {
            let missing = || Error::config("task.label.from", "impressions", "this log has no impressions");
            Ok((impressions.ok_or_else(missing)?, bayes))
        }
        LabelRule::Rating { at_least } => {
            let ratings = x.ratings().ok_or_else(|| {
                Error::config("task.label.from", "rating", "this log has no ratings or labels")
            })?;
            Ok((each(&|i| f32::from(ratings[i] >= *at_least)), None))
        }
        LabelRule::Negatives { .. } => Ok((each(&|_| 1.0), None)),
    }
}

fn cut_times(targets: &[Impression], cuts: Cuts) -> Result<(i64, i64)> {
    match cuts {
        Cuts::Time { valid, test } if valid < test => Ok((valid, test)),
        Cuts::Quantile { valid, test }
            if 0.0 < valid && valid < test && test < 1.0 && !targets.is_empty() =>
        {
            let mut times: Vec<i64> = targets.iter().map(|t| t.time).collect();
            times.sort_unstable();
            let at = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)];
            Ok((at(valid), at(test)))
        }
        Cuts::Time { valid, test } => {
            Err(Error::config("task.cuts", format!("{valid}, {test}"), "valid must come before test"))
        }
        Cuts::Quantile { .. } if targets.is_empty() => {
            Err(Error::too_few("there is nothing to predict", "check task.label"))
        }
        Cuts::Quantile { valid, test } => {
            let message = "valid must come before test, both inside (0, 1)";
            Err(Error::config("task.cuts", format!("{valid}, {test}"), message))
        }
    }
}

/// Items that first occur at or after the validation cut become the unknown item, unless their content is known.
/// Returns which items are known, and the share of later targets that are not.
fn forget_unseen(
    x: &mut Interactions,
    targets: &mut [Impression],
    catalog: &Catalog,
    cut: i64,
) -> (Vec<bool>, f64) {
    if catalog.content.is_some() {
        return ((0..catalog.items).map(|item| item > 0).collect(), 0.0);
    }
    let mut seen = vec![false; catalog.items];
    x.items().iter().zip(x.times()).filter(|(_, t)| **t < cut).for_each(|(i, _)| seen[*i as usize] = true);
    targets.iter().filter(|t| t.time < cut).for_each(|t| seen[t.item as usize] = true);
    x.items.iter_mut().filter(|i| !seen[**i as usize]).for_each(|i| *i = 0);
    let (mut later, mut unknown) = (0u64, 0u64);
    for target in targets.iter_mut().filter(|t| t.time >= cut) {
        later += 1;
        if !seen[target.item as usize] {
            unknown += 1;
            target.item = 0;
        }
    }
    (seen, if later == 0 { 0.0 } else { unknown as f64 / later as f64 })
}

/// Leaves the first occurrence of each item with each user.
fn keep_novel(x: &Interactions, targets: &mut Vec<Impression>) {
    let (mut current, mut first) = (u32::MAX, HashMap::new());
    targets.retain(|t| {
        if t.user != current {
            current = t.user;
            first.clear();
            let events = x.range(current);
            for (item, time) in x.items()[events.clone()].iter().zip(&x.times()[events]) {
                first.entry(*item).or_insert(*time);
            }
        }
        first.get(&t.item).is_none_or(|time| *time >= t.time)
    });
}

/// Each positive followed by its negatives: items of the training part, never one the user has at any time.
fn with_negatives(
    x: &Interactions,
    user_ids: &[String],
    positives: Vec<Impression>,
    per_positive: usize,
    exponent: f64,
    cut: i64,
    seed: u64,
) -> Result<Vec<Impression>> {
    if !(1..=1000).contains(&per_positive) {
        return Err(Error::config("task.label.per_positive", per_positive, "must lie between 1 and 1,000"));
    }
    if !(0.0..=2.0).contains(&exponent) {
        return Err(Error::config("task.label.exponent", exponent, "must lie in [0, 2]"));
    }
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for (item, _) in x.items().iter().zip(x.times()).filter(|(i, t)| **i != 0 && **t < cut) {
        *counts.entry(*item).or_default() += 1;
    }
    let items: Vec<u32> = counts.keys().copied().collect();
    if items.is_empty() {
        return Err(Error::too_few("no behaviour lies before the validation cut", "check task.cuts"));
    }
    let mut sum = 0.0;
    let cumulated: Vec<f64> = counts.values().map(|c| (sum += (*c as f64).powf(exponent), sum).1).collect();
    let mut draw = rng::stream(seed, "negatives", &[]);
    let mut known: HashSet<u32> = HashSet::new();
    let mut current = u32::MAX;
    let mut out = Vec::with_capacity(positives.len() * (1 + per_positive));
    for positive in positives {
        if positive.user != current {
            current = positive.user;
            known = x.items()[x.range(current)].iter().copied().collect();
            if items.iter().all(|i| known.contains(i)) {
                let what = format!(
                    "user {} has every item of the training part, so there is no negative",
                    user_ids[current as usize]
                );
                return Err(Error::too_few(what, "use the log's own labels instead of sampled negatives"));
            }
        }
        out.push(positive);
        for _ in 0..per_positive {
            let item = loop {
                let mass = draw.random::<f64>() * sum;
                let at = cumulated.partition_point(|c| *c <= mass);
                let item = items[at.min(items.len() - 1)];
                if !known.contains(&item) {
                    break item;
                }
            };
            out.push(Impression { item, label: 0.0, ..positive });
        }
    }
    Ok(out)
}

fn split_hash(splits: &Splits) -> String {
    let mut h = Sha256::new();
    for part in [&splits.train, &splits.valid, &splits.test] {
        h.update((part.len() as u64).to_le_bytes());
        for s in part {
            h.update(s.user.to_le_bytes());
            h.update(s.end.to_le_bytes());
            h.update(s.item.to_le_bytes());
            h.update(s.time.to_le_bytes());
            h.update(s.label.to_le_bytes());
        }
    }
    hex(h)
}
