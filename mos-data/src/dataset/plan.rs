//! What has to be known of all users before any of them becomes samples.

use std::{collections::BTreeMap, sync::Arc};

use rand::seq::SliceRandom as _;
use rayon::prelude::*;

use super::{
    Dataset, LabelRule, MetContexts, Sample, Splits, TaskConfig, Users,
    cuts::cut,
    negatives::{Negatives, keep_novel},
    targets::{Target, each_target},
};
use crate::{Card, Catalog, Contexts, Error, Log, Part, Result, UserBlock, card::Stats, rng};

/// Users in blocks that can be read again and again, in order.
pub(crate) trait Blocks {
    /// Shows every block.
    fn each(&self, look: &mut dyn FnMut(&UserBlock) -> Result<()>) -> Result<()>;
}

impl Blocks for UserBlock {
    fn each(&self, look: &mut dyn FnMut(&UserBlock) -> Result<()>) -> Result<()> {
        look(self)
    }
}

/// How users become samples, whichever of them are read.
#[derive(Debug)]
pub(crate) struct Plan {
    task: TaskConfig,
    ticks_per_second: i64,
    /// Starts of validation and test; `None` where the parts are the published ones.
    cuts: Option<[i64; 2]>,
    /// Items that can stand in a sample as themselves.
    known: Vec<bool>,
    /// Items that a sampled negative can be.
    negatives: Option<Negatives>,
    /// Numbers of the training samples that are kept, rising; `None` = all.
    kept: Option<Vec<u32>>,
    /// `[users, user_fields]`, all users.
    of_users: Vec<u32>,
    user_fields: usize,
    /// Values of context that training has, once that is settled.
    contexts: Option<MetContexts>,
}

/// What was found on the way to samples.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Left out, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Validation and test targets, and those that training never saw.
    later: u64,
    unknown: u64,
    /// True click probability of the test samples.
    bayes_test: Vec<f64>,
}

impl Tally {
    fn drop(&mut self, why: &str, n: usize) {
        if n > 0 {
            *self.dropped.entry(why.to_owned()).or_default() += n as u64;
        }
    }

    /// Adds what was found with the users that follow.
    pub(crate) fn add(&mut self, next: Self) {
        next.dropped.into_iter().for_each(|(why, n)| *self.dropped.entry(why).or_default() += n);
        self.later += next.later;
        self.unknown += next.unknown;
        self.bayes_test.extend(next.bayes_test);
    }
}

impl Plan {
    /// Looks at all users. `log` is what they have in common; its own columns are not read.
    pub(crate) fn new(blocks: &dyn Blocks, log: &Log, task: &TaskConfig) -> Result<Self> {
        if task.max_train == Some(0) {
            return Err(Error::config("task.max_train", 0, "must be at least 1"));
        }
        task.session.check(log.interactions.given_sessions().is_some())?;
        let users = log.user_ids.len();
        if users < 2 {
            return Err(Error::too_few(
                format!("{users} user(s) in {}", log.name),
                "a click model needs the histories of at least two users",
            ));
        }
        if matches!(task.label, LabelRule::Impressions {}) && log.impressions.is_none() {
            return Err(Error::config("task.label.from", "impressions", "this log has no impressions"));
        }
        let cuts = cut(blocks, task.cuts, &task.label)?;
        let (known, counts) = survey(blocks, &log.catalog, &task.label, cuts.map(|[cut, _]| cut))?;
        let negatives = match task.label {
            LabelRule::Negatives { per_positive, exponent, .. } => {
                Some(Negatives::new(counts, per_positive, exponent, task.seed)?)
            }
            _ => None,
        };
        Ok(Self {
            task: task.clone(),
            ticks_per_second: log.ticks_per_second,
            cuts,
            known,
            negatives,
            kept: None,
            of_users: log.contexts.of_users.clone(),
            user_fields: log.contexts.user_fields,
            contexts: None,
        })
    }

