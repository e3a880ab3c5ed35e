//! The data card: what a reader should know before believing a number.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{LabelRule, Users};

/// Counts and statistics of a prepared task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    /// Name of the data set.
    pub name: String,
    /// Users.
    pub users: usize,
    /// Items, without the unknown one.
    pub items: usize,
    /// Behaviours.
    pub events: usize,
    /// First and last behaviour, unix seconds.
    pub span: [i64; 2],
    /// Behaviours per user: mean, median, 90 %, 99 %, most.
    pub history: [f64; 5],
    /// Sessions per user and behaviours per session, means.
    pub sessions: [f64; 2],
    /// Share of neighbouring events with equal times.
    pub tie_rate: f64,
    /// What is predicted.
    pub label: LabelRule,
    /// Samples and share of positives of each part.
    pub parts: BTreeMap<String, (usize, f64)>,
    /// Share of validation and test targets never seen in training.
    pub unknown_targets: f64,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Card {
    pub(crate) fn of(
        name: &str,
        stats: &Stats,
        items: usize,
        label: LabelRule,
        dropped: BTreeMap<String, u64>,
        unknown_targets: f64,
        ticks: i64,
    ) -> Self {
        let mut lengths = stats.lengths.clone();
        lengths.sort_unstable();
        let at = |q: f64| f64::from(lengths[((lengths.len() - 1) as f64 * q).round() as usize]);
        let (users, events, sessions) = (lengths.len() as f64, stats.events as f64, stats.sessions as f64);
        let part = |[samples, positive]: [usize; 2]| (samples, positive as f64 / samples.max(1) as f64);
        let parts = ["1 train", "2 valid", "3 test"].iter().zip(stats.parts);
        Self {
            name: name.to_owned(),
            users: lengths.len(),
            items,
            events: stats.events,
            span: stats.span.map_or([0; 2], |span| span.map(|t| t.div_euclid(ticks))),
            history: [events / users, at(0.5), at(0.9), at(0.99), at(1.0)],
            sessions: [sessions / users, events / sessions.max(1.0)],
            tie_rate: if stats.pairs == 0 { 0.0 } else { stats.ties as f64 / stats.pairs as f64 },
            label,
            parts: parts.map(|(name, counts)| ((*name).to_owned(), part(counts))).collect(),
            unknown_targets,
            dropped,
        }
    }
}

/// What is counted user by user.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Behaviours of each user.
    lengths: Vec<u32>,
    events: usize,
    sessions: u64,
    /// First and last behaviour.
    span: Option<[i64; 2]>,
    /// Neighbouring events of one user, and those of them with equal times.
    pairs: u64,
    ties: u64,
    /// Samples of each part, and the positive ones.
    pub(crate) parts: [[usize; 2]; 3],
}

impl Stats {
    /// Adds users.
    pub(crate) fn add(&mut self, users: &Users) {
        let x = &users.interactions;
        self.lengths.extend(x.offsets().windows(2).map(|w| (w[1] - w[0]) as u32));
        self.events += x.len();
        let last = (0..x.users() as u32).filter_map(|u| x.range(u).last());
        self.sessions += last.map(|i| u64::from(users.sessions[i]) + 1).sum::<u64>();
        for time in x.times() {
            let [first, last] = self.span.get_or_insert([*time; 2]);
            (*first, *last) = (*time.min(first), *time.max(last));
        }
        let (pairs, ties) = x.ties();
        (self.pairs, self.ties) = (self.pairs + pairs, self.ties + ties);
        let splits = &users.splits;
        for (count, part) in self.parts.iter_mut().zip([&splits.train, &splits.valid, &splits.test]) {
            count[0] += part.len();
            count[1] += part.iter().filter(|s| s.label > 0.5).count();
        }
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mean, p50, p90, p99, most] = self.history;
        writeln!(f, "data      {}", self.name)?;
        writeln!(f, "users     {}   items {}   events {}", self.users, self.items, self.events)?;
        writeln!(f, "span      {} to {} (unix seconds)", self.span[0], self.span[1])?;
        writeln!(f, "history   mean {mean:.1}, median {p50}, 90 % {p90}, 99 % {p99}, most {most}")?;
        writeln!(f, "sessions  {:.1} per user, {:.1} events each", self.sessions[0], self.sessions[1])?;
        writeln!(f, "ties      {:.1} % of neighbouring events have equal times", 100.0 * self.tie_rate)?;
        writeln!(f, "label     {}", self.label)?;
        for (part, (samples, positive)) in &self.parts {
            writeln!(f, "{:<9} {samples} samples, {:.1} % positive", &part[2..], 100.0 * positive)?;
        }
        writeln!(
            f,
            "unknown   {:.1} % of later targets never seen in training",
            100.0 * self.unknown_targets
        )?;
        if self.dropped.is_empty() {
            writeln!(f, "dropped   nothing")?;
        }
        for (reason, count) in &self.dropped {
            writeln!(f, "dropped   {count}: {reason}")?;
        }
        Ok(())
    }
}
