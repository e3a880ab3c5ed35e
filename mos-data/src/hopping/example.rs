//! One user's history, to look at.

use serde::{Deserialize, Serialize};

use super::{
    decay::Profile,
    histories::{Histories, Step, by_session},
};
use crate::Content;

/// The user with the median number of sessions, among those with at least [`Example::SESSIONS`] where there are any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// How many users the choice was among.
    pub among: usize,
    /// Their least number of sessions.
    pub at_least: usize,
    /// Earlier sessions of the user that are left out: at most [`Example::MOST`] are kept.
    pub left_out: usize,
    /// Theme of each event of each session, from the user's commonest theme, 0.
    pub sessions: Vec<Vec<u32>>,
    /// Cosine of every pair of these sessions.
    pub similarity: Vec<Vec<f64>>,
}

impl Example {
    /// Sessions that a history worth looking at has.
    pub const SESSIONS: usize = 20;
    /// Most sessions of an example.
    pub const MOST: usize = 40;
}

pub(super) fn example(histories: &Histories, vectors: Option<&Content>) -> Option<Example> {
    let count = |user: &u32| by_session(&histories.of(*user)).count();
    let mut users: Vec<(usize, u32)> = histories.users.iter().map(|u| (count(u), *u)).collect();
    let enough = users.iter().any(|(sessions, _)| *sessions >= Example::SESSIONS);
    let at_least = if enough { Example::SESSIONS } else { 2 };
    users.retain(|(sessions, _)| *sessions >= at_least);
    users.sort_unstable();
    let (all, user) = *users.get(users.len() / 2)?;
    let history = histories.of(user);
    let left_out = all.saturating_sub(Example::MOST);
    let kept: Vec<&[Step]> = by_session(&history).skip(left_out).collect();
    let mut common: Vec<(usize, u32)> = Vec::new();
    for step in kept.iter().copied().flatten() {
        match common.iter_mut().find(|(_, theme)| *theme == step.theme) {
            Some((n, _)) => *n += 1,
            None => common.push((1, step.theme)),
        }
    }
    // Stable: of equally common ones the first to occur comes first.
    common.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    let rank = |s: &Step| common.iter().position(|(_, theme)| *theme == s.theme).unwrap_or(0) as u32;
    let profiles: Vec<Profile> = kept.iter().map(|s| Profile::of(s, vectors)).collect();
    Some(Example {
        among: users.len(),
        at_least,
        left_out,
        sessions: kept.iter().map(|s| s.iter().map(rank).collect()).collect(),
        similarity: profiles.iter().map(|a| profiles.iter().map(|b| a.cosine(b)).collect()).collect(),
    })
}
