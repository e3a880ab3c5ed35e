//! Locality-sensitive hashing of histories (SimHash; SDIM, arXiv 2205.10249).

use std::collections::HashMap;

use super::{
    add_product, axpy, bits,
    dense::{add_unit_grad, unit},
    wide,
};
use crate::{Mat, Offsets, Spans, Tape, cost::count};

/// SimHash codes: for each row, `hashes` codes of `bits` bits, bit = 1[x · r > 0].
///
/// # Shapes
/// `values: [R, d]`, `projections: [d, hashes * bits]` → `[R, hashes]`
pub fn signatures(values: &[f32], dim: usize, projections: &[f32], hashes: usize, bits: usize) -> Vec<u16> {
    // As many codes at a time as fit into a word.
    let (width, at_once) = (hashes * bits, 64 / bits);
    let mut codes = vec![0; values.len() / dim * hashes];
    let (mut rest, mask) = (codes.as_mut_slice(), (1u64 << bits) - 1);
    project(
        values,
        dim,
        projections,
        width,
        #[inline(always)]
        |signs| {
            let (mine, others) = std::mem::take(&mut rest).split_at_mut(signs.len() / bits);
            rest = others;
            for (codes, signs) in mine.chunks_exact_mut(hashes).zip(signs.chunks_exact(width)) {
                for (codes, signs) in codes.chunks_mut(at_once).zip(signs.chunks(at_once * bits)) {
                    let mut word = packed(signs);
                    for code in codes.iter_mut().rev() {
                        *code = (word & mask) as u16;
                        word >>= bits;
                    }
                }
            }
        },
    );
    codes
}

/// Calls `with` for the projections of some rows after the others, few enough to stay in the cache.
#[inline(always)]
fn project(values: &[f32], dim: usize, projections: &[f32], width: usize, mut with: impl FnMut(&[f32])) {
    const ROWS: usize = 256;
    count(values.len() / dim * dim * width);
    let mut signs = vec![0.0; ROWS * width];
    for values in values.chunks(ROWS * dim) {
        let rows = values.len() / dim;
        let signs = &mut signs[..rows * width];
        signs.fill(0.0);
        add_product((values, (rows, dim), false), (projections, (dim, width), false), signs, (rows, width));
        wide(
            #[inline(always)]
            || with(signs),
        );
    }
}

/// The bits 1[x > 0], the first highest.
#[inline(always)]
fn packed(values: &[f32]) -> u64 {
    let (mut word, chunks) = (0, values.chunks_exact(16));
    let rest = chunks.remainder();
    for x in chunks {
        let mut bits = 0u32;
        for i in 0..16 {
            bits |= u32::from(x[i] > 0.0) << (15 - i);
        }
        word = word << 16 | u64::from(bits);
    }
    for x in rest {
        word = word << 1 | u64::from(*x > 0.0);
    }
    word
}

/// SimHash codes of `bits` bits in one word, for Hamming distances (ETA, arXiv 2209.12212).
///
/// # Shapes
/// `values: [R, d]`, `projections: [d, bits]`, bits up to 64 → `[R]`
pub fn hash_words(values: &[f32], dim: usize, projections: &[f32], bits: usize) -> Vec<u64> {
    let mut words = vec![0; values.len() / dim];
    let mut rest = words.as_mut_slice();
    project(
        values,
        dim,
        projections,
        bits,
        #[inline(always)]
        |signs| {
            let (mine, others) = std::mem::take(&mut rest).split_at_mut(signs.len() / bits);
            rest = others;
            for (word, signs) in mine.iter_mut().zip(signs.chunks_exact(bits)) {
                *word = packed(signs);
            }
        },
    );
    words
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
    let mut distances: Vec<u8> = Vec::new();
    for (query, range) in queries.iter().zip(spans.into().ranges()) {
        let kept = range.len().min(k);
        lengths.push(kept);
        distances.resize(range.len(), 0);
        wide(
            #[inline(always)]
            || {
                for (distance, word) in distances.iter_mut().zip(&rows[range.clone()]) {
                    *distance = (query ^ word).count_ones() as u8;
                }
            },
        );
        let mut rows_at = [0; u64::BITS as usize + 1];
        distances.iter().for_each(|d| rows_at[usize::from(*d)] += 1);
        // All rows nearer than `least` are kept, and of those just there all but the oldest.
        let (mut least, mut nearer) = (0, 0);
        while least < rows_at.len() - 1 && nearer + rows_at[least] < kept {
            nearer += rows_at[least];
            least += 1;
        }
        let mut left_out = nearer + rows_at[least] - kept;
        for (r, distance) in range.zip(&distances) {
            let there = usize::from(*distance) == least;
            if there && left_out > 0 {
                left_out -= 1;
            } else if usize::from(*distance) <= least {
                chosen.push(r as u32);
            }
        }
    }
    (chosen, Offsets::from_lengths(lengths))
}

/// Calls `with` for each place at which both are equal.
#[inline(always)]
fn each_match(codes: &[u16], wanted: &[u16], mut with: impl FnMut(usize)) {
    const LANES: usize = 16;
    for (chunk, (codes, wanted)) in codes.chunks(LANES).zip(wanted.chunks(LANES)).enumerate() {
        let mut equal = 0u32;
        match (<&[u16; LANES]>::try_from(codes), <&[u16; LANES]>::try_from(wanted)) {
            (Ok(codes), Ok(wanted)) => {
                for i in 0..LANES {
                    equal |= u32::from(codes[i] == wanted[i]) << i;
                }
            }
            _ => {
                for (i, (code, wanted)) in codes.iter().zip(wanted).enumerate() {
                    equal |= u32::from(code == wanted) << i;
                }
            }
        }
        for i in bits(equal.into()) {
            with(chunk * LANES + i as usize);
        }
    }
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
        #[inline(always)]
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
                if new.len() == hashes {
                    for r in range.clone() {
                        let row = &v[0][r * d..(r + 1) * d];
                        each_match(
                            &codes[r * hashes..(r + 1) * hashes],
                            want,
                            #[inline(always)]
                            |h| axpy(1.0, row, &mut sums[h * d..(h + 1) * d]),
                        );
                    }
                } else {
                    for r in range.clone() {
                        let row = &v[0][r * d..(r + 1) * d];
                        for h in new.iter().filter(|h| codes[r * hashes + **h] == want[**h]) {
                            axpy(1.0, row, &mut sums[h * d..(h + 1) * d]);
                        }
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
        #[inline(always)]
        move |back, (units, norms, codes, wanted)| {
            let mut through = vec![0.0; hashes * d];
            for (s, range) in of_backward.ranges().enumerate() {
                let g: Vec<f32> = back.out[s * d..(s + 1) * d].iter().map(|g| g / hashes as f32).collect();
                through.fill(0.0);
                for (h, through) in through.chunks_exact_mut(d).enumerate() {
                    let at = s * hashes + h;
                    if norms[at] != 0.0 {
                        add_unit_grad(&units[at * d..(at + 1) * d], norms[at], &g, through);
                    }
                }
                let wanted = &wanted[s * hashes..(s + 1) * hashes];
                for r in range {
                    let to_row = &mut back.grads[0][r * d..(r + 1) * d];
                    each_match(
                        &codes[r * hashes..(r + 1) * hashes],
                        wanted,
                        #[inline(always)]
                        |h| axpy(1.0, &through[h * d..(h + 1) * d], to_row),
                    );
                }
            }
        },
    )
}
