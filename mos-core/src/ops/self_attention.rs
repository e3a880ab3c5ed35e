//! Self-attention inside jagged segments.

use std::{ops::Range, sync::Arc};

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice, linalg::general_mat_mul};

use super::{dense::softmax, gap_bucket, sigmoid};
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

/// What is added to the score of row i for row j (HSTU), shared by heads.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// `[1, M]`: value `min(|i - j|, M - 1)`.
    pub distance: &'a Mat,
    /// `[1, T]`: value `gap_bucket(next_i - time_j, T)`.
    pub gap: &'a Mat,
    /// Time of each row `[N]`.
    pub times: &'a [i64],
    /// Time of what follows each row `[N]`.
    pub next: &'a [i64],
}

/// Turns scores into weights.
#[derive(Clone, Copy)]
struct Weigh {
    weighting: Weighting,
    causal: bool,
    biased: bool,
}

impl Weigh {
    /// `scores` are those of the rows from `from` on; `added` is what the bias adds.
    #[inline(always)]
    fn apply(self, added: &dyn Fn(usize, usize) -> f32, scores: &mut Array2<f32>, from: usize) {
        for (r, mut row) in scores.rows_mut().into_iter().enumerate() {
            let i = from + r;
            let Some(row) = row.as_slice_mut() else { continue };
            let open = if self.causal { i + 1 } else { row.len() };
            let (row, closed) = row.split_at_mut(open);
            closed.fill(0.0);
            match self.weighting {
                Weighting::Softmax { scale } => {
                    row.iter_mut().for_each(|x| *x *= scale);
                    if self.biased {
                        row.iter_mut().enumerate().for_each(|(j, x)| *x += added(i, j));
                    }
                    softmax(row);
                }
                Weighting::Silu { scale } => {
                    for (j, x) in row.iter_mut().enumerate() {
                        let y = *x + added(i, j);
                        *x = scale * y * sigmoid(y);
                    }
                }
            }
        }
    }
}

/// Every row attends to the rows of its segment, head by head; `causal` = to itself and earlier ones only. Weights are
/// recomputed in the backward pass.
///
/// # Shapes
/// `q, k: [N, H d_k]`, `v: [N, H d_v]` → `[N, H d_v]`
pub fn self_attend(
    tape: &mut Tape,
    (q, k, v): (&Mat, &Mat, &Mat),
    bias: Option<Bias<'_>>,
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
    let clock = bias.map(|b| Clock { times: b.times.into(), next: b.next.into() });
    let weigh = Weigh { weighting, causal, biased: bias.is_some() };
    let tables = bias.iter().flat_map(|b| [b.distance, b.gap]);
    let inputs: Vec<&Mat> = [q, k, v].into_iter().chain(tables).collect();
    let of_backward_clock = clock.clone();
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &inputs,
        (n, heads * dv),
        #[inline(always)]
        |x| {
            let [q, k, v] = [(&x[0], dk), (&x[1], dk), (&x[2], dv)].map(|(x, d)| matrix(x, heads * d));
            let mut out = vec![0.0; n * heads * dv];
            for range in of_forward.ranges() {
                let added = |i, j| Clock::added(clock.as_ref(), &x[3..], range.start, i, j);
                for (h, i0) in blocks(range.len(), heads) {
                    let i1 = (i0 + BLOCK).min(range.len());
                    let end = range.start + sees(range.len(), i1);
                    let rows = range.start + i0..range.start + i1;
                    let mut p = Array2::zeros((rows.len(), end - range.start));
                    let keys = part(k, range.start..end, h * dk..(h + 1) * dk);
                    let queries = part(q, rows.clone(), h * dk..(h + 1) * dk);
                    general_mat_mul(1.0, &queries, &keys.t(), 0.0, &mut p);
                    weigh.apply(&added, &mut p, i0);
                    let values = part(v, range.start..end, h * dv..(h + 1) * dv);
                    let mut o = part_mut(&mut out, heads * dv, rows, h * dv..(h + 1) * dv);
                    general_mat_mul(1.0, &p, &values, 0.0, &mut o);
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            let tables = &back.values[3..];
            let [q, k, v] = [(0, dk), (1, dk), (2, dv)].map(|(i, d)| matrix(&back.values[i], heads * d));
            let g = matrix(back.out, heads * dv);
            let (first, rest) = back.grads.split_at_mut(1);
            let (second, rest) = rest.split_at_mut(1);
            let (third, to_tables) = rest.split_at_mut(1);
            for range in of_backward.ranges() {
                let clock = of_backward_clock.as_ref();
                let added = |i, j| Clock::added(clock, tables, range.start, i, j);
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
                    weigh.apply(&added, &mut p, i0);
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
                                    let y = scores[(r, j)] + added(i, j);
                                    let z = sigmoid(y);
                                    row[j] * scale * (z + y * z * (1.0 - z))
                                }
                            };
                            if let (Some(clock), [distance, gap]) = (clock, &mut *to_tables) {
                                let (near, bucket) =
                                    clock.entries(range.start, i, j, distance.len(), gap.len());
                                distance[near] += row[j];
                                gap[bucket] += row[j];
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

/// Times of rows and of what follows them.
#[derive(Clone)]
struct Clock {
    times: Arc<[i64]>,
    next: Arc<[i64]>,
}

impl Clock {
    /// Entries of the two tables for rows i and j of the segment that starts at row `start`.
    fn entries(&self, start: usize, i: usize, j: usize, distances: usize, gaps: usize) -> (usize, usize) {
        let gap = self.next[start + i] - self.times[start + j];
        (i.abs_diff(j).min(distances - 1), gap_bucket(gap, gaps))
    }

    fn added(clock: Option<&Self>, tables: &[Arc<Vec<f32>>], start: usize, i: usize, j: usize) -> f32 {
        let (Some(clock), [distance, gap]) = (clock, tables) else { return 0.0 };
        let (near, bucket) = clock.entries(start, i, j, distance.len(), gap.len());
        distance[near] + gap[bucket]
    }
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
