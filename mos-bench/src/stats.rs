//! Intervals and paired tests over seeds, and Holm's correction over a table.

use rand::RngExt as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use crate::metrics::GroupedAuc;

/// A mean with its 95 % interval; a single value has a mean and no interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Mean.
    pub mean: f64,
    /// Lower end.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
}

/// A mean paired difference with its 95 % interval and p value; a single pair has neither.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Mean difference.
    pub mean: f64,
    /// Lower end.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// Two-sided p value.
    pub p: Option<f64>,
}

/// Mean, and with two values or more its standard error and the t distribution that belongs to it.
fn mean_and_error(values: &[f64]) -> Option<(f64, Option<(f64, StudentsT)>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok();
    mean.is_finite().then(|| (mean, t.map(|t| ((variance / n).sqrt(), t))))
}

/// Mean with Student's t interval; `None` without values.
pub fn t_interval(values: &[f64]) -> Option<Interval> {
    let (mean, spread) = mean_and_error(values)?;
    let half = spread.map(|(error, t)| error * t.inverse_cdf(0.975));
    Some(Interval { mean, lo: half.map(|h| mean - h), hi: half.map(|h| mean + h) })
}

/// Paired t test of `a - b`; `None` without pairs.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<Paired> {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let Interval { mean, lo, hi } = t_interval(&differences)?;
    let p = mean_and_error(&differences)?.1.map(|(error, t)| {
        if error > 0.0 { 2.0 * t.cdf(-(mean / error).abs()) } else { f64::from(mean == 0.0) }
    });
    Some(Paired { mean, lo, hi, p })
}

/// Mean over seeds of AUC(a) - AUC(b), with its percentile interval when users are drawn again with replacement, as often
/// as there are `draws`: events of one user are not independent. `None` if a draw has no AUC.
pub fn bootstrap_users(a: &[GroupedAuc], b: &[GroupedAuc], draws: &[Vec<u8>]) -> Option<Interval> {
    let mean = |runs: &[GroupedAuc], w: &[u8]| -> Option<f64> {
        let all = runs.iter().map(|r| r.auc(w)).collect::<Option<Vec<f64>>>()?;
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let difference = |w: &[u8]| Some(mean(a, w)? - mean(b, w)?);
    let mut all = draws
        .par_iter()
        .map(|w| difference(w))
        .collect::<Option<Vec<f64>>>()
        .filter(|all| !all.is_empty())?;
    all.sort_by(f64::total_cmp);
    let at = |q: f64| all[((all.len() - 1) as f64 * q).round() as usize];
    let once = vec![1; draws[0].len()];
    Some(Interval { mean: difference(&once)?, lo: Some(at(0.025)), hi: Some(at(0.975)) })
}

/// How often each of `users` is drawn, `draws` times. (More often than 255 times does not happen.)
pub fn resamples(users: usize, draws: usize, seed: u64) -> Vec<Vec<u8>> {
    let one = |draw: usize| {
        let mut rng = mos_data::rng::stream(seed, "bootstrap", &[draw as u64]);
        let mut weights = vec![0u8; users];
        for _ in 0..users {
            let weight = &mut weights[rng.random_range(0..users as u32) as usize];
            *weight = weight.saturating_add(1);
        }
        weights
    };
    (0..draws).into_par_iter().map(one).collect()
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

/// Holm's correction over all of these that have a p value.
pub fn correct(all: &mut [Option<Paired>]) {
    let p = holm(&all.iter().flatten().filter_map(|d| d.p).collect::<Vec<_>>());
    all.iter_mut().flatten().filter_map(|d| d.p.as_mut()).zip(p).for_each(|(d, p)| *d = p);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_values() {
        // t quantile for 2 degrees of freedom: 4.302653 (any t table).
        let i = t_interval(&[1.0, 2.0, 3.0]).unwrap();
        assert!((i.hi.unwrap() - i.mean - 4.302_653 / 3f64.sqrt()).abs() < 1e-5, "{i:?}");
        assert_eq!(t_interval(&[1.0]), Some(Interval { mean: 1.0, lo: None, hi: None }));
        assert_eq!(paired_t(&[1.0], &[0.5]), Some(Paired { mean: 0.5, lo: None, hi: None, p: None }));
        assert_eq!(t_interval(&[]), None);
        // scipy.stats.ttest_rel([1, 2, 4], [0, 2, 1]): t = 4/3 / (sqrt(7/3) / sqrt(3)) = 1.511858, p = 0.269703.
        let p = paired_t(&[1.0, 2.0, 4.0], &[0.0, 2.0, 1.0]).unwrap();
        assert!((p.mean - 4.0 / 3.0).abs() < 1e-12 && (p.p.unwrap() - 0.269_703).abs() < 1e-5, "{p:?}");
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
        assert!(draws.iter().all(|w| w.iter().map(|n| u32::from(*n)).sum::<u32>() == 60));
        let gain = bootstrap_users(&run(&good), &run(&chance), &draws).unwrap();
        assert!(gain.lo > Some(0.1) && gain.hi > gain.lo, "{gain:?}");
        let none = bootstrap_users(&run(&good), &run(&good), &draws).unwrap();
        assert_eq!((none.lo, none.hi), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn holm_corrects_in_order() {
        // R: p.adjust(c(0.01, 0.04, 0.03), "holm") = 0.03 0.06 0.06
        let out = holm(&[0.01, 0.04, 0.03]);
        assert!(out.iter().zip([0.03, 0.06, 0.06]).all(|(a, b)| (a - b).abs() < 1e-12), "{out:?}");
    }
}
