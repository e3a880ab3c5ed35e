//! AUC, gAUC, log loss, calibration. Undefined is `None`, never 0 or 0.5.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Area under the ROC curve: the probability that a random positive scores above a random negative, ties one half.
/// Rank sum, O(n log n). `None` with one class only or a score that is not a number.
pub fn auc(scores: &[f32], labels: &[f32]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    if scores.iter().any(|s| s.is_nan()) {
        return None;
    }
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let positives = labels.iter().filter(|l| **l > 0.5).count() as f64;
    let negatives = labels.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut rank_sum, mut at) = (0.0, 0);
    while at < order.len() {
        // -0.0 and 0.0 tie although `total_cmp` orders them.
        let tied = order[at..].iter().take_while(|i| scores[**i] == scores[order[at]]).count();
        let hits = order[at..at + tied].iter().filter(|i| labels[**i] > 0.5).count() as f64;
        rank_sum += hits * (at as f64 + (tied as f64 + 1.0) / 2.0);
        at += tied;
    }
    Some((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// What a group's AUC counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupWeight {
    /// Its samples (FuxiCTR, LongCTR, BARS).
    Impressions,
    /// Its positives (RecBole).
    Positives,
    /// One.
    Uniform,
}

/// Weighted mean of per-group AUCs; groups of one class are left out and counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GAuc {
    /// The mean, `None` if no group has both classes.
    pub value: Option<f64>,
    /// Groups with both classes.
    pub groups_used: usize,
    /// All groups.
    pub groups_total: usize,
    /// Samples in groups with both classes.
    pub samples_used: usize,
}

/// Grouped AUC; groups are users in this workspace.
pub fn gauc(scores: &[f32], labels: &[f32], groups: &[u32], weight: GroupWeight) -> GAuc {
    let mut members: BTreeMap<u32, (Vec<f32>, Vec<f32>)> = BTreeMap::new();
    for ((score, label), group) in scores.iter().zip(labels).zip(groups) {
        let (s, l) = members.entry(*group).or_default();
        s.push(*score);
        l.push(*label);
    }
    let (mut sum, mut mass, mut used, mut samples_used) = (0.0, 0.0, 0, 0);
    for (s, l) in members.values() {
        if let Some(auc) = auc(s, l) {
            let w = match weight {
                GroupWeight::Impressions => l.len() as f64,
                GroupWeight::Positives => l.iter().filter(|l| **l > 0.5).count() as f64,
                GroupWeight::Uniform => 1.0,
            };
            (sum, mass, used) = (sum + w * auc, mass + w, used + 1);
            samples_used += l.len();
        }
    }
    GAuc {
        value: (mass > 0.0).then(|| sum / mass),
        groups_used: used,
        groups_total: members.len(),
        samples_used,
    }
}

/// Mean negative log likelihood in nats, from logits. `None` without samples or with a logit that is not a number.
pub fn log_loss(logits: &[f32], labels: &[f32]) -> Option<f64> {
    if logits.is_empty() || logits.iter().any(|x| x.is_nan()) {
        return None;
    }
    let each = |(x, y): (&f32, &f32)| {
        let (x, y) = (f64::from(*x), f64::from(*y));
        x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
    };
    Some(logits.iter().zip(labels).map(each).sum::<f64>() / logits.len() as f64)
}

/// Expected calibration error (Naeini et al. 2015): 15 equal-width bins of the predicted probability, mean of
/// |mean prediction - click rate| weighted by samples. `None` without samples or with a logit that is not a number.
pub fn ece(logits: &[f32], labels: &[f32]) -> Option<f64> {
    const BINS: usize = 15;
    if logits.is_empty() || logits.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut off = [0.0; BINS];
    for (x, y) in logits.iter().zip(labels) {
        let p = 1.0 / (1.0 + (-f64::from(*x)).exp());
        off[((p * BINS as f64) as usize).min(BINS - 1)] += p - f64::from(*y);
    }
    Some(off.iter().map(|o| o.abs()).sum::<f64>() / logits.len() as f64)
}

/// The AUC of one run under any weights of its groups, sorted once: what a bootstrap over users asks for.
#[derive(Clone, Debug)]
pub struct GroupedAuc {
    /// Group, label and whether the score equals the one before, by falling score.
    rows: Vec<(u32, bool, bool)>,
}

