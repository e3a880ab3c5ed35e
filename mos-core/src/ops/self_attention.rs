//! Self-attention inside jagged segments.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice, linalg::general_mat_mul};

use super::dense::softmax;
use crate::{Mat, Offsets, Tape, cost::count};

/// How scores become weights in [`self_attend`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// softmax(scale q·k)
    Softmax {
        /// Usually 1 / sqrt(d_h).
        scale: f32,
    },
    /// SiLU(q·k + bias) times `scale`, no softmax (HSTU).
    Silu {
        /// Usually 1 / longest length.
        scale: f32,
    },
}

/// Query rows that are scored at once: no buffer grows with the square of the length.
const BLOCK: usize = 64;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Every row attends to the rows of its segment, head by head; `causal` = to itself and earlier ones only. `bias [1, M]`
/// adds `bias[min(|i - j|, M - 1)]` to each score. Weights are recomputed in the backward pass.
///
/// # Shapes
/// `q, k: [N, H d_k]`, `v: [N, H d_v]` → `[N, H d_v]`
pub fn self_attend(
    tape: &mut Tape,
    (q, k, v): (&Mat, &Mat, &Mat),
    bias: Option<&Mat>,
    offsets: &Offsets,
    heads: usize,
    weighting: Weighting,
    causal: bool,
) -> Mat {
    let (n, dk, dv) = (q.rows(), q.cols() / heads, v.cols() / heads);
    assert_eq!((k.rows(), k.cols(), v.rows()), (n, q.cols(), n), "self_attend: shapes differ");
    // What a block of rows i0..i1 sees: all rows, or the rows before i1 (masked inside the block).
    count(heads * (dk + dv) * offsets.lengths().map(|n| pairs(n, causal)).sum::<usize>());
    let sees = move |len: usize, end: usize| if causal { end } else { len };
    let weights = move |bias: Option<&[f32]>, scores: &mut Array2<f32>, from: usize| {
        for (r, mut row) in scores.rows_mut().into_iter().enumerate() {
            let i = from + r;
            let Some(row) = row.as_slice_mut() else { continue };
            let open = if causal { i + 1 } else { row.len() };
            let (row, closed) = row.split_at_mut(open);
            closed.fill(0.0);
            match weighting {
                Weighting::Softmax { scale } => {
                    row.iter_mut().enumerate().for_each(|(j, x)| *x = *x * scale + at_distance(bias, i, j));
                    softmax(row);
                }
                Weighting::Silu { scale } => {
                    for (j, x) in row.iter_mut().enumerate() {
                        let y = *x + at_distance(bias, i, j);
                        *x = scale * y * sigmoid(y);
                    }
                }
            }
        }
    };
    let inputs: Vec<&Mat> = [q, k, v].into_iter().chain(bias).collect();
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &inputs,
        (n, heads * dv),
        |x| {
            let [q, k, v] = [(&x[0], dk), (&x[1], dk), (&x[2], dv)].map(|(x, d)| matrix(x, heads * d));
            let mut out = vec![0.0; n * heads * dv];
            let bias = x.get(3).map(|b| b.as_slice());
            for range in of_forward.ranges() {
                for (h, i0) in blocks(range.len(), heads) {
                    let i1 = (i0 + BLOCK).min(range.len());
                    let end = range.start + sees(range.len(), i1);
                    let rows = range.start + i0..range.start + i1;
                    let mut p = Array2::zeros((rows.len(), end - range.start));
                    let keys = part(k, range.start..end, h * dk..(h + 1) * dk);
                    let queries = part(q, rows.clone(), h * dk..(h + 1) * dk);
                    general_mat_mul(1.0, &queries, &keys.t(), 0.0, &mut p);
                    weights(bias, &mut p, i0);
                    let values = part(v, range.start..end, h * dv..(h + 1) * dv);
                    let mut o = part_mut(&mut out, heads * dv, rows, h * dv..(h + 1) * dv);
                    general_mat_mul(1.0, &p, &values, 0.0, &mut o);
                }
            }
            (out, ())
        },
        move |back, ()| {
            let bias = back.values.get(3).map(|b| b.as_slice());
            let [q, k, v] = [(0, dk), (1, dk), (2, dv)].map(|(i, d)| matrix(&back.values[i], heads * d));
            let g = matrix(back.out, heads * dv);
            let (first, rest) = back.grads.split_at_mut(1);
            let (second, rest) = rest.split_at_mut(1);
            let (third, fourth) = rest.split_at_mut(1);
            for range in of_backward.ranges() {
                for (h, i0) in blocks(range.len(), heads) {
                    let i1 = (i0 + BLOCK).min(range.len());
                    let end = range.start + sees(range.len(), i1);
                    let rows = range.start + i0..range.start + i1;
                    let (of_k, of_v) = (h * dk..(h + 1) * dk, h * dv..(h + 1) * dv);
                    let (queries, keys) =
                        (part(q, rows.clone(), of_k.clone()), part(k, range.start..end, of_k.clone()));
                    let (values, grad) =
                        (part(v, range.start..end, of_v.clone()), part(g, rows.clone(), of_v.clone()));
                    let mut scores = Array2::zeros((rows.len(), end - range.start));
                    general_mat_mul(1.0, &queries, &keys.t(), 0.0, &mut scores);
                    let mut p = scores.clone();
                    weights(bias, &mut p, i0);
                    general_mat_mul(
                        1.0,
                        &p.t(),
                        &grad,
                        1.0,
                        &mut part_mut(&mut third[0], heads * dv, range.start..end, of_v),
                    );
                    let mut d = Array2::zeros(p.dim());
                    general_mat_mul(1.0, &grad, &values.t(), 0.0, &mut d);
                    for (r, mut row) in d.rows_mut().into_iter().enumerate() {
                        let i = i0 + r;
                        let open = if causal { i + 1 } else { row.len() };
                        let mean: f32 = (0..open).map(|j| row[j] * p[(r, j)]).sum();
                        for j in 0..row.len() {
                            row[j] = match weighting {
                                _ if j >= open => 0.0,
                                Weighting::Softmax { .. } => p[(r, j)] * (row[j] - mean),
                                Weighting::Silu { scale } => {
                                    let y = scores[(r, j)] + at_distance(bias, i, j);
                                    let z = sigmoid(y);
                                    row[j] * scale * (z + y * z * (1.0 - z))
                                }
                            };
                            if let Some(to_bias) = fourth.first_mut() {
                                let last = to_bias.len() - 1;
                                to_bias[i.abs_diff(j).min(last)] += row[j];
                            }
                        }
                    }
                    let scale = if let Weighting::Softmax { scale } = weighting { scale } else { 1.0 };
                    general_mat_mul(
                        scale,
                        &d,
                        &keys,
                        1.0,
                        &mut part_mut(&mut first[0], heads * dk, rows, of_k.clone()),
                    );
                    general_mat_mul(
                        scale,
                        &d.t(),
                        &queries,
                        1.0,
                        &mut part_mut(&mut second[0], heads * dk, range.start..end, of_k),
                    );
                }
            }
        },
    )
}

