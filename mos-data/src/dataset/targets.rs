//! What is to be predicted of each user, before negatives are drawn.

use super::LabelRule;
use crate::{Error, Impression, Interactions, Part, Result, UserBlock};

/// A prediction on its way to a sample.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// As the log numbers them.
    pub(super) user: u32,
    pub(super) item: u32,
    pub(super) time: i64,
    pub(super) label: f32,
    pub(super) part: Part,
    /// Length of the history, where the set was published with it.
    pub(super) history: Option<u32>,
    /// Row among the impressions of the block, `u32::MAX` = none.
    pub(super) impression: u32,
    pub(super) bayes: Option<f64>,
}

impl Target {
    /// Length of its history among the users from `first` on.
    pub(super) fn end(&self, x: &Interactions, first: u32) -> u32 {
        self.history.unwrap_or_else(|| x.before(self.user - first, self.time) as u32)
    }
}

/// Hands the targets of a block to `take`: impressions in their order, behaviours user by user.
///
/// # Errors
/// [`Error::Config`] for a log without ratings where those say the label, [`Error::TooFew`] for a published history that is
/// longer than what its user did.
pub(super) fn each_target(block: &UserBlock, rule: &LabelRule, mut take: impl FnMut(Target)) -> Result<()> {
    let x = &block.interactions;
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
    let mut each = |label: &dyn Fn(usize) -> f32| {
        for user in 0..x.users() as u32 {
            x.range(user).for_each(|i| {
                take(target(block.first_user + user, x.items()[i], x.times()[i], label(i)));
            });
        }
    };
    match rule {
        LabelRule::Impressions {} => {
            let (published, bayes) = (block.published.as_ref(), block.bayes.as_ref());
            for (row, Impression { user, item, time, label }) in block.impressions.iter().enumerate() {
                let events = x.range(*user - block.first_user).len();
                if published.and_then(|p| p[row].history).is_some_and(|history| history as usize > events) {
                    return Err(Error::too_few(
                        format!("a published history of user {user} is longer than what the user did"),
                        "is the store damaged? convert the source again",
                    ));
                }
                take(Target {
                    part: published.map_or(Part::Train, |p| p[row].part),
                    history: published.and_then(|p| p[row].history),
                    impression: row as u32,
                    bayes: bayes.map(|b| b[row]),
                    ..target(*user, *item, *time, *label)
                });
            }
        }
        LabelRule::Rating { at_least } => {
            let ratings = x.ratings().ok_or_else(|| {
                Error::config("task.label.from", "rating", "this log has no ratings or labels")
            })?;
            each(&|i| f32::from(ratings[i] >= *at_least));
        }
        LabelRule::Negatives { .. } => each(&|_| 1.0),
    }
    Ok(())
}
