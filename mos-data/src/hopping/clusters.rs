//! Themes as clusters of vectors: k-means on the sphere.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{Content, rng};

/// Starts, of which the best counts, and Lloyd steps of each.
const STARTS: u64 = 5;
const STEPS: usize = 20;

/// Cluster of each row, from 1; 0 for rows without direction.
pub(super) fn clusters(content: &Content, k: usize, seed: u64) -> Vec<u32> {
    let Content { dim, values } = content;
    let mut unit = values.clone();
    let mut known = Vec::new();
    for (at, row) in unit.chunks_exact_mut(*dim).enumerate() {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm > 0.0 && norm.is_finite() {
            row.iter_mut().for_each(|v| *v /= norm);
            known.push(at);
        }
    }
    let rows: Vec<&[f32]> = known.iter().map(|at| &unit[at * dim..][..*dim]).collect();
    let mut themes = vec![0; values.len() / dim];
    let one = |start| lloyd(&rows, k, &mut rng::stream(seed, "hopping/clusters", &[start]));
    let best = (0..STARTS).map(one).max_by(|a, b| a.1.total_cmp(&b.1));
    for (at, theme) in known.iter().zip(best.into_iter().flat_map(|b| b.0)) {
        themes[*at] = theme + 1;
    }
    themes
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Nearest centre of each row, and the sum of their cosines.
fn lloyd(rows: &[&[f32]], k: usize, rng: &mut ChaCha8Rng) -> (Vec<u32>, f64) {
    let mut centres = start(rows, k, rng);
    let mut nearest: Vec<(u32, f32)> = Vec::new();
    for _ in 0..STEPS {
        let of_row = |row: &&[f32]| {
            let all = (0..).zip(centres.iter().map(|c| dot(row, c)));
            all.fold((0, f32::NEG_INFINITY), |best, now| if now.1 > best.1 { now } else { best })
        };
        let now: Vec<(u32, f32)> = rows.par_iter().map(of_row).collect();
        let settled = now == nearest;
        nearest = now;
        if settled {
            break;
        }
        let mut sums = vec![vec![0.0; rows.first().map_or(0, |r| r.len())]; centres.len()];
        for (row, (theme, _)) in rows.iter().zip(&nearest) {
            sums[*theme as usize].iter_mut().zip(*row).for_each(|(s, v)| *s += f64::from(*v));
        }
        for (centre, sum) in centres.iter_mut().zip(sums) {
            let norm = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            // A centre without rows stays where it is.
            if norm > 0.0 {
                *centre = sum.iter().map(|v| (v / norm) as f32).collect();
            }
        }
    }
    let score = nearest.iter().map(|(_, cosine)| f64::from(*cosine)).sum();
    (nearest.into_iter().map(|(theme, _)| theme).collect(), score)
}

/// k-means++ (Arthur and Vassilvitskii 2007): far rows are likelier to become centres.
fn start(rows: &[&[f32]], k: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
    let mut centres: Vec<Vec<f32>> = Vec::new();
    let mut far = vec![1.0f64; rows.len()];
    while centres.len() < k {
        let total: f64 = far.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = rng.random::<f64>() * total;
        let last = far.iter().rposition(|d| *d > 0.0).unwrap_or(0);
        let at = far.iter().position(|d| (left -= d, left < 0.0).1).unwrap_or(last);
        let centre = rows[at].to_vec();
        let distance = |row: &&[f32]| f64::from((1.0 - dot(row, &centre)).max(0.0));
        let nearer: Vec<f64> = rows.par_iter().map(distance).collect();
        far.iter_mut().zip(nearer).for_each(|(d, n)| *d = if centres.is_empty() { n } else { d.min(n) });
        far[at] = 0.0;
        centres.push(centre);
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separated_directions_are_found_and_nothing_has_none() {
        let mut values = vec![0.0, 0.0, 0.0];
        for i in 0..60 {
            let mut row = [0.02 * (i % 5) as f32, 0.01 * (i % 7) as f32, 0.03];
            row[i % 3] += 1.0 + i as f32;
            values.extend(row);
        }
        let themes = clusters(&Content { dim: 3, values }, 3, 1);
        assert_eq!(themes[0], 0);
        assert!(
            (1..=60).all(|i| (1..=60).all(|j| (themes[i] == themes[j]) == (i % 3 == j % 3))),
            "{themes:?}"
        );
    }

    #[test]
    fn more_clusters_than_rows_do_no_harm() {
        assert_eq!(clusters(&Content { dim: 1, values: vec![0.0, 0.0] }, 4, 1), [0, 0]);
        let themes =
            clusters(&Content { dim: 2, values: vec![0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 1.0] }, 9, 1);
        assert!(themes[1] == themes[2] && themes[1] != themes[3], "{themes:?}");
    }
}