/// Pairs that a history of `n` scores in [`self_attend`]: blocks of rows against what the block sees.
pub fn pairs(n: usize, causal: bool) -> usize {
    if !causal {
        return n * n;
    }
    (0..n).step_by(BLOCK).map(|from| ((from + BLOCK).min(n) - from) * (from + BLOCK).min(n)).sum()
}

fn blocks(rows: usize, heads: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..heads).flat_map(move |h| (0..rows).step_by(BLOCK).map(move |i| (h, i)))
}

fn at_distance(bias: Option<&[f32]>, i: usize, j: usize) -> f32 {
    bias.map_or(0.0, |b| b[i.abs_diff(j).min(b.len() - 1)])
}

fn matrix(values: &[f32], width: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((values.len() / width.max(1), width), values)
        .expect("shape of an operation's own making")
}

fn part(mut matrix: ArrayView2<'_, f32>, rows: Range<usize>, columns: Range<usize>) -> ArrayView2<'_, f32> {
    matrix.slice_axis_inplace(Axis(0), Slice::from(rows));
    matrix.slice_axis_inplace(Axis(1), Slice::from(columns));
    matrix
}

fn part_mut(
    values: &mut [f32],
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
) -> ArrayViewMut2<'_, f32> {
    let shape = (values.len() / width.max(1), width);
    let mut matrix = ArrayViewMut2::from_shape(shape, values).expect("shape of an operation's own making");
    matrix.slice_axis_inplace(Axis(0), Slice::from(rows));
    matrix.slice_axis_inplace(Axis(1), Slice::from(columns));
    matrix
}
