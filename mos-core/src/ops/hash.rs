//! Locality-sensitive hashing of histories (SimHash; SDIM, arXiv 2205.10249).

use std::collections::HashMap;

use super::{
    axpy,
    dense::{add_unit_grad, unit},
    set_product, wide,
};
use crate::{Mat, Offsets, Spans, Tape, cost::count};

/// SimHash codes: for each row, `hashes` codes of `bits` bits, bit = 1[x · r > 0]. A word holds as many codes as fit, the first
/// highest and the last in its lowest bits.
///
/// # Shapes
/// `values: [R, d]`, `projections: [d, hashes * bits]` → `[R, ceil(hashes / floor(64 / bits))]`
///
/// # Panics
/// Unless `bits` lies between 1 and 64.
pub fn signatures(values: &[f32], dim: usize, projections: &[f32], hashes: usize, bits: usize) -> Vec<u64> {
    let codes = Codes::new(hashes, bits);
    let (width, a_word) = (hashes * bits, codes.a_word * bits);
    let mut words = vec![0; values.len() / dim * codes.words()];
    let mut rest = words.as_mut_slice();
    project(
        values,
        dim,
        projections,
        width,
        #[inline(always)]
        |signs| {
            let (mine, others) = std::mem::take(&mut rest).split_at_mut(signs.len() / width * codes.words());
            rest = others;
            for (words, signs) in mine.chunks_exact_mut(codes.words()).zip(signs.chunks_exact(width)) {
                for (word, signs) in words.iter_mut().zip(signs.chunks(a_word)) {
                    *word = packed(signs);
                }
            }
        },
    );
    words
}

/// How the codes of a row lie in words.
#[derive(Clone, Copy, Debug)]
struct Codes {
    hashes: usize,
    bits: usize,
    /// Codes of a full word.
    a_word: usize,
    /// The highest bit of each code of a full word.
    high: u64,
    /// All bits below those.
    low: u64,
    /// By place of a code's highest bit in a word, the number of codes from there to the lowest.
    from_lowest: [u8; 64],
}

impl Codes {
    fn new(hashes: usize, bits: usize) -> Self {
        assert!((1..=64).contains(&bits), "codes of {bits} bits");
        let a_word = 64 / bits;
        let high = (1..=a_word).fold(0, |high, code| high | 1 << (code * bits - 1));
        let low = (0..a_word).fold(0, |low, code| low | ((1 << (bits - 1)) - 1) << (code * bits));
        let from_lowest = std::array::from_fn(|place| ((place + 1) / bits) as u8);
        Self { hashes, bits, a_word, high, low, from_lowest }
    }

    /// Words of a row.
    fn words(&self) -> usize {
        self.hashes.div_ceil(self.a_word)
    }

    /// Codes of word `w`.
    #[inline(always)]
    fn in_word(&self, w: usize) -> usize {
        (self.hashes - w * self.a_word).min(self.a_word)
    }

    /// The code of hash `h` in a row's words.
    fn code(&self, row: &[u64], h: usize) -> u64 {
        let (w, first) = (h / self.a_word, h % self.a_word);
        let below = (self.in_word(w) - 1 - first) * self.bits;
        row[w] >> below & (u64::MAX >> (64 - self.bits))
    }

    /// Calls `with` for each hash, rising, whose codes in both rows are equal.
    #[inline(always)]
    fn each_equal(&self, row: &[u64], other: &[u64], mut with: impl FnMut(usize)) {
        for (w, (a, b)) in row.iter().zip(other).enumerate() {
            let (unlike, codes) = (a ^ b, self.in_word(w));
            // A code's bits below its highest, added to as many ones, reach the highest unless all are zero.
            let unequal = ((unlike & self.low) + self.low) | unlike;
            let mut equal = !unequal & self.high & (u64::MAX >> (64 - codes * self.bits));
            while equal != 0 {
                let place = 63 - equal.leading_zeros() as usize;
                equal ^= 1 << place;
                with(w * self.a_word + codes - usize::from(self.from_lowest[place]));
            }
        }
    }
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
        set_product((values, (rows, dim), false), (projections, (dim, width), false), signs, (rows, width));
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
    let codes = Codes::new(hashes, bits);
    let words = codes.words();
    let wanted = signatures(target.values(), d, projections, hashes, bits);
    let (of_forward, of_backward, values) = (spans.clone(), spans, rows.values());
    tape.record_rows(
        Some(rows),
        &[],
        (b, d),
        #[inline(always)]
        |_| {
            let found = signatures(values, d, projections, hashes, bits);
            let mut sums = vec![0.0; b * hashes * d];
            // Sums of a history that several samples read, by hash and code.
            let mut known: HashMap<(usize, usize, u64), Vec<f32>> = HashMap::new();
            let mut new = vec![true; hashes];
            for (s, range) in of_forward.ranges().enumerate().filter(|(_, range)| !range.is_empty()) {
                let want = &wanted[s * words..(s + 1) * words];
                let sums = &mut sums[s * hashes * d..(s + 1) * hashes * d];
                let key = |h: usize| (range.start, h, codes.code(want, h));
                if of_forward.shared() {
                    for (h, sum) in sums.chunks_exact_mut(d).enumerate() {
                        let before = known.get(&key(h));
                        new[h] = before.is_none();
                        before.into_iter().for_each(|before| sum.copy_from_slice(before));
                    }
                    if !new.contains(&true) {
                        continue;
                    }
                }
                for r in range.clone() {
                    let row = &values[r * d..(r + 1) * d];
                    codes.each_equal(
                        &found[r * words..(r + 1) * words],
                        want,
                        #[inline(always)]
                        |h| {
                            if new[h] {
                                axpy(1.0, row, &mut sums[h * d..(h + 1) * d]);
                            }
                        },
                    );
                }
                if of_forward.shared() {
                    let sum = |h: usize| (key(h), sums[h * d..(h + 1) * d].to_vec());
                    known.extend((0..hashes).filter(|h| new[*h]).map(sum));
                }
            }
            let norms: Vec<f32> = sums.chunks_mut(d).map(unit).collect();
            let mut out = vec![0.0; b * d];
            for (s, out) in out.chunks_mut(d).enumerate() {
                (0..hashes).for_each(|h| axpy(1.0 / hashes as f32, &sums[(s * hashes + h) * d..][..d], out));
            }
            (out, (sums, norms, found, wanted))
        },
        #[inline(always)]
        move |back, to_rows, (units, norms, found, wanted)| {
            let (mut through, mut to_row) = (vec![0.0; hashes * d], vec![0.0; d]);
            for (s, range) in of_backward.ranges().enumerate() {
                let g: Vec<f32> = back.out[s * d..(s + 1) * d].iter().map(|g| g / hashes as f32).collect();
                through.fill(0.0);
                for (h, through) in through.chunks_exact_mut(d).enumerate() {
                    let at = s * hashes + h;
                    if norms[at] != 0.0 {
                        add_unit_grad(&units[at * d..(at + 1) * d], norms[at], &g, through);
                    }
                }
                let wanted = &wanted[s * words..(s + 1) * words];
                for r in range {
                    let mut reached = false;
                    codes.each_equal(
                        &found[r * words..(r + 1) * words],
                        wanted,
                        #[inline(always)]
                        |h| {
                            if !reached {
                                to_row.fill(0.0);
                                reached = true;
                            }
                            axpy(1.0, &through[h * d..(h + 1) * d], &mut to_row);
                        },
                    );
                    if reached {
                        to_rows.add(r, &to_row);
                    }
                }
            }
        },
    )
}
