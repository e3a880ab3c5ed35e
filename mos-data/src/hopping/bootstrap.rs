//! Ratios of sums over users, with intervals that draw users again.

use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rng;

/// A value with its 95 % interval, by the percentiles of draws of users.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Over all users.
    pub value: f64,
    /// Lower end; `None` where some draw of users leaves the value undefined.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
}

/// How users are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resampling {
    pub(super) draws: usize,
    pub(super) seed: u64,
}

/// Numerator and denominator of a ratio.
pub(super) type Sum = [f64; 2];

/// Beyond this number users are drawn in groups of equal size, so that memory does not grow with users.
const GROUPS: usize = 4096;

/// Ratios over all users and over each draw of them.
#[derive(Debug)]
pub(super) struct Bootstrap {
    all: Vec<f64>,
    /// Denominators over all users.
    whole: Vec<f64>,
    draws: Vec<Vec<f64>>,
}

impl Bootstrap {
    /// Adds up what `of` adds to `ratios` sums for each user.
    pub(super) fn new(
        users: &[u32],
        ratios: usize,
        by: Resampling,
        of: impl Fn(u32, &mut [Sum]) + Sync,
    ) -> Self {
        let count = users.len().clamp(1, GROUPS);
        let group = |first: usize| {
            let mut sums = vec![[0.0; 2]; ratios];
            users.iter().skip(first).step_by(count).for_each(|user| of(*user, &mut sums));
            sums
        };
        let groups: Vec<Vec<Sum>> = (0..count).into_par_iter().map(group).collect();
        let weighted = |weights: &[u16]| {
            let mut sums = vec![[0.0; 2]; ratios];
            for (group, weight) in groups.iter().zip(weights).filter(|(_, w)| **w > 0) {
                for (sum, own) in sums.iter_mut().zip(group) {
                    sum[0] += f64::from(*weight) * own[0];
                    sum[1] += f64::from(*weight) * own[1];
                }
            }
            sums.iter().map(|[part, whole]| part / whole).collect::<Vec<f64>>()
        };
        let draw = |number: usize| {
            let mut rng = rng::stream(by.seed, "hopping/bootstrap", &[number as u64]);
            let mut weights = vec![0u16; count];
            (0..count).for_each(|_| weights[rng.random_range(0..count as u32) as usize] += 1);
            weighted(&weights)
        };
        let whole = (0..ratios).map(|r| groups.iter().map(|g| g[r][1]).sum()).collect();
        let all = weighted(&vec![1; count]);
        Self { all, whole, draws: (0..by.draws).into_par_iter().map(draw).collect() }
    }

    /// A function of the ratios; `None` where it is undefined.
    pub(super) fn estimate(&self, of: impl Fn(&[f64]) -> f64) -> Option<Estimate> {
        let value = of(&self.all);
        let mut drawn: Vec<f64> = self.draws.iter().map(|d| of(d)).collect();
        let whole = drawn.len() > 1 && drawn.iter().all(|v| v.is_finite());
        drawn.sort_by(f64::total_cmp);
        let at = |q: f64| whole.then(|| drawn[((drawn.len() - 1) as f64 * q).round() as usize]);
        value.is_finite().then(|| Estimate { value, lo: at(0.025), hi: at(0.975) })
    }

    /// Denominator of one of the ratios over all users.
    pub(super) fn whole(&self, number: usize) -> f64 {
        self.whole[number]
    }

    /// One of the ratios.
    pub(super) fn ratio(&self, number: usize) -> Option<Estimate> {
        self.estimate(|r| r[number])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_covers_the_mean_and_narrows() {
        let by = Resampling { draws: 500, seed: 1 };
        let half = |n: u32| {
            let users: Vec<u32> = (0..n).collect();
            Bootstrap::new(&users, 1, by, |u, s| s[0] = [s[0][0] + f64::from(u % 2), s[0][1] + 1.0]).ratio(0)
        };
        let (few, many) = (half(20).unwrap(), half(2000).unwrap());
        let width = |e: Estimate| e.hi.unwrap() - e.lo.unwrap();
        assert!((few.value - 0.5).abs() < 1e-12 && few.lo < Some(0.5) && few.hi > Some(0.5));
        // Standard error of a share of one half: 0.5 / sqrt(n).
        assert!((width(many) / (3.92 * 0.5 / 2000f64.sqrt()) - 1.0).abs() < 0.15, "{many:?}");
        assert!(width(few) > 5.0 * width(many));
    }

    #[test]
    fn what_is_undefined_is_none() {
        let by = Resampling { draws: 50, seed: 1 };
        let one = Bootstrap::new(&[0, 1, 2], 2, by, |u, s| s[0] = [0.0, f64::from(u32::from(u == 0))]);
        let rare = one.ratio(0).unwrap();
        assert_eq!((rare.value, rare.lo, one.ratio(1)), (0.0, None, None));
    }
}
