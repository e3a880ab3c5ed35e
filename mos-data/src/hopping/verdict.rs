//! What the numbers mean, by a stated rule.

use serde::{Deserialize, Serialize};

use super::{bootstrap::Estimate, changes::Changes, returns::Returns};

/// What a log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Themes hold inside sessions, change between them, and come back.
    Hopping,
    /// Themes hold inside sessions and change between them, but hardly come back.
    Drifting,
    /// Themes hold inside sessions and across their borders.
    Carried,
    /// Themes hold no better inside sessions than across their borders.
    Unrelated,
    /// There is too little to tell.
    TooFew,
}

/// The outcome, and the sentence that says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it is.
    pub outcome: Outcome,
    /// One sentence.
    pub sentence: String,
}

/// Sessions must lower the rate of changes by this much at least.
const KEPT: f64 = 0.05;
/// Of what is kept inside, a border must lose this share.
const LOST: f64 = 0.5;
/// Of the switches, this share must be returns.
const RETURNED: f64 = 0.1;

impl Verdict {
    /// The rule, in words.
    pub const RULE: &str = "Session hopping is present where (1) permuting a user's themes adds at least 5 points to the \
        changes inside sessions, and more than at session borders (95 % interval over users), (2) a border loses at least \
        half of what sessions keep, and (3) at least one switch in ten goes back to a theme that led an earlier session.";
}

pub(super) fn verdict(changes: &Changes, returns: &Returns) -> Verdict {
    let known = (
        changes.inside,
        changes.border,
        changes.shuffled,
        changes.kept_inside,
        changes.lost_at_border.and_then(|l| Some((l, l.lo?))),
    );
    let (Some(inside), Some(border), Some(shuffled), Some(kept), Some((lost, lost_lo))) = known else {
        let sentence = "There are too few sessions to tell whether session hopping is present.".into();
        return Verdict { outcome: Outcome::TooFew, sentence };
    };
    let returned = returns.returned.map_or(0.0, |r| r.value);
    let outcome = match () {
        () if kept.value < KEPT => Outcome::Unrelated,
        () if lost_lo <= 0.0 || lost.value < LOST * kept.value => Outcome::Carried,
        () if returned < RETURNED => Outcome::Drifting,
        () => Outcome::Hopping,
    };
    let percent = |e: Estimate| format!("{:.1} %", 100.0 * e.value);
    let found = match outcome {
        Outcome::Hopping => "Session hopping is present",
        Outcome::Drifting => {
            "Themes change from session to session but hardly come back, which is drift and not session hopping"
        }
        Outcome::Carried => "Themes hold across session borders, so there is little session hopping",
        Outcome::Unrelated | Outcome::TooFew => {
            "There is no session hopping, as sessions do not hold themes together"
        }
    };
    let back = match (returns.returned, returns.returned_permuted) {
        (Some(r), Some(p)) => format!(
            "; {} of the switches between sessions go back to an earlier theme ({} with the sessions permuted)",
            percent(r),
            percent(p)
        ),
        _ => String::new(),
    };
    let sentence = format!(
        "{found}: the theme changes between {} of neighbouring events inside a session, {} at a session border and {} \
         after shuffling{back}.",
        percent(inside),
        percent(border),
        percent(shuffled)
    );
    Verdict { outcome, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hopping::{HoppingConfig, ThemeSource, study};

    /// Long runs of one theme that pay no heed to sessions hold inside them and across their borders.
    #[test]
    fn themes_that_outlast_sessions_are_carried() {
        let events = (0..40u32).flat_map(|user| {
            (0..60u32).map(move |i| crate::Event {
                user,
                item: (i + user) / 20 % 2 + 1,
                time: i64::from(i) * 60 + i64::from(i / 7) * 100_000,
                behaviour: 0,
                rating: None,
                session: None,
            })
        });
        let log = crate::Log {
            name: "runs".into(),
            interactions: crate::Interactions::from_events(40, events.collect()).unwrap(),
            impressions: None,
            published: None,
            contexts: crate::Contexts::default(),
            catalog: crate::Catalog {
                items: 3,
                categories: Some(vec![0, 1, 2]),
                category_count: 3,
                behaviours: 1,
                ..crate::Catalog::default()
            },
            user_ids: (0..40).map(|u| u.to_string()).collect(),
            item_ids: vec![String::new(), "a".into(), "b".into()],
            behaviour_names: vec![String::new()],
            dropped: [].into(),
            ticks_per_second: 1,
            bayes: None,
        };
        let config = HoppingConfig {
            themes: ThemeSource::Category,
            ..HoppingConfig::new(&log, vec![crate::Sessionizer::HALF_HOUR])
        };
        let found = study(&log, &config).unwrap();
        assert_eq!(found.verdict.outcome, Outcome::Carried, "{}", found.verdict.sentence);
    }
}
