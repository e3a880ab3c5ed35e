//! Operations over jagged segments.

use super::{axpy, dense::softmax, dot};
use crate::{Mat, Offsets, Tape, cost::count};

/// Mean of each segment; an empty one gives zeros. Additions only: nothing is counted.
///
/// # Shapes
/// `rows: [N, d]` → `[B, d]`
pub fn segment_mean(tape: &mut Tape, rows: &Mat, offsets: &Offsets) -> Mat {
    assert_eq!(rows.rows(), offsets.rows(), "segment_mean: offsets of other rows");
    let (d, b) = (rows.cols(), offsets.segments());
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[rows],
        (b, d),
        |v| {
            let mut out = vec![0.0; b * d];
            for (out, range) in out.chunks_mut(d.max(1)).zip(of_forward.ranges()) {
                let share = 1.0 / range.len().max(1) as f32;
                range.for_each(|r| axpy(share, &v[0][r * d..(r + 1) * d], out));
            }
            (out, ())
        },
        move |back, ()| {
            for (g, range) in back.out.chunks(d.max(1)).zip(of_backward.ranges()) {
                let share = 1.0 / range.len().max(1) as f32;
                range.for_each(|r| axpy(share, g, &mut back.grads[0][r * d..(r + 1) * d]));
            }
        },
    )
}

/// Bucket of rank r from the newest: min(buckets - 1, floor(2 log2(r + 1))).
pub fn position_bucket(rank: usize, buckets: usize) -> usize {
    ((2.0 * ((rank + 1) as f64).log2()) as usize).min(buckets - 1)
}

/// Adds to each row the vector of its position, counted from the end of its segment; see [`position_bucket`].
///
/// # Shapes
/// `rows: [N, d]`, `table: [P, d]` → `[N, d]`
pub fn add_positions(tape: &mut Tape, rows: &Mat, offsets: &Offsets, table: &Mat) -> Mat {
    assert_eq!(rows.rows(), offsets.rows(), "add_positions: offsets of other rows");
    assert_eq!(rows.cols(), table.cols(), "add_positions: widths differ");
    let (d, buckets) = (rows.cols(), table.rows());
    let longest = offsets.lengths().max().unwrap_or(0);
    let lookup: Vec<usize> = (0..longest).map(|r| position_bucket(r, buckets)).collect();
    let bucket_of: Vec<u32> =
        offsets.ranges().flat_map(|r| (0..r.len()).rev().map(|rank| lookup[rank] as u32)).collect();
    let of_backward = bucket_of.clone();
    let at = move |b: u32| b as usize * d..(b as usize + 1) * d;
    tape.record(
        &[rows, table],
        (rows.rows(), d),
        |v| {
            let mut out = v[0].to_vec();
            out.chunks_mut(d.max(1)).zip(&bucket_of).for_each(|(o, b)| axpy(1.0, &v[1][at(*b)], o));
            (out, ())
        },
        move |back, ()| {
            axpy(1.0, back.out, &mut back.grads[0]);
            for (g, b) in back.out.chunks(d.max(1)).zip(&of_backward) {
                axpy(1.0, g, &mut back.grads[1][at(*b)]);
            }
        },
    )
}

/// Means of blocks of `size` consecutive rows, aligned at the end of each segment: only the oldest block may be
/// shorter.
///
/// # Shapes
/// `rows: [N, d]` → `[Σ ceil(n_b / size), d]` and its borders
pub fn pool_blocks(tape: &mut Tape, rows: &Mat, offsets: &Offsets, size: usize) -> (Mat, Offsets) {
    let pooled = Offsets::from_lengths(offsets.lengths().map(|n| n.div_ceil(size)));
    let blocks = Offsets::from_lengths(offsets.lengths().flat_map(|n| {
        let count = n.div_ceil(size);
        (0..count).map(move |i| if i == 0 { n - (count - 1) * size } else { size })
    }));
    (segment_mean(tape, rows, &blocks), pooled)
}

