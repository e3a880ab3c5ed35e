//! The data card: what a reader should know before believing a number.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Catalog, Interactions, LabelRule, Sample, Splits, TaskConfig};

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
        x: &Interactions,
        sessions: &[u32],
        catalog: &Catalog,
        splits: &Splits,
        task: &TaskConfig,
        dropped: BTreeMap<String, u64>,
        unknown_targets: f64,
        ticks: i64,
    ) -> Self {
        let mut lengths: Vec<usize> = x.offsets().windows(2).map(|w| w[1] - w[0]).collect();
        lengths.sort_unstable();
        let at = |q: f64| lengths[((lengths.len() - 1) as f64 * q).round() as usize] as f64;
        let users = x.users() as f64;
        let total: f64 =
            (0..x.users() as u32).filter_map(|u| x.range(u).last()).map(|i| f64::from(sessions[i] + 1)).sum();
        let span =
            [x.times().iter().min(), x.times().iter().max()].map(|t| t.map_or(0, |t| t.div_euclid(ticks)));
        let part = |samples: &[Sample]| {
            let positive = samples.iter().filter(|s| s.label > 0.5).count();
            (samples.len(), positive as f64 / samples.len().max(1) as f64)
        };
        Self {
            name: name.to_owned(),
            users: x.users(),
            items: catalog.items - 1,
            events: x.len(),
            span,
            history: [x.len() as f64 / users, at(0.5), at(0.9), at(0.99), at(1.0)],
            sessions: [total / users, x.len() as f64 / total.max(1.0)],
            tie_rate: x.tie_rate(),
            label: task.label,
            parts: [("1 train", &splits.train), ("2 valid", &splits.valid), ("3 test", &splits.test)]
                .map(|(n, s)| (n.to_owned(), part(s)))
                .into(),
            unknown_targets,
            dropped,
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
