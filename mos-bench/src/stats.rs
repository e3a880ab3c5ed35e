//! Intervals and paired tests over seeds, and Holm's correction over a table.

use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use crate::metrics::GroupedAuc;

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Mean.
    pub mean: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

/// A mean paired difference with its 95 % interval and p value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Mean difference.
    pub mean: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Two-sided p value.
    pub p: f64,
}

fn mean_and_error(values: &[f64]) -> Option<(f64, f64, StudentsT)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    (values.len() > 1 && mean.is_finite()).then(|| (mean, (variance / n).sqrt(), t))
}

/// Student's t interval of the mean; `None` for fewer than two values.
pub fn t_interval(values: &[f64]) -> Option<Interval> {
    let (mean, error, t) = mean_and_error(values)?;
    let half = error * t.inverse_cdf(0.975);
    Some(Interval { mean, lo: mean - half, hi: mean + half })
}

/// Paired t test of `a - b`; `None` for fewer than two pairs.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<Paired> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let (mean, error, t) = mean_and_error(&differences)?;
    let half = error * t.inverse_cdf(0.975);
    let p = if error > 0.0 { 2.0 * t.cdf(-(mean / error).abs()) } else { f64::from(mean == 0.0) };
    Some(Paired { mean, lo: mean - half, hi: mean + half, p })
}

/// Percentile interval of the mean over seeds of AUC(a) - AUC(b) when users are drawn again with replacement (`draws`
/// times): events of one user are not independent. `None` if a draw has no AUC.
pub fn bootstrap_users(a: &[GroupedAuc], b: &[GroupedAuc], weights: &[Vec<u32>]) -> Option<Interval> {
    let mean = |runs: &[GroupedAuc], w: &[u32]| -> Option<f64> {
        let all = runs.iter().map(|r| r.auc(w)).collect::<Option<Vec<f64>>>()?;
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let mut all = weights
        .par_iter()
        .map(|w| Some(mean(a, w)? - mean(b, w)?))
        .collect::<Option<Vec<f64>>>()
        .filter(|all| !all.is_empty())?;
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    all.sort_by(f64::total_cmp);
    let at = |q: f64| all[((all.len() - 1) as f64 * q).round() as usize];
    Some(Interval { mean, lo: at(0.025), hi: at(0.975) })
}

/// How often each of `users` is drawn, `draws` times.
pub fn resamples(users: usize, draws: usize, seed: u64) -> Vec<Vec<u32>> {
    let one = |draw: usize| {
        let mut rng = mos_data::rng::stream(seed, "bootstrap", &[draw as u64]);
        let mut weights = vec![0; users];
        (0..users).for_each(|_| weights[rng.random_range(0..users as u32) as usize] += 1);
        weights
    };
    (0..draws).map(one).collect()
}

/// Holm's step-down correction: p values that can be read at one level for the whole family.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut out = vec![0.0; p.len()];
    let mut most = 0.0f64;
    for (rank, i) in order.into_iter().enumerate() {
        most = most.max((p[i] * (p.len() - rank) as f64).min(1.0));
        out[i] = most;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_values() {
        // t quantile for 2 degrees of freedom: 4.302653 (any t table).
        let i = t_interval(&[1.0, 2.0, 3.0]).unwrap();
        assert!((i.hi - i.mean - 4.302_653 / 3f64.sqrt()).abs() < 1e-5, "{i:?}");
        assert_eq!(t_interval(&[1.0]), None);
        // scipy.stats.ttest_rel([1, 2, 4], [0, 2, 1]): t = 4/3 / (sqrt(7/3) / sqrt(3)) = 1.511858, p = 0.269703.
        let p = paired_t(&[1.0, 2.0, 4.0], &[0.0, 2.0, 1.0]).unwrap();
        assert!((p.mean - 4.0 / 3.0).abs() < 1e-12 && (p.p - 0.269_703).abs() < 1e-5, "{p:?}");
    }

    #[test]
    fn a_bootstrap_covers_what_is_there_and_not_what_is_not() {
        // 60 users with one click in four samples; run a ranks it first, run b by chance, run c as a does.
        let users: Vec<u32> = (0..240).map(|i| i / 4).collect();
        let labels: Vec<f32> = (0..240).map(|i| f32::from(i % 4 == 0)).collect();
        let chance: Vec<f32> = (0..240u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
        let good: Vec<f32> = labels.iter().zip(&chance).map(|(l, c)| l * 1e7 + c).collect();
        let run = |s: &[f32]| vec![GroupedAuc::new(s, &labels, &users).unwrap()];
        let draws = resamples(60, 200, 1);
        assert!(draws.iter().all(|w| w.iter().sum::<u32>() == 60));
        let gain = bootstrap_users(&run(&good), &run(&chance), &draws).unwrap();
        assert!(gain.lo > 0.1 && gain.hi > gain.lo, "{gain:?}");
        let none = bootstrap_users(&run(&good), &run(&good), &draws).unwrap();
        assert_eq!((none.lo, none.hi), (0.0, 0.0));
    }

    #[test]
    fn holm_corrects_in_order() {
        // R: p.adjust(c(0.01, 0.04, 0.03), "holm") = 0.03 0.06 0.06
        let out = holm(&[0.01, 0.04, 0.03]);
        assert!(out.iter().zip([0.03, 0.06, 0.06]).all(|(a, b)| (a - b).abs() < 1e-12), "{out:?}");
    }
}
