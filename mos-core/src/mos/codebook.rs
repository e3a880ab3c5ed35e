//! k-means++ and nearest codes by cosine.

use rand::{RngExt as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::ops;

/// Scales each row of `[n, dim]` to length 1; a row shorter than 1e-6 becomes zero.
pub(super) fn normalise(rows: &mut [f32], dim: usize) {
    for row in rows.chunks_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x = if norm > 1e-6 { *x / norm } else { 0.0 });
    }
}

/// The code `[K, dim]` with the largest cosine for each row of `vectors` `[n, dim]` (ties: the lowest code).
pub fn nearest(vectors: &[f32], codes: &[f32], dim: usize) -> Vec<u32> {
    let mut unit = codes.to_vec();
    normalise(&mut unit, dim);
    let lanes = ops::side_by_side(&unit, dim);
    let mut out = Vec::with_capacity(vectors.len() / dim);
    ops::wide(
        #[inline(always)]
        || {
            for row in vectors.chunks_exact(dim) {
                let (mut best, mut most, mut k) = (0, f32::NEG_INFINITY, 0);
                for lanes in lanes.chunks_exact(dim) {
                    let left = codes.len() / dim - k;
                    for cosine in ops::dots_side_by_side(row, lanes).into_iter().take(left) {
                        if cosine > most {
                            (best, most) = (k as u32, cosine);
                        }
                        k += 1;
                    }
                }
                out.push(best);
            }
        },
    );
    out
}

/// Vectors that [`kmeans`] looks at.
const MOST: usize = 20_000;

/// k-means on the sphere: k-means++ start (Arthur and Vassilvitskii 2007) and 15 Lloyd steps on unit vectors. Zero
/// rows are left out; of more than 20,000 rows as many are drawn. Returns `[k, dim]`; the best of 8 starts by total cosine.
pub fn kmeans(vectors: &[f32], dim: usize, k: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut unit = vectors.to_vec();
    normalise(&mut unit, dim);
    let mut rows: Vec<&[f32]> = unit.chunks(dim).filter(|r| r.iter().any(|x| *x != 0.0)).collect();
    if rows.len() > MOST {
        rows = rows.sample(rng, MOST).copied().collect();
    }
    let flat = rows.concat();
    if rows.is_empty() {
        return vec![0.0; k * dim];
    }
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let mut best = (f32::NEG_INFINITY, Vec::new());
    for _ in 0..8 {
        let mut codes: Vec<f32> = rows[rng.random_range(0..rows.len())].to_vec();
        let mut distance = vec![f32::INFINITY; rows.len()];
        while codes.len() < k * dim {
            let last = codes[codes.len() - dim..].to_vec();
            distance.iter_mut().zip(&rows).for_each(|(d, r)| *d = d.min((1.0 - cosine(r, &last)).max(0.0)));
            let mut left = rng.random::<f32>() * distance.iter().sum::<f32>();
            let pick = distance.iter().position(|d| (left -= d, left <= 0.0).1 && *d > 0.0);
            codes.extend_from_slice(rows[pick.unwrap_or_else(|| rng.random_range(0..rows.len()))]);
        }
        for _ in 0..15 {
            let mut sums = vec![0.0; k * dim];
            for (row, z) in rows.iter().zip(nearest(&flat, &codes, dim)) {
                let z = z as usize;
                sums[z * dim..(z + 1) * dim].iter_mut().zip(*row).for_each(|(s, x)| *s += x);
            }
            for (code, sum) in codes.chunks_mut(dim).zip(sums.chunks(dim)) {
                if sum.iter().any(|x| *x != 0.0) {
                    code.copy_from_slice(sum);
                }
            }
            normalise(&mut codes, dim);
        }
        let fit = rows.iter().map(|r| codes.chunks(dim).map(|c| cosine(r, c)).fold(-1.0, f32::max)).sum();
        if fit > best.0 {
            best = (fit, codes);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kmeans_finds_separated_clusters() {
        let mut rng = mos_data::rng::stream(1, "test", &[]);
        let mut rows = Vec::new();
        for i in 0..60 {
            let mut row = [0.01 * (i as f32).sin(); 4];
            row[i % 3] += 1.0;
            rows.extend(row);
        }
        let codes = kmeans(&rows, 4, 3, &mut rng);
        let z = nearest(&rows, &codes, 4);
        assert!((0..60).all(|i| (z[i] == z[0]) == (i % 3 == 0)), "{z:?}");
    }
}
