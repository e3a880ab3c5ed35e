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
mod self_attention;
#[cfg(test)]
mod tests;

pub use attention::{attend, din_hidden, head_project};
pub use dense::{
    Activation, Function, add, columns, concat, dropout, gather_rows, layer_norm, linear, map, matmul_nt,
    mix, mul, normalize_rows, renormalize_rows, reshape, scale_columns, scale_rows, scatter_rows,
    softmax_rows, sum_gathered,
};
pub use fourier::hilbert;
pub use gating::{entropy, smooth_selectors, square_logsumexp, top_k_probability};
pub use hash::{hash_pool, signatures};
pub use jagged::{
    add_positions, entmax15, last_rows, pool_blocks, position_bucket, segment_mean, weighted_sum,
};
pub use loss::{bce_with_logits, cosine_commitment, mean_square, mutual_information, sum_scalars};
pub use recurrent::{causal_conv, gru, selective_scan};
pub use self_attention::{Weighting, pairs, self_attend};

pub(crate) use dense::softmax;
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// Sum of products, in eight lanes so that it vectorises; the order of additions is fixed.
#[inline]
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

/// y += a x
#[inline]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// A matrix in a slice; `true` = read it transposed.
pub(crate) type View<'a> = (&'a [f32], (usize, usize), bool);

/// c `[m, n]` += a b, where a and b may be read transposed; ndarray passes strides on, so nothing is copied.
pub(crate) fn add_product(a: View<'_>, b: View<'_>, c: &mut [f32], shape: (usize, usize)) {
    let (av, bv) = (
        ArrayView2::from_shape(a.1, a.0).expect("shape of an operation's own making"),
        ArrayView2::from_shape(b.1, b.0).expect("shape of an operation's own making"),
    );
    let av = if a.2 { av.reversed_axes() } else { av };
    let bv = if b.2 { bv.reversed_axes() } else { bv };
    let mut cv = ArrayViewMut2::from_shape(shape, c).expect("shape of an operation's own making");
    general_mat_mul(1.0, &av, &bv, 1.0, &mut cv);
}
