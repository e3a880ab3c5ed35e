//! Similarity of a user's sessions by how many sessions lie between them.

use serde::{Deserialize, Serialize};

use super::{
    bootstrap::{Bootstrap, Estimate, Resampling},
    histories::{Histories, Step, by_session},
};
use crate::Content;

/// What of two sessions is compared, by cosine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionVectors {
    /// How often each theme occurs.
    Histograms,
    /// The mean of the items' vectors, where themes are clusters of vectors.
    Means,
}

/// Sessions of one user, so many sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtDistance {
    /// 1 = neighbours.
    pub distance: usize,
    /// Number of pairs.
    pub pairs: u64,
    /// Mean cosine.
    pub similarity: Option<Estimate>,
    /// The same after each user's sessions are permuted: the mean over all permutations, in closed form.
    pub permuted: Option<Estimate>,
    /// The difference.
    pub above: Option<Estimate>,
}

/// Vector of a session: components that are not 0, in order, and its length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Profile {
    parts: Vec<(u32, f64)>,
    norm: f64,
}

impl Profile {
    /// Of a session: counts of its themes, or the sum of the items' vectors (its direction is that of the mean).
    pub(super) fn of(session: &[Step], vectors: Option<&Content>) -> Self {
        let parts = match vectors {
            None => {
                let mut themes: Vec<u32> = session.iter().map(|s| s.theme).collect();
                themes.sort_unstable();
                themes.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f64)).collect()
            }
            Some(Content { dim, values }) => {
                let mut sum = vec![0.0; *dim];
                for step in session {
                    let vector = &values[step.item as usize * dim..][..*dim];
                    sum.iter_mut().zip(vector).for_each(|(s, v)| *s += f64::from(*v));
                }
                (0..).zip(sum).collect::<Vec<_>>()
            }
        };
        let norm = parts.iter().map(|(_, v)| v * v).sum::<f64>().sqrt();
        Self { parts, norm }
    }

    /// Cosine; 0 where one has no direction.
    pub(super) fn cosine(&self, other: &Self) -> f64 {
        let (mut dot, mut rest) = (0.0, other.parts.as_slice());
        for (key, value) in &self.parts {
            rest = &rest[rest.partition_point(|(k, _)| k < key)..];
            if let Some((_, theirs)) = rest.first().filter(|(k, _)| k == key) {
                dot += value * theirs;
            }
        }
        if dot == 0.0 { 0.0 } else { dot / (self.norm * other.norm) }
    }
}

/// Mean cosine over all pairs of different sessions.
fn mean_cosine(profiles: &[Profile]) -> f64 {
    let mut parts: Vec<(u32, f64)> = Vec::new();
    for profile in profiles.iter().filter(|p| p.norm > 0.0) {
        parts.extend(profile.parts.iter().map(|(k, v)| (*k, v / profile.norm)));
    }
    parts.sort_by_key(|(k, _)| *k);
    // Twice the products of different sessions; exactly nothing where a part is one session's.
    let products = |same: &[(u32, f64)]| {
        let sum: f64 = same.iter().map(|(_, v)| v).sum();
        sum * sum - same.iter().map(|(_, v)| v * v).sum::<f64>()
    };
    let all: f64 = parts.chunk_by(|a, b| a.0 == b.0).map(products).sum();
    let n = profiles.len() as f64;
    all / (n * (n - 1.0))
}

pub(super) fn decay(
    histories: &Histories,
    vectors: Option<&Content>,
    most: usize,
    by: Resampling,
) -> Vec<AtDistance> {
    let ratios = Bootstrap::new(&histories.users, 2 * most, by, |user, sums| {
        let history = histories.of(user);
        let profiles: Vec<Profile> = by_session(&history).map(|s| Profile::of(s, vectors)).collect();
        if profiles.len() < 2 {
            return;
        }
        let permuted = mean_cosine(&profiles);
        for distance in 1..=most.min(profiles.len() - 1) {
            let pairs = profiles.iter().zip(&profiles[distance..]);
            let count = (profiles.len() - distance) as f64;
            let total: f64 = pairs.map(|(a, b)| a.cosine(b)).sum();
            for (at, value) in [(2 * distance - 2, total), (2 * distance - 1, permuted * count)] {
                sums[at][0] += value;
                sums[at][1] += count;
            }
        }
    });
    let pairs = |distance: usize| ratios.whole(2 * distance - 2) as u64;
    let at = |distance: usize| AtDistance {
        distance,
        pairs: pairs(distance),
        similarity: ratios.ratio(2 * distance - 2),
        permuted: ratios.ratio(2 * distance - 1),
        above: ratios.estimate(|r| r[2 * distance - 2] - r[2 * distance - 1]),
    };
    (1..=most).filter(|d| pairs(*d) > 0).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_closed_mean_is_the_mean(sessions in prop::collection::vec(prop::collection::vec(0u32..6, 1..8), 2..12)) {
            let step = |theme: &u32| Step { item: 1, theme: *theme, session: 0 };
            let profile = |s: &Vec<u32>| Profile::of(&s.iter().map(step).collect::<Vec<_>>(), None);
            let all: Vec<Profile> = sessions.iter().map(profile).collect();
            let pairs = (0..all.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
            let cosines: Vec<f64> = pairs.map(|(i, j)| all[i].cosine(&all[j])).collect();
            prop_assert!(cosines.iter().all(|c| (0.0..=1.0 + 1e-12).contains(c)));
            let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
            prop_assert!((mean - mean_cosine(&all)).abs() < 1e-12);
        }
    }
}