impl GroupedAuc {
    /// Sorts; `None` with a score that is not a number.
    pub fn new(scores: &[f32], labels: &[f32], groups: &[u32]) -> Option<Self> {
        if scores.iter().any(|s| s.is_nan()) {
            return None;
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let tied = |at: usize| at > 0 && scores[order[at]] == scores[order[at - 1]];
        let row = |at: usize| (groups[order[at]], labels[order[at]] > 0.5, tied(at));
        Some(Self { rows: (0..order.len()).map(row).collect() })
    }

    /// The AUC when group g counts `weights[g]` times; `None` if one class has no weight.
    pub fn auc(&self, weights: &[u8]) -> Option<f64> {
        // Pairs won by the positives of finished ties; positives so far; both of the current tie.
        let (mut won, mut above, mut negatives) = (0.0, 0.0, 0.0);
        let (mut tie_positive, mut tie_negative) = (0.0, 0.0);
        for (group, positive, tied) in &self.rows {
            if !tied {
                won += tie_negative * (above + tie_positive / 2.0);
                (above, negatives) = (above + tie_positive, negatives + tie_negative);
                (tie_positive, tie_negative) = (0.0, 0.0);
            }
            let weight = f64::from(weights[*group as usize]);
            if *positive {
                tie_positive += weight;
            } else {
                tie_negative += weight;
            }
        }
        won += tie_negative * (above + tie_positive / 2.0);
        (above, negatives) = (above + tie_positive, negatives + tie_negative);
        (above > 0.0 && negatives > 0.0).then(|| won / (above * negatives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_of_scikit_learn() {
        // sklearn.metrics (1.x): roc_auc_score([0,0,1,1], [.1,.4,.35,.8]) = 0.75, the example of its documentation;
        // with ties: roc_auc_score([0,1,0,1,1], [.5,.5,.2,.2,.9]) = 0.6666666666666666 (by the definition: 4 of 6).
        assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[0.0, 0.0, 1.0, 1.0]), Some(0.75));
        let tied = auc(&[0.5, 0.5, 0.2, 0.2, 0.9], &[0.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
        assert!((tied - 4.0 / 6.0).abs() < 1e-12, "{tied}");
        // log_loss(["spam","ham","ham","spam"], [[.1,.9],[.9,.1],[.8,.2],[.35,.65]]) = 0.21616..., its documentation.
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let loss =
            log_loss(&[logit(0.9), logit(0.1), logit(0.2), logit(0.65)], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        assert!((loss - 0.216_161_87).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(auc(&[1.0, 2.0], &[1.0, 1.0]), None);
        assert_eq!(auc(&[f32::NAN, 2.0], &[1.0, 0.0]), None);
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(gauc(&[1.0, 2.0], &[1.0, 0.0], &[1, 2], GroupWeight::Uniform).value, None);
        assert_eq!(log_loss(&[], &[]), None);
    }

    #[test]
    fn calibration_error_by_hand() {
        // Ten predictions of 0.5 with 7 clicks: |0.5 - 0.7|. The same beside ten of 0.88 with 9 clicks: the mean of
        // 0.2 and |0.88 - 0.9|.
        let labels = |n: usize, ones: usize| (0..n).map(|i| f32::from(i < ones)).collect::<Vec<_>>();
        let found = ece(&[0.0; 10], &labels(10, 7)).unwrap();
        assert!((found - 0.2).abs() < 1e-9, "{found}");
        let logit = (0.88f32 / 0.12).ln();
        let found =
            ece(&[[0.0; 10], [logit; 10]].concat(), &[labels(10, 7), labels(10, 9)].concat()).unwrap();
        assert!((found - 0.11).abs() < 1e-6, "{found}");
        assert_eq!(ece(&[], &[]), None);
    }

    #[test]
    fn weights_of_groups() {
        // User 1: AUC 1 with 1 positive of 2; user 2: AUC 0 with 2 positives of 3; user 3: one class.
        let (s, l) = ([2.0, 1.0, 1.0, 1.0, 2.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
        let value = |w| gauc(&s, &l, &[1, 1, 2, 2, 2, 3], w).value.unwrap();
        assert!((value(GroupWeight::Impressions) - 2.0 / 5.0).abs() < 1e-12);
        assert!((value(GroupWeight::Positives) - 1.0 / 3.0).abs() < 1e-12);
        assert!((value(GroupWeight::Uniform) - 0.5).abs() < 1e-12);
        let all = gauc(&s, &l, &[1, 1, 2, 2, 2, 3], GroupWeight::Uniform);
        assert_eq!((all.groups_used, all.groups_total), (2, 3));
    }

    proptest! {
        #[test]
        fn auc_properties(rows in prop::collection::vec((-5i32..5, any::<bool>()), 2..200)) {
            let scores: Vec<f32> = rows.iter().map(|(s, _)| *s as f32).collect();
            let labels: Vec<f32> = rows.iter().map(|(_, l)| f32::from(*l)).collect();
            let found = auc(&scores, &labels);
            let (mut wins, mut pairs) = (0.0, 0.0);
            for (i, j) in (0..rows.len()).flat_map(|i| (0..rows.len()).map(move |j| (i, j))) {
                if labels[i] > labels[j] {
                    pairs += 1.0;
                    wins += if scores[i] > scores[j] { 1.0 } else if scores[i] == scores[j] { 0.5 } else { 0.0 };
                }
            }
            prop_assert_eq!(found.is_some(), pairs > 0.0);
            if let Some(found) = found {
                prop_assert!((found - wins / pairs).abs() < 1e-9);
                let turned: Vec<f32> = scores.iter().map(|s| -s).collect();
                prop_assert!((auc(&turned, &labels).unwrap() - (1.0 - found)).abs() < 1e-9);
                let mapped: Vec<f32> = scores.iter().map(|s| (s * 0.3).exp()).collect();
                prop_assert!((auc(&mapped, &labels).unwrap() - found).abs() < 1e-9);
                // Counting a group twice is the same as standing there twice.
                let groups: Vec<u32> = (0..rows.len() as u32).map(|i| i % 3).collect();
                let twice: Vec<usize> = (0..rows.len()).chain((0..rows.len()).filter(|i| groups[*i] == 1)).collect();
                let doubled = auc(&twice.iter().map(|i| scores[*i]).collect::<Vec<_>>(), &twice.iter().map(|i| labels[*i]).collect::<Vec<_>>());
                let weighted = GroupedAuc::new(&scores, &labels, &groups).unwrap().auc(&[1, 2, 1]);
                prop_assert!((weighted.unwrap() - doubled.unwrap()).abs() < 1e-9);
                let grouped = gauc(&scores, &labels, &vec![7; rows.len()], GroupWeight::Impressions);
                prop_assert!((grouped.value.unwrap() - found).abs() < 1e-9);
            }
        }
    }
}
