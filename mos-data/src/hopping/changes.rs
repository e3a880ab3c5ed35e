//! How often the theme changes between neighbouring events: inside sessions, at their borders, and by chance.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    bootstrap::{Bootstrap, Estimate, Resampling},
    histories::{Histories, Step, by_session},
};
use crate::Sessionizer;

/// Changes of theme, as shares of the neighbouring events of one user.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// How sessions were found.
    pub sessions: Sessionizer,
    /// Sessions of a user.
    pub sessions_per_user: PerOne,
    /// Events of a session.
    pub events_per_session: PerOne,
    /// Both events in one session.
    pub inside: Option<Estimate>,
    /// The first event of a session, and the one before it.
    pub border: Option<Estimate>,
    /// All neighbours, after each user's themes are permuted: the mean over all permutations, in closed form.
    pub shuffled: Option<Estimate>,
    /// `inside` below what permuting would give the same users at these places: what sessions keep.
    pub kept_inside: Option<Estimate>,
    /// `border` below what permuting would give the same users at these places.
    pub kept_at_border: Option<Estimate>,
    /// The difference of the last two.
    pub lost_at_border: Option<Estimate>,
}

/// Mean and median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerOne {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
}

impl PerOne {
    fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let n = values.len();
        let middle = values.get(n / 2).copied().unwrap_or(0)
            + values.get(n.saturating_sub(1) / 2).copied().unwrap_or(0);
        Self { mean: values.iter().sum::<usize>() as f64 / n.max(1) as f64, median: middle as f64 / 2.0 }
    }
}

/// Numbers of the ratios.
const INSIDE: usize = 0;
const BORDER: usize = 1;
const SHUFFLED: usize = 2;
const CHANCE_INSIDE: usize = 3;
const CHANCE_AT_BORDER: usize = 4;

pub(super) fn changes(histories: &Histories, sessions: Sessionizer, by: Resampling) -> Changes {
    let of_user = |user: &u32| by_session(&histories.of(*user)).map(<[Step]>::len).collect::<Vec<_>>();
    let lengths: Vec<Vec<usize>> = histories.users.par_iter().map(of_user).collect();
    let per_user = lengths.iter().map(Vec::len).collect();
    let lengths = lengths.concat();
    let ratios = Bootstrap::new(&histories.users, 5, by, |user, sums| {
        let history = histories.of(user);
        let mut pairs = [[0.0; 2]; 2];
        for pair in history.windows(2) {
            let kind = &mut pairs[if pair[0].session == pair[1].session { INSIDE } else { BORDER }];
            kind[0] += f64::from(pair[0].theme != pair[1].theme);
            kind[1] += 1.0;
        }
        let chance = by_chance(&history);
        let of = |count: f64| [chance * count, count];
        let all = [pairs[INSIDE], pairs[BORDER], of(pairs[INSIDE][1] + pairs[BORDER][1])];
        let all = all.into_iter().chain([of(pairs[INSIDE][1]), of(pairs[BORDER][1])]);
        sums.iter_mut().zip(all).for_each(|(sum, own)| *sum = [sum[0] + own[0], sum[1] + own[1]]);
    });
    let inside = |r: &[f64]| r[CHANCE_INSIDE] - r[INSIDE];
    let border = |r: &[f64]| r[CHANCE_AT_BORDER] - r[BORDER];
    Changes {
        sessions,
        sessions_per_user: PerOne::of(per_user),
        events_per_session: PerOne::of(lengths),
        inside: ratios.ratio(INSIDE),
        border: ratios.ratio(BORDER),
        shuffled: ratios.ratio(SHUFFLED),
        kept_inside: ratios.estimate(inside),
        kept_at_border: ratios.estimate(border),
        lost_at_border: ratios.estimate(|r| inside(r) - border(r)),
    }
}

/// Share of changes between neighbours when the themes are permuted: that two different events differ in theme.
fn by_chance(history: &[Step]) -> f64 {
    let mut counts = vec![0u64; history.iter().map(|s| s.theme as usize + 1).max().unwrap_or(0)];
    history.iter().for_each(|s| counts[s.theme as usize] += 1);
    let pairs = |n: u64| (n * n.saturating_sub(1)) as f64;
    let all = pairs(history.len() as u64);
    if all > 0.0 { 1.0 - counts.iter().map(|n| pairs(*n)).sum::<f64>() / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use proptest::prelude::*;
    use rand::seq::SliceRandom as _;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn chance_is_the_mean_over_permutations(themes in prop::collection::vec(0u32..5, 2..30), seed: u64) {
            let step = |theme: &u32| Step { item: 1, theme: *theme, session: 0 };
            let chance = by_chance(&themes.iter().map(step).collect::<Vec<_>>());
            let mut themes = themes;
            let mut rng = rng::stream(seed, "test", &[]);
            let mut changes = 0;
            for _ in 0..4000 {
                themes.shuffle(&mut rng);
                changes += themes.windows(2).filter(|w| w[0] != w[1]).count();
            }
            let drawn = changes as f64 / (4000 * (themes.len() - 1)) as f64;
            prop_assert!((drawn - chance).abs() < 0.05, "{drawn} and {chance}");
        }
    }
}