/// Σ_t w_t row_t of each segment, w the scores themselves or their softmax within the segment.
///
/// # Shapes
/// `scores: [N, 1]`, `rows: [N, d]` → `[B, d]`
pub fn weighted_sum(tape: &mut Tape, scores: &Mat, rows: &Mat, offsets: &Offsets, soft: bool) -> Mat {
    assert_eq!((scores.rows(), scores.cols()), (rows.rows(), 1), "weighted_sum: one score per row");
    assert_eq!(rows.rows(), offsets.rows(), "weighted_sum: offsets of other rows");
    let (d, b) = (rows.cols(), offsets.segments());
    count(rows.rows() * d);
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[scores, rows],
        (b, d),
        |v| {
            let mut weights = v[0].to_vec();
            if soft {
                of_forward.ranges().for_each(|range| softmax(&mut weights[range]));
            }
            let mut out = vec![0.0; b * d];
            for (out, range) in out.chunks_mut(d.max(1)).zip(of_forward.ranges()) {
                range.for_each(|r| axpy(weights[r], &v[1][r * d..(r + 1) * d], out));
            }
            (out, weights)
        },
        move |back, weights| {
            for (g, range) in back.out.chunks(d.max(1)).zip(of_backward.ranges()) {
                let to_weight: Vec<f32> =
                    range.clone().map(|r| dot(g, &back.values[1][r * d..(r + 1) * d])).collect();
                let mean = if soft { dot(&to_weight, &weights[range.clone()]) } else { 0.0 };
                for (r, to) in range.zip(to_weight) {
                    back.grads[0][r] += if soft { weights[r] * (to - mean) } else { to };
                    axpy(weights[r], g, &mut back.grads[1][r * d..(r + 1) * d]);
                }
            }
        },
    )
}

/// The last row of each segment; zeros for an empty one.
///
/// # Shapes
/// `rows: [N, d]` → `[B, d]`
pub fn last_rows(tape: &mut Tape, rows: &Mat, offsets: &Offsets) -> Mat {
    let (b, d) = (offsets.segments(), rows.cols());
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[rows],
        (b, d),
        |v| {
            let mut out = vec![0.0; b * d];
            for (out, range) in
                out.chunks_mut(d.max(1)).zip(of_forward.ranges()).filter(|(_, r)| !r.is_empty())
            {
                out.copy_from_slice(&v[0][(range.end - 1) * d..range.end * d]);
            }
            (out, ())
        },
        move |back, ()| {
            for (g, range) in
                back.out.chunks(d.max(1)).zip(of_backward.ranges()).filter(|(_, r)| !r.is_empty())
            {
                axpy(1.0, g, &mut back.grads[0][(range.end - 1) * d..range.end * d]);
            }
        },
    )
}

/// 1.5-entmax of each segment (Peters et al. 2019): like softmax, but weak scores get exactly nothing. Exact, by sorting.
///
/// # Shapes
/// `scores: [N, 1]` → `[N, 1]`
pub fn entmax15(tape: &mut Tape, scores: &Mat, offsets: &Offsets) -> Mat {
    let n = scores.rows();
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[scores],
        (n, 1),
        |v| {
            let mut out = vec![0.0; n];
            for range in of_forward.ranges().filter(|r| !r.is_empty()) {
                let most = v[0][range.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let z: Vec<f64> = v[0][range.clone()].iter().map(|a| f64::from(a - most) / 2.0).collect();
                let mut sorted = z.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let (mut sum, mut squares, mut threshold) = (0.0, 0.0, 0.0);
                for (i, x) in sorted.iter().enumerate() {
                    let k = (i + 1) as f64;
                    (sum, squares) = (sum + x, squares + x * x);
                    let mean = sum / k;
                    let spread = squares - k * mean * mean;
                    let tau = mean - ((1.0 - spread) / k).max(0.0).sqrt();
                    if tau <= *x {
                        threshold = tau;
                    }
                }
                for (r, z) in range.zip(z) {
                    out[r] = (z - threshold).max(0.0).powi(2) as f32;
                }
            }
            (out.clone(), out)
        },
        move |back, p| {
            for range in of_backward.ranges() {
                let root = |r: usize| p[r].sqrt();
                let mass: f32 = range.clone().map(root).sum();
                let along: f32 = range.clone().map(|r| root(r) * back.out[r]).sum();
                for r in range.filter(|r| p[*r] > 0.0) {
                    back.grads[0][r] += root(r) * (back.out[r] - along / mass);
                }
            }
        },
    )
}
