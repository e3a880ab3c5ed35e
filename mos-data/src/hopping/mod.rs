//! Session hopping: does the theme of a user's behaviour hold inside a session, change between sessions, and come back?
//!
//! ```text
//! Log → themes of items → histories (theme, session) → changes, decay, returns → verdict
//! ```
//!
//! Whatever order or borders are compared with chance, chance keeps each user's own events: users differ in how many
//! themes they have, and that alone says nothing of sessions. Intervals draw users again with replacement.

mod bootstrap;
mod changes;
mod clusters;
mod cooccurrence;
mod decay;
mod example;
mod histories;
mod returns;
mod themes;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    bootstrap::Estimate,
    changes::{Changes, PerOne},
    decay::{AtDistance, SessionVectors},
    example::Example,
    returns::Returns,
    themes::ThemeSource,
    verdict::{Outcome, Verdict},
};
use self::{bootstrap::Resampling, histories::Histories, themes::Themes};
use crate::{Error, Log, Result, Sessionizer, sessions};

/// How session hopping is looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoppingConfig {
    /// Sessions: changes are counted for each of these; the first one serves the rest of the study.
    pub sessions: Vec<Sessionizer>,
    /// Where themes come from.
    pub themes: ThemeSource,
    /// Number of themes, where they are clusters.
    pub clusters: usize,
    /// What of two sessions is compared.
    pub similarity: SessionVectors,
    /// Largest distance of compared sessions.
    pub distances: usize,
    /// Permutations of each user's sessions, for returns.
    pub permutations: usize,
    /// Draws of users, for intervals.
    pub draws: usize,
    /// Seed of clusters, permutations and draws.
    pub seed: u64,
}

impl HoppingConfig {
    /// The defaults for a log: its categories where it has them, else clusters by co-occurrence.
    pub fn new(log: &Log, sessions: Vec<Sessionizer>) -> Self {
        Self {
            sessions,
            themes: ThemeSource::of(&log.catalog),
            clusters: 20,
            similarity: SessionVectors::Histograms,
            distances: 30,
            permutations: 20,
            draws: 1000,
            seed: 1,
        }
    }

    /// The same with the sessions that are worth a look where nobody asks for others: those that are `usual` for the log, and
    /// where these are gaps, gaps from minutes to a day beside them.
    pub fn over_gaps(log: &Log, usual: Sessionizer) -> Self {
        let mut sessions = vec![usual];
        if matches!(usual, Sessionizer::Gap { .. }) {
            let gaps = [10, 30, 60, 240, 1440].map(|minutes| Sessionizer::Gap { seconds: 60 * minutes });
            sessions.extend(gaps.into_iter().filter(|gap| *gap != usual));
        }
        Self::new(log, sessions)
    }

    fn check(&self) -> Result<()> {
        for (name, value, most) in [
            ("sessions", self.sessions.len(), 100),
            ("clusters", self.clusters, 1000),
            ("distances", self.distances, 10_000),
            ("permutations", self.permutations, 10_000),
            ("draws", self.draws, 100_000),
        ] {
            if !(1..=most).contains(&value) {
                let message = format!("must lie between 1 and {most}");
                return Err(Error::config(format!("hopping.{name}"), value, message));
            }
        }
        Ok(())
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Name of the data set.
    pub data: String,
    /// How it was looked at.
    pub config: HoppingConfig,
    /// Users whose histories were measured: those with an event that has a theme.
    pub users: usize,
    /// Their events.
    pub events: usize,
    /// Events left out because their item has no theme.
    pub without_theme: usize,
    /// Users left out because none of their events has a theme.
    pub users_without_theme: usize,
    /// Rows that the source left out, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Themes among the measured events.
    pub themes: usize,
    /// Users on whose sessions the themes were learned; their histories were not measured.
    pub learners: usize,
    /// Changes of theme between neighbouring events, one for each way to find sessions.
    pub changes: Vec<Changes>,
    /// Similarity of sessions by their distance, from 1.
    pub decay: Vec<AtDistance>,
    /// How often earlier themes come back.
    pub returns: Returns,
    /// What this means.
    pub verdict: Verdict,
    /// One user's history.
    pub example: Option<Example>,
}

/// Looks for session hopping in a log. The result depends on log and configuration alone, not on the number of threads.
///
/// # Errors
/// [`Error::Config`] where the log lacks what the themes are made of, or for sizes beyond their bounds;
/// [`Error::TooFew`] where no event has a theme.
pub fn study(log: &Log, config: &HoppingConfig) -> Result<Study> {
    config.check()?;
    let main = sessions(log, &config.sessions[0])?;
    let themes = Themes::new(log, &main, config)?;
    let resampling = Resampling { draws: config.draws, seed: config.seed };
    let mut histories = Histories::new(log, &themes, main)?;
    let counts = histories.counts();
    let vectors = themes.vectors(config)?;
    let decay = decay::decay(&histories, vectors, config.distances, resampling);
    let returns = returns::returns(&histories, config.permutations, resampling);
    let example = example::example(&histories, vectors);
    let mut changes = vec![changes::changes(&histories, config.sessions[0], resampling)];
    for by in &config.sessions[1..] {
        histories.sessions = sessions(log, by)?;
        changes.push(changes::changes(&histories, *by, resampling));
    }
    let verdict = verdict::verdict(&changes[0], &returns);
    Ok(Study {
        data: log.name.clone(),
        config: config.clone(),
        users: histories.users.len(),
        events: counts.events,
        without_theme: counts.without_theme,
        users_without_theme: themes.measured.len() - histories.users.len(),
        dropped: log.dropped.clone(),
        themes: counts.themes,
        learners: themes.learners,
        changes,
        decay,
        returns,
        verdict,
        example,
    })
}
