//! What is measured: each user's themes and sessions, in order.

use std::collections::{HashMap, HashSet};

use super::themes::Themes;
use crate::{Error, Log, Result};

/// One event that has a theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) item: u32,
    /// Numbered by first appearance with the user, so that names of themes cannot matter.
    pub(super) theme: u32,
    pub(super) session: u32,
}

/// The measured users of a log.
#[derive(Debug)]
pub(super) struct Histories<'a> {
    log: &'a Log,
    themes: &'a Themes,
    /// Session of each event of the log.
    pub(super) sessions: Vec<u32>,
    pub(super) users: Vec<u32>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) events: usize,
    pub(super) without_theme: usize,
    pub(super) themes: usize,
}

impl<'a> Histories<'a> {
    pub(super) fn new(log: &'a Log, themes: &'a Themes, sessions: Vec<u32>) -> Result<Self> {
        let x = &log.interactions;
        let themed = |user: &u32| x.items()[x.range(*user)].iter().any(|i| themes.of(*i).is_some());
        let users: Vec<u32> = themes.measured.iter().copied().filter(themed).collect();
        if users.is_empty() {
            let hint = "choose other themes, or check the column that they come from";
            return Err(Error::too_few(format!("{}: no event has a theme", log.name), hint));
        }
        Ok(Self { log, themes, sessions, users })
    }

    pub(super) fn counts(&self) -> Counts {
        let x = &self.log.interactions;
        let (mut events, mut without_theme, mut seen) = (0, 0, HashSet::new());
        for item in self.themes.measured.iter().flat_map(|u| &x.items()[x.range(*u)]) {
            match self.themes.of(*item) {
                Some(theme) => {
                    events += 1;
                    seen.insert(theme);
                }
                None => without_theme += 1,
            }
        }
        Counts { events, without_theme, themes: seen.len() }
    }

    /// The user's events that have a theme.
    pub(super) fn of(&self, user: u32) -> Vec<Step> {
        let mut numbers = HashMap::new();
        let range = self.log.interactions.range(user);
        range
            .filter_map(|at| {
                let item = self.log.interactions.items()[at];
                let next = numbers.len() as u32;
                let theme = *numbers.entry(self.themes.of(item)?).or_insert(next);
                Some(Step { item, theme, session: self.sessions[at] })
            })
            .collect()
    }
}

/// A history cut into its sessions.
pub(super) fn by_session(history: &[Step]) -> impl Iterator<Item = &[Step]> {
    history.chunk_by(|a, b| a.session == b.session)
}
