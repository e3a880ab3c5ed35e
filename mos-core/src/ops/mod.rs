//! Operations with hand-written backward passes, made of [`crate::Tape::record`]. Each takes the tape first and reports
//! its multiply-adds to [`crate::cost`]. Nothing outlives an operation when the tape does not record.

mod attention;
mod dense;
mod fourier;
mod gating;
mod hash;
mod jagged;
mod loss;
mod recurrent;
mod select;
mod self_attention;
#[cfg(test)]
mod tests;
mod themes;
mod turned;

pub use attention::{attend, best_rows, din_hidden, head_project, stacked_linear};
pub use dense::{
    Activation, Function, add, columns, concat, dropout, gather_rows, layer_norm, linear, map, matmul_nt,
    mix, mul, normalize_rows, power_norm, renormalize_rows, reshape, row_dots, scale_columns, scale_rows,
    scatter_rows, softmax_rows, subtract, sum_gathered,
};
pub use fourier::hilbert;
pub use gating::{entropy, smooth_selectors, square_logsumexp, top_k_probability};
pub use hash::{hash_pool, hash_words, nearest_words, signatures};
pub use jagged::{
    add_positions, append_rows, entmax15, gap_bucket, last_rows, pool_blocks, position_bucket, segment_dots,
    segment_head_sums, segment_mean, segment_shares, segment_softmax, weighted_sum, zero_where_empty,
};
pub use loss::{bce_with_logits, cosine_commitment, mean_square, sum_scalars};
pub use recurrent::{causal_conv, gru, selective_scan, selective_scan_last};
pub use self_attention::{Bias, Weighting, pairs, self_attend};
pub use themes::{memberships, mutual_information};

pub(crate) use dense::softmax;
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};
pub(crate) use themes::dots_side_by_side;

use crate::clock;

/// Runs `work` compiled for the widest vectors of this machine: only what is inlined into it is. Products and sums are not
/// fused and keep their order, so that the width of vectors does not show in the bits. Matrix products, and `exp` and `ln` of the
/// system's library, choose for themselves.
#[inline(always)]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Sum of products, in eight lanes so that it vectorises; the order of additions is fixed.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (xs, ys) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// Whether all values are zero, whatever their signs. Without a way out in between, so that it vectorises.
#[inline(always)]
pub(crate) fn is_zero(x: &[f32]) -> bool {
    x.iter().fold(0, |bits, x| bits | x.to_bits() << 1) == 0
}

/// y += a x
#[inline(always)]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// out += Σ_i w_i row(i), to the bits of [`axpy`] row by row.
#[inline(always)]
pub(crate) fn add_rows<'a>(weights: &[f32], row: impl Fn(usize) -> &'a [f32], out: &mut [f32]) {
    let (wide, rest) = out.as_chunks_mut::<64>();
    let (narrow, last) = rest.as_chunks_mut::<16>();
    let mut from = 0;
    // Loops, as closures need not be inlined.
    for out in wide {
        from = add_columns(weights, &row, from, out);
    }
    for out in narrow {
        from = add_columns(weights, &row, from, out);
    }
    if !last.is_empty() {
        weights.iter().enumerate().for_each(|(i, w)| axpy(*w, &row(i)[from..], last));
    }
}

/// As [`add_rows`] for the columns `from..from + C`, which stay in registers; the column behind them.
#[inline(always)]
fn add_columns<'a, const C: usize>(
    weights: &[f32],
    row: impl Fn(usize) -> &'a [f32],
    from: usize,
    out: &mut [f32; C],
) -> usize {
    let mut sums = *out;
    for (i, w) in weights.iter().enumerate() {
        let x = &row(i)[from..from + C];
        for c in 0..C {
            sums[c] += w * x[c];
        }
    }
    *out = sums;
    from + C
}

/// Rows `[n, d]`, L of them side by side, value by value: `[n / L, d]` lanes, zeros behind the last row. Sums over d then keep their
/// order in each lane.
pub(crate) fn side_by_side<const L: usize>(rows: &[f32], d: usize) -> Vec<[f32; L]> {
    let mut lanes = vec![[0.0; L]; (rows.len() / d).div_ceil(L) * d];
    for (rows, block) in rows.chunks(L * d).zip(lanes.chunks_exact_mut(d)) {
        for (i, row) in rows.chunks_exact(d).enumerate() {
            block.iter_mut().zip(row).for_each(|(lanes, x)| lanes[i] = *x);
        }
    }
    lanes
}

/// Places of the bits of a word, rising.
#[inline(always)]
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(
        #[inline(always)]
        move || {
            let bit = (word != 0).then(|| word.trailing_zeros());
            word &= word.wrapping_sub(1);
            bit
        },
    )
}

/// A matrix in a slice; `true` = read it transposed.
pub(crate) type View<'a> = (&'a [f32], (usize, usize), bool);

/// c `[m, n]` += a b, where a and b may be read transposed; ndarray passes strides on, so nothing is copied.
pub(crate) fn add_product(a: View<'_>, b: View<'_>, c: &mut [f32], shape: (usize, usize)) {
    product(a, b, 1.0, c, shape);
}

/// c `[m, n]` = a b, as [`add_product`].
pub(crate) fn set_product(a: View<'_>, b: View<'_>, c: &mut [f32], shape: (usize, usize)) {
    product(a, b, 0.0, c, shape);
}

/// c = a b + `keep` c
fn product(a: View<'_>, b: View<'_>, keep: f32, c: &mut [f32], shape: (usize, usize)) {
    let _product = clock::product();
    let (av, bv) = (
        ArrayView2::from_shape(a.1, a.0).expect("shape of an operation's own making"),
        ArrayView2::from_shape(b.1, b.0).expect("shape of an operation's own making"),
    );
    let av = if a.2 { av.reversed_axes() } else { av };
    let bv = if b.2 { bv.reversed_axes() } else { bv };
    let mut cv = ArrayViewMut2::from_shape(shape, c).expect("shape of an operation's own making");
    general_mat_mul(1.0, &av, &bv, keep, &mut cv);
}

/// exp(x) for x ≤ 0 to 2 units in the last place, without a branch, so that it vectorises: x = n ln 2 + r, a polynomial
/// for exp(r) (Cephes), 2^n by its bits. Below −87 the result is about 1e-38 instead of less.
#[inline(always)]
pub(crate) fn exp_of_negative(x: f32) -> f32 {
    // Not `max`: what is not a number is to stay so.
    let x = if x < -87.0 { -87.0 } else { x };
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (p * r * r + r + 1.0) * power
}

/// 1 / (1 + exp(−x))
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp_of_negative(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}
