//! From a log to samples: sessions, labels, global time split, frozen negatives.

mod negatives;

use std::sync::Arc;

use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::negatives::{Negatives, keep_novel};
use crate::{
    Card, Catalog, Contexts, Error, Impression, Interactions, Log, Part, Published, Result, Sessionizer,
    rng::{self, hex},
    sessions,
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
    /// Context of users and impressions.
    pub contexts: Contexts,
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
    if task.max_train == Some(0) {
        return Err(Error::config("task.max_train", 0, "must be at least 1"));
    }
    let session_of = sessions(&log, &task.session)?;
    let sha256 = log.sha256();
    let ticks_per_second = log.ticks_per_second;
    let Log {
        name,
        mut interactions,
        impressions,
        published,
        contexts,
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
    let mut targets = targets(&interactions, impressions, published, bayes.as_deref(), &task.label)?;
    let cut = split(&mut targets, task.cuts)?;
    let (known_items, mut unknown) = forget_unseen(&mut interactions, &mut targets, &catalog, cut);
    if let LabelRule::Negatives { per_positive, exponent, novel } = task.label {
        // Every target of these rules was of the training part before the cut, so there is one.
        let mut counts = vec![0u64; catalog.items];
        let before = interactions.items().iter().zip(interactions.times());
        let before = before.filter(|(_, time)| cut.is_some_and(|cut| **time < cut));
        before.for_each(|(item, _)| counts[*item as usize] += 1);
        // A negative is always an item of the training part, so another positive could be told by that alone.
        let all = targets.len();
        targets.retain(|t| t.item != 0 && counts[t.item as usize] > 0);
        unknown = 0.0;
        if targets.len() < all {
            let what = "positives of items that training never saw (a sampled negative is never one)";
            dropped.insert(what.into(), (all - targets.len()) as u64);
        }
        if novel {
            let all = targets.len();
            targets = keep_novel(&interactions, &targets);
            if targets.len() < all {
                dropped.insert("positives that the user had before".into(), (all - targets.len()) as u64);
            }
        }
        let negatives = Negatives::new(&counts, per_positive, exponent, task.seed)?;
        targets = negatives.with(&interactions, &targets, &user_ids)?;
    }
    let mut splits = Splits::default();
    let mut bayes_test = Vec::new();
    let ends: Vec<u32> = targets.par_iter().map(|t| t.end(&interactions)).collect();
    for (t, end) in targets.iter().zip(ends) {
        if (end as usize) < task.min_history {
            *dropped.entry(format!("history shorter than {}", task.min_history)).or_default() += 1;
            continue;
        }
        let Target { user, item, time, label, impression, .. } = *t;
        let sample = Sample { user, end, item, time, label, impression };
        match t.part {
            Part::Train => splits.train.push(sample),
            Part::Valid => splits.valid.push(sample),
            Part::Test => {
                splits.test.push(sample);
                bayes_test.extend(t.bayes);
            }
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
    let split_sha256 = splits.sha256();
    let contexts = known_contexts(contexts, &catalog, &splits);
    let of_impressions = matches!(task.label, LabelRule::Impressions {});
    let bayes_test = bayes.filter(|_| of_impressions).map(|_| bayes_test);
    Ok(Dataset {
        name,
        interactions,
        sessions: session_of,
        catalog: Arc::new(catalog),
        contexts,
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

/// A prediction on its way to a sample.
#[derive(Clone, Copy)]
struct Target {
    user: u32,
    item: u32,
    time: i64,
    label: f32,
    part: Part,
    /// Length of the history, where the set was published with it.
    history: Option<u32>,
    /// Row among the log's impressions, `u32::MAX` = none.
    impression: u32,
    bayes: Option<f64>,
}

impl Target {
    /// Length of its history.
    fn end(&self, x: &Interactions) -> u32 {
        self.history.unwrap_or_else(|| x.before(self.user, self.time) as u32)
    }
}

fn targets(
    x: &Interactions,
    impressions: Option<Vec<Impression>>,
    published: Option<Vec<Published>>,
    bayes: Option<&[f64]>,
    rule: &LabelRule,
) -> Result<Vec<Target>> {
    let target = |user, item, time, label| Target {
        user,
        item,
        time,
        label,
        part: Part::Train,
        history: None,
        impression: u32::MAX,
        bayes: None,
    };
    let each = |label: &dyn Fn(usize) -> f32| -> Vec<Target> {
        let users = (0..x.users() as u32).flat_map(|u| x.range(u).map(move |i| (u, i)));
        users.map(|(user, i)| target(user, x.items()[i], x.times()[i], label(i))).collect()
    };
    match rule {
        LabelRule::Impressions {} => {
            let missing = || Error::config("task.label.from", "impressions", "this log has no impressions");
            let shown = impressions.ok_or_else(missing)?;
            let beyond = |(p, i): &(&Published, &Impression)| {
                p.history.is_some_and(|history| history as usize > x.range(i.user).len())
            };
            if let Some((_, i)) = published.iter().flatten().zip(&shown).find(beyond) {
                return Err(Error::too_few(
                    format!("a published history of user {} is longer than what the user did", i.user),
                    "is the store damaged? convert the source again",
                ));
            }
            let with_row = |(row, i): (usize, &Impression)| Target {
                part: published.as_ref().map_or(Part::Train, |p| p[row].part),
                history: published.as_ref().and_then(|p| p[row].history),
                impression: row as u32,
                bayes: bayes.map(|b| b[row]),
                ..target(i.user, i.item, i.time, i.label)
            };
            Ok(shown.iter().enumerate().map(with_row).collect())
        }
        LabelRule::Rating { at_least } => {
            let ratings = x.ratings().ok_or_else(|| {
                Error::config("task.label.from", "rating", "this log has no ratings or labels")
            })?;
            Ok(each(&|i| f32::from(ratings[i] >= *at_least)))
        }
        LabelRule::Negatives { .. } => Ok(each(&|_| 1.0)),
    }
}

/// Gives each target its part. Returns the time of the first cut; `None` where the parts are the published ones.
fn split(targets: &mut [Target], cuts: Cuts) -> Result<Option<i64>> {
    let (valid, test) = match cuts {
        Cuts::Published {} if targets.iter().all(|t| t.part == Part::Train) => {
            return Err(Error::config(
                "task.cuts.at",
                "published",
                "this log was not published with a split",
            ));
        }
        Cuts::Published {} => return Ok(None),
        Cuts::Time { valid, test } if valid < test => (valid, test),
        Cuts::Quantile { valid, test }
            if 0.0 < valid && valid < test && test < 1.0 && !targets.is_empty() =>
        {
            let mut times: Vec<i64> = targets.par_iter().map(|t| t.time).collect();
            times.par_sort_unstable();
            let at = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)];
            (at(valid), at(test))
        }
        Cuts::Time { valid, test } => {
            return Err(Error::config(
                "task.cuts",
                format!("{valid}, {test}"),
                "valid must come before test",
            ));
        }
        Cuts::Quantile { .. } if targets.is_empty() => {
            return Err(Error::too_few("there is nothing to predict", "check task.label"));
        }
        Cuts::Quantile { valid, test } => {
            let message = "valid must come before test, both inside (0, 1)";
            return Err(Error::config("task.cuts", format!("{valid}, {test}"), message));
        }
    };
    for t in targets {
        t.part = match t.time {
            time if time < valid => Part::Train,
            time if time < test => Part::Valid,
            _ => Part::Test,
        };
    }
    Ok(Some(valid))
}

/// Of each event whether it belongs to the training part: it lies before the cut, or in the history of a training sample.
fn training_events(x: &Interactions, targets: &[Target], cut: Option<i64>) -> Vec<bool> {
    if let Some(cut) = cut {
        return x.times().par_iter().map(|t| *t < cut).collect();
    }
    let mut ends = vec![0usize; x.users()];
    for t in targets.iter().filter(|t| t.part == Part::Train) {
        ends[t.user as usize] = ends[t.user as usize].max(t.end(x) as usize);
    }
    let of_user = |(user, end): (usize, &usize)| {
        let end = *end;
        (0..x.range(user as u32).len()).map(move |i| i < end)
    };
    ends.iter().enumerate().flat_map(of_user).collect()
}

/// Items that training does not have become the unknown item, unless they have a content vector. Returns which items are
/// known, and the share of later targets that are not.
fn forget_unseen(
    x: &mut Interactions,
    targets: &mut [Target],
    catalog: &Catalog,
    cut: Option<i64>,
) -> (Vec<bool>, f64) {
    // What has a vector is known by it, whether or not training met it.
    let mut seen = match &catalog.content {
        Some(content) => {
            content.values.chunks(content.dim.max(1)).map(|v| v.iter().any(|x| *x != 0.0)).collect()
        }
        None => vec![false; catalog.items],
    };
    let training = training_events(x, targets, cut);
    x.items().iter().zip(training).filter(|(_, t)| *t).for_each(|(i, _)| seen[*i as usize] = true);
    targets.iter().filter(|t| t.part == Part::Train).for_each(|t| seen[t.item as usize] = true);
    x.items.iter_mut().filter(|i| !seen[**i as usize]).for_each(|i| *i = 0);
    let (mut later, mut unknown) = (0u64, 0u64);
    for target in targets.iter_mut().filter(|t| t.part != Part::Train) {
        later += 1;
        if !seen[target.item as usize] {
            unknown += 1;
            target.item = 0;
        }
    }
    (seen, if later == 0 { 0.0 } else { unknown as f64 / later as f64 })
}

/// Values of context that no training sample has become unknown.
fn known_contexts(mut c: Contexts, catalog: &Catalog, splits: &Splits) -> Contexts {
    let mut seen: Vec<Vec<bool>> = catalog.contexts.iter().map(|f| vec![false; f.count]).collect();
    for s in &splits.train {
        c.of(s.user, s.impression).zip(&mut seen).for_each(|(v, seen)| seen[v as usize] = true);
    }
    let forget = |values: &mut [u32], seen: &[Vec<bool>]| {
        for (i, value) in values.iter_mut().enumerate() {
            if !seen[i % seen.len()][*value as usize] {
                *value = 0;
            }
        }
    };
    let (of_users, of_impressions) = seen.split_at(c.user_fields);
    forget(&mut c.of_users, of_users);
    forget(&mut c.of_impressions, of_impressions);
    c
}
