//! Operations over jagged segments.

use std::{ops::Range, sync::Arc};

use super::{
    add_rows, axpy,
    dense::{scale_rows, softmax},
    dot,
};
use crate::{Mat, Offsets, Spans, Tape, cost::count};

/// Mean of each segment; an empty one gives zeros. Additions only: nothing is counted.
///
/// # Shapes
/// `rows: [N, d]` → `[B, d]`
pub fn segment_mean(tape: &mut Tape, rows: &Mat, offsets: &Offsets) -> Mat {
    assert_eq!(rows.rows(), offsets.rows(), "segment_mean: offsets of other rows");
    let (d, b) = (rows.cols(), offsets.segments());
    let (of_backward, lying) = (offsets.clone(), rows.lying());
    tape.record_rows(
        Some(rows),
        &[],
        (b, d),
        #[inline(always)]
        |_| {
            let (mut out, mut shares) = (vec![0.0; b * d], Vec::new());
            for (out, range) in out.chunks_mut(d.max(1)).zip(offsets.ranges()) {
                shares.clear();
                shares.resize(range.len(), 1.0 / range.len().max(1) as f32);
                add_rows(&shares, |i| lying.row(range.start + i), out);
            }
            (out, ())
        },
        #[inline(always)]
        move |back, to_rows, ()| {
            let mut to_row = vec![0.0; d];
            for (g, range) in back.out.chunks(d.max(1)).zip(of_backward.ranges()) {
                let share = 1.0 / range.len().max(1) as f32;
                to_row.iter_mut().zip(g).for_each(|(to, g)| *to = share * g);
                for r in range {
                    to_rows.add(r, &to_row);
                }
            }
        },
    )
}

/// Bucket of rank r from the newest: min(buckets - 1, floor(2 log2(r + 1))).
pub fn position_bucket(rank: usize, buckets: usize) -> usize {
    ((2.0 * ((rank + 1) as f64).log2()) as usize).min(buckets - 1)
}

/// Bucket of a time gap of equal ratios: floor(ln(max(1, |seconds|)) / 0.301), at most buckets - 1 (HSTU).
pub fn gap_bucket(seconds: i64, buckets: usize) -> usize {
    ((seconds.unsigned_abs().max(1) as f32).ln() / 0.301).min(buckets as f32 - 1.0) as usize
}

/// `x` with zeros for the segments that have no row.
///
/// # Shapes
/// `x: [B, d]` → `[B, d]`
pub fn zero_where_empty(tape: &mut Tape, x: &Mat, offsets: &Offsets) -> Mat {
    let there = offsets.lengths().map(|n| f32::from(n > 0)).collect();
    scale_rows(tape, x, &Mat::new(offsets.segments(), 1, there))
}

