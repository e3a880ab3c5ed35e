//! Locality-sensitive hashing of histories (SimHash; SDIM, arXiv 2205.10249).

use std::collections::HashMap;

use super::{
    add_product, axpy,
    dense::{add_unit_grad, unit},
};
use crate::{Mat, Offsets, Spans, Tape, cost::count};

/// SimHash codes: for each row, `hashes` codes of `bits` bits, bit = 1[x · r > 0].
///
/// # Shapes
/// `values: [R, d]`, `projections: [d, hashes * bits]` → `[R, hashes]`
pub fn signatures(values: &[f32], dim: usize, projections: &[f32], hashes: usize, bits: usize) -> Vec<u16> {
    let (rows, width) = (values.len() / dim, hashes * bits);
    count(rows * dim * width);
    let mut signs = vec![0.0; rows * width];
    add_product((values, (rows, dim), false), (projections, (dim, width), false), &mut signs, (rows, width));
    signs.chunks(bits).map(|code| code.iter().fold(0, |c, s| c << 1 | u16::from(*s > 0.0))).collect()
}

/// SimHash codes of `bits` bits in one word, for Hamming distances (ETA, arXiv 2209.12212).
///
/// # Shapes
/// `values: [R, d]`, `projections: [d, bits]`, bits up to 64 → `[R]`
pub fn hash_words(values: &[f32], dim: usize, projections: &[f32], bits: usize) -> Vec<u64> {
    let single = signatures(values, dim, projections, bits, 1);
    single.chunks(bits).map(|word| word.iter().fold(0, |w, bit| w << 1 | u64::from(*bit))).collect()
}

/// Of each sample the `k` rows whose codes differ least from the sample's query (ties: the most recent), in time
/// order, with their borders. Comparisons of bits are not counted.
///
/// # Shapes
/// `queries: [B]`, `rows: [N]` → `[Σ min(k, n_b)]`
pub fn nearest_words(
    queries: &[u64],
    rows: &[u64],
    spans: impl Into<Spans>,
    k: usize,
) -> (Vec<u32>, Offsets) {
    let (mut chosen, mut lengths) = (Vec::new(), Vec::new());
    for (query, range) in queries.iter().zip(spans.into().ranges()) {
        let mut order: Vec<u32> = range.map(|r| r as u32).collect();
        order.sort_by_key(|r| ((query ^ rows[*r as usize]).count_ones(), std::cmp::Reverse(*r)));
        order.truncate(k);
        order.sort_unstable();
        lengths.push(order.len());
        chosen.extend(order);
    }
    (chosen, Offsets::from_lengths(lengths))
}

/// For each hash the sum of the rows that share the target's code, scaled to length 1 (zero stays zero); the mean over
/// hashes. The gradient reaches the rows, not the hash and not the target. Sums are additions and not counted.
///
/// # Shapes
/// `target: [B, d]`, `rows: [N, d]`, `projections: [d, hashes * bits]` → `[B, d]`
pub fn hash_pool(
    tape: &mut Tape,
    target: &Mat,
    rows: &Mat,
    spans: impl Into<Spans>,
    projections: &[f32],
    hashes: usize,
    bits: usize,
) -> Mat {
    let spans = spans.into();
    let (b, d) = (target.rows(), target.cols());
    assert_eq!((rows.rows(), b), (spans.rows(), spans.samples()), "hash_pool: spans of other rows");
    let wanted = signatures(target.values(), d, projections, hashes, bits);
    let (of_forward, of_backward) = (spans.clone(), spans);
    tape.record(
        &[rows],
        (b, d),
        |v| {
            let codes = signatures(&v[0], d, projections, hashes, bits);
            let mut sums = vec![0.0; b * hashes * d];
            // Sums of a history that several samples read, by hash and code.
            let mut known: HashMap<(usize, usize, u16), Vec<f32>> = HashMap::new();
            for (s, range) in of_forward.ranges().enumerate().filter(|(_, range)| !range.is_empty()) {
                let want = &wanted[s * hashes..(s + 1) * hashes];
                let sums = &mut sums[s * hashes * d..(s + 1) * hashes * d];
                let new: Vec<usize> = (0..hashes)
                    .filter(|h| match known.get(&(range.start, *h, want[*h])) {
                        Some(sum) => (sums[h * d..(h + 1) * d].copy_from_slice(sum), false).1,
                        None => true,
                    })
                    .collect();
                if new.is_empty() {
                    continue;
                }
                for r in range.clone() {
                    let row = &v[0][r * d..(r + 1) * d];
                    for h in new.iter().filter(|h| codes[r * hashes + **h] == want[**h]) {
                        axpy(1.0, row, &mut sums[h * d..(h + 1) * d]);
                    }
                }
                if of_forward.shared() {
                    let sum = |h: &usize| ((range.start, *h, want[*h]), sums[h * d..(h + 1) * d].to_vec());
                    known.extend(new.iter().map(sum));
                }
            }
            let norms: Vec<f32> = sums.chunks_mut(d).map(unit).collect();
            let mut out = vec![0.0; b * d];
            for (s, out) in out.chunks_mut(d).enumerate() {
                (0..hashes).for_each(|h| axpy(1.0 / hashes as f32, &sums[(s * hashes + h) * d..][..d], out));
            }
            (out, (sums, norms, codes, wanted))
        },
        move |back, (units, norms, codes, wanted)| {
            let mut through = vec![0.0; d];
            for (s, range) in of_backward.ranges().enumerate() {
                let g: Vec<f32> = back.out[s * d..(s + 1) * d].iter().map(|g| g / hashes as f32).collect();
                for h in 0..hashes {
                    let at = s * hashes + h;
                    if norms[at] == 0.0 {
                        continue;
                    }
                    through.fill(0.0);
                    add_unit_grad(&units[at * d..(at + 1) * d], norms[at], &g, &mut through);
                    for r in range.clone().filter(|r| codes[r * hashes + h] == wanted[at]) {
                        axpy(1.0, &through, &mut back.grads[0][r * d..(r + 1) * d]);
                    }
                }
            }
        },
    )
}
