//! How often a session goes back to a theme that has led an earlier session.

use std::collections::HashSet;

use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use super::{
    bootstrap::{Bootstrap, Estimate, Resampling},
    histories::{Histories, Step, by_session},
};
use crate::rng;

/// Switches of the leading theme from session to session, and returns among them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Returns {
    /// Share of neighbouring sessions whose leading themes differ.
    pub switched: Option<Estimate>,
    /// Share of these switches whose new theme has led an earlier session.
    pub returned: Option<Estimate>,
    /// `switched` after each user's sessions are permuted.
    pub switched_permuted: Option<Estimate>,
    /// `returned` after each user's sessions are permuted.
    pub returned_permuted: Option<Estimate>,
    /// `switched` less `switched_permuted`.
    pub switched_above: Option<Estimate>,
    /// `returned` less `returned_permuted`.
    pub above: Option<Estimate>,
}

/// The commonest theme of a session; of equally common ones the first to occur.
pub(super) fn leading(session: &[Step]) -> u32 {
    let mut themes: Vec<(u32, usize)> = session.iter().enumerate().map(|(at, s)| (s.theme, at)).collect();
    themes.sort_unstable();
    let first = |same: &&[(u32, usize)]| (same.len(), std::cmp::Reverse(same[0].1));
    themes.chunk_by(|a, b| a.0 == b.0).max_by_key(first).map_or(u32::MAX, |same| same[0].0)
}

/// Switches, and returns among them.
fn count(leading: &[u32]) -> [f64; 2] {
    let (mut seen, mut counts) = (HashSet::new(), [0.0; 2]);
    for pair in leading.windows(2) {
        seen.insert(pair[0]);
        if pair[0] != pair[1] {
            counts[0] += 1.0;
            counts[1] += f64::from(seen.contains(&pair[1]));
        }
    }
    counts
}

pub(super) fn returns(histories: &Histories, permutations: usize, by: Resampling) -> Returns {
    let ratios = Bootstrap::new(&histories.users, 4, by, |user, sums| {
        let history = histories.of(user);
        let mut leads: Vec<u32> = by_session(&history).map(leading).collect();
        let pairs = leads.len().saturating_sub(1) as f64;
        let mut add = |at: usize, [switched, returned]: [f64; 2]| {
            for (sum, own) in sums[at..].iter_mut().zip([[switched, pairs], [returned, switched]]) {
                *sum = [sum[0] + own[0], sum[1] + own[1]];
            }
        };
        add(0, count(&leads));
        let mut rng = rng::stream(by.seed, "hopping/permutation", &[u64::from(user)]);
        let mut permuted = [0.0; 2];
        for _ in 0..permutations {
            leads.shuffle(&mut rng);
            let [switched, returned] = count(&leads);
            permuted = [permuted[0] + switched, permuted[1] + returned];
        }
        add(2, permuted.map(|n| n / permutations as f64));
    });
    Returns {
        switched: ratios.ratio(0),
        returned: ratios.ratio(1),
        switched_permuted: ratios.ratio(2),
        returned_permuted: ratios.ratio(3),
        switched_above: ratios.estimate(|r| r[0] - r[2]),
        above: ratios.estimate(|r| r[1] - r[3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_commonest_leads() {
        let session = |themes: &[u32]| -> Vec<Step> {
            themes.iter().map(|t| Step { item: 1, theme: *t, session: 0 }).collect()
        };
        for (themes, wanted) in [(&[7, 3, 3][..], 3), (&[7, 3], 7), (&[3, 7, 7, 3, 1], 3), (&[9], 9)] {
            assert_eq!(leading(&session(themes)), wanted, "{themes:?}");
        }
    }

    #[test]
    fn returns_are_counted_among_switches() {
        assert_eq!(count(&[1, 2, 1, 1, 3, 2]), [4.0, 2.0]);
        assert_eq!(count(&[1, 1, 1]), [0.0, 0.0]);
        assert_eq!(count(&[1]), [0.0, 0.0]);
    }
}