    /// The targets of a block, before negatives are drawn.
    fn targets(&self, block: &UserBlock, tally: &mut Tally) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        each_target(block, &self.task.label, |mut t| {
            if let Some([valid, test]) = self.cuts {
                t.part = match t.time {
                    time if time < valid => Part::Train,
                    time if time < test => Part::Valid,
                    _ => Part::Test,
                };
            }
            if t.part != Part::Train {
                tally.later += 1;
                if !self.known[t.item as usize] {
                    tally.unknown += 1;
                    t.item = 0;
                }
            }
            targets.push(t);
        })?;
        if let Some(negatives) = &self.negatives {
            // A negative is always an item of the training part, so another positive could be told by that alone.
            let all = targets.len();
            targets.retain(|t| negatives.can_be(t.item));
            let what = "positives of items that training never saw (a sampled negative is never one)";
            tally.drop(what, all - targets.len());
            (tally.later, tally.unknown) = (0, 0);
        }
        if let LabelRule::Negatives { novel: true, .. } = self.task.label {
            let all = targets.len();
            targets = keep_novel(&block.interactions, block.first_user, &targets);
            tally.drop("positives that the user had before", all - targets.len());
        }
        Ok(targets)
    }

    /// The number of training samples of a block.
    pub(crate) fn count(&self, block: &UserBlock) -> Result<u64> {
        let (x, first) = (&block.interactions, block.first_user);
        let targets = self.targets(block, &mut Tally::default())?;
        let counted = |t: &&Target| {
            t.part == Part::Train
                && (self.task.min_history == 0 || t.end(x, first) as usize >= self.task.min_history)
        };
        let each = 1 + self.negatives.as_ref().map_or(0, Negatives::per_positive);
        Ok((targets.iter().filter(counted).count() * each) as u64)
    }

    /// Makes samples of a block. `user_ids` are for messages.
    pub(crate) fn users(&self, block: UserBlock, user_ids: &[String]) -> Result<(Users, Tally)> {
        let mut tally = Tally::default();
        let mut targets = self.targets(&block, &mut tally)?;
        let mut users = self.histories(block);
        let (x, first) = (&users.interactions, users.first_user);
        if let Some(negatives) = &self.negatives {
            targets = negatives.with(x, first, &targets, user_ids)?;
        }
        let ends: Vec<u32> = targets.par_iter().map(|t| t.end(x, first)).collect();
        let (mut splits, mut short) = (Splits::default(), 0);
        for (t, end) in targets.iter().zip(ends) {
            if (end as usize) < self.task.min_history {
                short += 1;
                continue;
            }
            let Target { user, item, time, label, impression, .. } = *t;
            let sample = Sample { user, end, item, time, label, impression };
            match t.part {
                Part::Train => splits.train.push(sample),
                Part::Valid => splits.valid.push(sample),
                Part::Test => {
                    splits.test.push(sample);
                    tally.bayes_test.extend(t.bayes);
                }
            }
        }
        tally.drop(&format!("history shorter than {}", self.task.min_history), short);
        users.splits = splits;
        Ok((users, tally))
    }

    /// The users of a block, without samples.
    pub(crate) fn histories(&self, block: UserBlock) -> Users {
        let UserBlock { first_user, mut interactions, impression_fields, contexts, .. } = block;
        let sessions = self.task.session.of_users(&interactions, self.ticks_per_second);
        interactions.items.par_iter_mut().filter(|i| !self.known[**i as usize]).for_each(|i| *i = 0);
        let fields = self.user_fields;
        let mut contexts = Contexts {
            user_fields: fields,
            of_users: self.of_users[first_user as usize * fields..][..interactions.users() * fields].to_vec(),
            impression_fields,
            of_impressions: contexts,
        };
        self.forget(&mut contexts);
        let (splits, ticks_per_second) = (Splits::default(), self.ticks_per_second);
        Users { first_user, interactions, sessions, contexts, splits, ticks_per_second }
    }

    /// Chooses the training samples that are kept of `all`, where there are more than the task asks for. Returns how many.
    pub(crate) fn choose(&mut self, all: u64, dropped: &mut BTreeMap<String, u64>) -> Result<u64> {
        let Some(most) = self.task.max_train.filter(|m| (*m as u64) < all) else { return Ok(all) };
        let n = u32::try_from(all).map_err(|_| {
            let what = format!("{all} training samples are more than a part can be drawn from");
            Error::too_few(what, "leave task.max_train out")
        })?;
        let mut order: Vec<u32> = (0..n).collect();
        order.shuffle(&mut rng::stream(self.task.seed, "max_train", &[]));
        order.truncate(most);
        order.sort_unstable();
        order.shrink_to_fit();
        dropped.insert(format!("training samples beyond {most}"), all - most as u64);
        self.kept = Some(order);
        Ok(most as u64)
    }

    /// Leaves those of the training samples from number `first` on that are kept.
    pub(crate) fn keep(&self, train: &mut Vec<Sample>, first: u64) {
        let Some(kept) = &self.kept else { return };
        let place = |number: u64| kept.partition_point(|k| u64::from(*k) < number);
        let mine = &kept[place(first)..place(first + train.len() as u64)];
        *train = mine.iter().map(|k| train[(u64::from(*k) - first) as usize]).collect();
    }

    /// From here on values of context that training does not have are unknown.
    pub(crate) fn settle(&mut self, met: MetContexts) {
        self.contexts = Some(met);
    }

    /// Makes values of context unknown that training does not have, once that is settled.
    pub(crate) fn forget(&self, contexts: &mut Contexts) {
        if let Some(met) = &self.contexts {
            met.forget(contexts);
        }
    }

    /// The task as a whole: `log` without its columns, its hash, and what was found of all users.
    ///
    /// # Errors
    /// [`Error::TooFew`] when a part is empty or has one label only.
    pub(crate) fn dataset<U>(
        &self,
        log: Log,
        sha256: String,
        stats: &Stats,
        tally: Tally,
        users: U,
        split_sha256: String,
    ) -> Result<Dataset<U>> {
        let dropped: BTreeMap<String, u64> = log.dropped.into_iter().chain(tally.dropped).collect();
        for (part, [samples, positive]) in ["training", "validation", "test"].iter().zip(stats.parts) {
            if positive == 0 || positive == samples {
                let mut what = format!("the {part} part has {samples} samples, {positive} of them positive");
                dropped.iter().for_each(|(why, n)| what += &format!("; {n} {why}"));
                return Err(Error::too_few(
                    what,
                    "both labels are needed in each part: check task.label, task.cuts and task.min_history",
                ));
            }
        }
        let unknown = if tally.later == 0 { 0.0 } else { tally.unknown as f64 / tally.later as f64 };
        let label = self.task.label;
        let items = log.catalog.items - 1;
        let card = Card::of(&log.name, stats, items, label, dropped, unknown, self.ticks_per_second);
        let of_impressions = matches!(label, LabelRule::Impressions {});
        Ok(Dataset {
            name: log.name,
            users,
            catalog: Arc::new(log.catalog),
            user_ids: log.user_ids,
            item_ids: log.item_ids,
            known_items: self.known.clone(),
            behaviour_names: log.behaviour_names,
            session: self.task.session,
            ticks_per_second: self.ticks_per_second,
            sha256,
            split_sha256,
            label,
            card,
            bayes_test: log.bayes.filter(|_| of_impressions).map(|_| tally.bayes_test),
        })
    }
}