/// Adds to each row the vector of its position, counted from the end of its segment; see [`position_bucket`].
///
/// # Shapes
/// `rows: [N, d]`, `table: [P, d]` → `[N, d]`
pub fn add_positions(tape: &mut Tape, rows: &Mat, offsets: &Offsets, table: &Mat) -> Mat {
    assert_eq!(rows.rows(), offsets.rows(), "add_positions: offsets of other rows");
    assert_eq!(rows.cols(), table.cols(), "add_positions: widths differ");
    let buckets = table.rows();
    let longest = offsets.lengths().max().unwrap_or(0);
    let lookup: Vec<usize> = (0..longest).map(|r| position_bucket(r, buckets)).collect();
    let bucket_of: Vec<u32> =
        offsets.ranges().flat_map(|r| (0..r.len()).rev().map(|rank| lookup[rank] as u32)).collect();
    tape.gathered(rows.rows(), &[(rows, None), (table, Some(&bucket_of))])
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

/// Σ_t w_t row_t of each sample, w the scores themselves or their softmax within the sample.
///
/// # Shapes
/// `scores: [M, 1]`, one for each sample and row it reads; `rows: [N, d]` → `[B, d]`
pub fn weighted_sum(tape: &mut Tape, scores: &Mat, rows: &Mat, spans: impl Into<Spans>, soft: bool) -> Mat {
    let spans = spans.into();
    let of_scores = spans.side_by_side();
    assert_eq!((scores.rows(), scores.cols()), (of_scores.rows(), 1), "weighted_sum: one score per row read");
    assert_eq!(rows.rows(), spans.rows(), "weighted_sum: spans of other rows");
    let (d, b) = (rows.cols(), spans.samples());
    count(scores.rows() * d);
    let places: Arc<[(Range<usize>, Range<usize>)]> = of_scores.ranges().zip(spans.ranges()).collect();
    let of_backward = places.clone();
    tape.record(
        &[scores, rows],
        (b, d),
        #[inline(always)]
        |v| {
            let mut weights = v[0].to_vec();
            let mut out = vec![0.0; b * d];
            for (out, (mine, range)) in out.chunks_mut(d.max(1)).zip(places.iter().cloned()) {
                if soft {
                    softmax(&mut weights[mine.clone()]);
                }
                let rows = &v[1][range.start * d..range.end * d];
                add_rows(&weights[mine], |i| &rows[i * d..(i + 1) * d], out);
            }
            (out, weights)
        },
        #[inline(always)]
        move |back, weights| {
            for (g, (mine, range)) in back.out.chunks(d.max(1)).zip(of_backward.iter().cloned()) {
                let to_weight: Vec<f32> =
                    range.clone().map(|r| dot(g, &back.values[1][r * d..(r + 1) * d])).collect();
                let mean = if soft { dot(&to_weight, &weights[mine.clone()]) } else { 0.0 };
                for ((w, r), to) in mine.zip(range).zip(to_weight) {
                    back.grads[0][w] += if soft { weights[w] * (to - mean) } else { to };
                    axpy(weights[w], g, &mut back.grads[1][r * d..(r + 1) * d]);
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
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; b * d];
            for (out, range) in
                out.chunks_mut(d.max(1)).zip(of_forward.ranges()).filter(|(_, r)| !r.is_empty())
            {
                out.copy_from_slice(&v[0][(range.end - 1) * d..range.end * d]);
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (g, range) in
                back.out.chunks(d.max(1)).zip(of_backward.ranges()).filter(|(_, r)| !r.is_empty())
            {
                axpy(1.0, g, &mut back.grads[0][(range.end - 1) * d..range.end * d]);
            }
        },
    )
}

/// 1.5-entmax of each segment (Peters et al. 2019), column by column: like softmax, but weak scores get exactly nothing.
/// Exact, by sorting.
///
/// # Shapes
/// `scores: [N, H]` → `[N, H]`
pub fn entmax15(tape: &mut Tape, scores: &Mat, offsets: &Offsets) -> Mat {
    let forward = |scores: &mut [f32]| {
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let z: Vec<f64> = scores.iter().map(|a| f64::from(a - most) / 2.0).collect();
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
        scores.iter_mut().zip(z).for_each(|(p, z)| *p = (z - threshold).max(0.0).powi(2) as f32);
    };
    map_segments(tape, scores, offsets, forward, |p, _, g| {
        let root: Vec<f32> = p.iter().map(|p| p.sqrt()).collect();
        let mass: f32 = root.iter().sum();
        let along: f32 = root.iter().zip(g).map(|(r, g)| r * g).sum();
        root.iter().zip(g).map(|(r, g)| r * (g - along / mass)).collect()
    })
}

/// Dot products of each sample's query with the rows it reads, head by head.
///
/// # Shapes
/// `queries: [B, H a]`, `rows: [N, H a]` → `[M, H]`, one line for each sample and row it reads
pub fn segment_dots(
    tape: &mut Tape,
    queries: &Mat,
    rows: &Mat,
    spans: impl Into<Spans>,
    heads: usize,
) -> Mat {
    let spans = spans.into();
    let (width, n) = (rows.cols(), spans.lengths().sum());
    assert_eq!((queries.rows(), queries.cols()), (spans.samples(), width), "segment_dots: one query each");
    assert_eq!(rows.rows(), spans.rows(), "segment_dots: spans of other rows");
    count(n * width);
    let a = width / heads;
    let of_backward = spans.clone();
    tape.record(
        &[queries, rows],
        (n, heads),
        #[inline(always)]
        |v| {
            let mut out = Vec::with_capacity(n * heads);
            for (query, range) in v[0].chunks(width.max(1)).zip(spans.ranges()) {
                for row in v[1][range.start * width..range.end * width].chunks(width.max(1)) {
                    out.extend(query.chunks(a).zip(row.chunks(a)).map(|(q, r)| dot(q, r)));
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            let reads = of_backward.ranges().enumerate().flat_map(|(s, range)| range.map(move |r| (s, r)));
            for (at, (s, r)) in reads.enumerate() {
                for h in 0..heads {
                    let (q, x) = (s * width + h * a, r * width + h * a);
                    let g = back.out[at * heads + h];
                    axpy(g, &back.values[1][x..x + a], &mut back.grads[0][q..q + a]);
                    axpy(g, &back.values[0][q..q + a], &mut back.grads[1][x..x + a]);
                }
            }
        },
    )
}

/// A map of each column of each segment; `backward` has (values after, values before, gradient of the values after).
fn map_segments(
    tape: &mut Tape,
    x: &Mat,
    offsets: &Offsets,
    forward: impl Fn(&mut [f32]),
    backward: impl Fn(&[f32], &[f32], &[f32]) -> Vec<f32> + 'static,
) -> Mat {
    let (n, heads) = (x.rows(), x.cols());
    assert_eq!(n, offsets.rows(), "map_segments: offsets of other rows");
    let column = move |values: &[f32], range: &Range<usize>, h: usize| -> Vec<f32> {
        range.clone().map(|r| values[r * heads + h]).collect()
    };
    let columns = move |offsets: &Offsets| -> Vec<(Range<usize>, usize)> {
        let filled = offsets.ranges().filter(|r| !r.is_empty());
        filled.flat_map(|r| (0..heads).map(move |h| (r.clone(), h))).collect()
    };
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[x],
        (n, heads),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; n * heads];
            for (range, h) in columns(&of_forward) {
                let mut values = column(&v[0], &range, h);
                forward(&mut values);
                range.zip(values).for_each(|(r, y)| out[r * heads + h] = y);
            }
            (out.clone(), out)
        },
        #[inline(always)]
        move |back, out| {
            for (range, h) in columns(&of_backward) {
                let [after, before, g] =
                    [&out[..], &back.values[0][..], back.out].map(|v| column(v, &range, h));
                let to = backward(&after, &before, &g);
                range.zip(to).for_each(|(r, to)| back.grads[0][r * heads + h] += to);
            }
        },
    )
}

/// Softmax over the rows of each segment, column by column.
///
/// # Shapes
/// `scores: [N, H]` → `[N, H]`
pub fn segment_softmax(tape: &mut Tape, scores: &Mat, offsets: &Offsets) -> Mat {
    map_segments(tape, scores, offsets, softmax, |p, _, g| {
        let mean: f32 = p.iter().zip(g).map(|(p, g)| p * g).sum();
        p.iter().zip(g).map(|(p, g)| p * (g - mean)).collect()
    })
}

/// Each value as a share of its segment's sum, column by column; values are positive.
///
/// # Shapes
/// `values: [N, H]` → `[N, H]`
pub fn segment_shares(tape: &mut Tape, values: &Mat, offsets: &Offsets) -> Mat {
    let share = |values: &mut [f32]| {
        let sum: f32 = values.iter().sum();
        values.iter_mut().for_each(|x| *x /= sum);
    };
    map_segments(tape, values, offsets, share, |shares, before, g| {
        let sum: f32 = before.iter().sum();
        let mean: f32 = shares.iter().zip(g).map(|(s, g)| s * g).sum();
        g.iter().map(|g| (g - mean) / sum).collect()
    })
}

/// Head h's weights times head h's columns, summed over each segment.
///
/// # Shapes
/// `weights: [N, H]`, `rows: [N, H a]` → `[B, H a]`
pub fn segment_head_sums(tape: &mut Tape, weights: &Mat, rows: &Mat, offsets: &Offsets) -> Mat {
    let (b, width, heads) = (offsets.segments(), rows.cols(), weights.cols());
    assert_eq!((weights.rows(), rows.rows()), (offsets.rows(), offsets.rows()), "segment_head_sums: rows");
    count(rows.rows() * width);
    let a = width / heads;
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[weights, rows],
        (b, width),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; b * width];
            for (out, range) in out.chunks_mut(width.max(1)).zip(of_forward.ranges()) {
                for (r, h) in range.flat_map(|r| (0..heads).map(move |h| (r, h))) {
                    let from = r * width + h * a;
                    axpy(v[0][r * heads + h], &v[1][from..from + a], &mut out[h * a..(h + 1) * a]);
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (g, range) in back.out.chunks(width.max(1)).zip(of_backward.ranges()) {
                for (r, h) in range.flat_map(|r| (0..heads).map(move |h| (r, h))) {
                    let (at, g) = (r * width + h * a, &g[h * a..(h + 1) * a]);
                    back.grads[0][r * heads + h] += dot(g, &back.values[1][at..at + a]);
                    axpy(back.values[0][r * heads + h], g, &mut back.grads[1][at..at + a]);
                }
            }
        },
    )
}

/// One more row at the end of each segment.
///
/// # Shapes
/// `rows: [N, d]`, `last: [B, d]` → `[N + B, d]` and its borders
pub fn append_rows(tape: &mut Tape, rows: &Mat, last: &Mat, offsets: &Offsets) -> (Mat, Offsets) {
    let d = rows.cols();
    assert_eq!((rows.rows(), last.rows()), (offsets.rows(), offsets.segments()), "append_rows: other rows");
    assert_eq!(d, last.cols(), "append_rows: widths differ");
    let longer = Offsets::from_lengths(offsets.lengths().map(|n| n + 1));
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    let out = tape.record(
        &[rows, last],
        (longer.rows(), d),
        #[inline(always)]
        |v| {
            let mut out = Vec::with_capacity(v[0].len() + v[1].len());
            for (s, range) in of_forward.ranges().enumerate() {
                out.extend_from_slice(&v[0][range.start * d..range.end * d]);
                out.extend_from_slice(&v[1][s * d..(s + 1) * d]);
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (s, range) in of_backward.ranges().enumerate() {
                let (from, end) = ((range.start + s) * d, (range.end + s) * d);
                axpy(1.0, &back.out[from..end], &mut back.grads[0][range.start * d..range.end * d]);
                axpy(1.0, &back.out[end..end + d], &mut back.grads[1][s * d..(s + 1) * d]);
            }
        },
    );
    (out, longer)
}