/// Of each item whether it is known: training has it, or it has a content vector. And how often it occurs before the cut.
fn survey(
    blocks: &dyn Blocks,
    catalog: &Catalog,
    rule: &LabelRule,
    cut: Option<i64>,
) -> Result<(Vec<bool>, Vec<u64>)> {
    let mut known = match &catalog.content {
        Some(content) => {
            content.values.chunks(content.dim.max(1)).map(|v| v.iter().any(|x| *x != 0.0)).collect()
        }
        None => vec![false; catalog.items],
    };
    let mut counts = vec![0u64; catalog.items];
    blocks.each(&mut |block| {
        let x = &block.interactions;
        // What belongs to the training part lies before the cut, or in the history of a training sample.
        let mut ends = vec![0u32; if cut.is_none() { x.users() } else { 0 }];
        each_target(block, rule, |t| {
            if cut.map_or(t.part == Part::Train, |cut| t.time < cut) {
                known[t.item as usize] = true;
                if let Some(end) = ends.get_mut((t.user - block.first_user) as usize) {
                    *end = t.end(x, block.first_user).max(*end);
                }
            }
        })?;
        if let Some(cut) = cut {
            let before = x.items().iter().zip(x.times()).filter(|(_, time)| **time < cut);
            before.for_each(|(item, _)| counts[*item as usize] += 1);
        }
        for (from, end) in x.offsets().iter().zip(ends) {
            let history = x.items().iter().skip(*from).take(end as usize);
            history.for_each(|item| known[*item as usize] = true);
        }
        Ok(())
    })?;
    counts.iter().zip(&mut known).filter(|(n, _)| **n > 0).for_each(|(_, known)| *known = true);
    Ok((known, counts))
}
