//! Target attention over jagged histories, in folded form.
//!
//! softmax(q W_q (H W_k)ᵀ) H W_v = (softmax((q W_q W_kᵀ) Hᵀ) H) W_v: with W_k on the query's side and W_v behind the
//! sum the rows themselves are never projected, which costs 4nd + 4d² instead of 2nd² + 2nd + 2d² multiply-adds.

use rayon::prelude::*;

use super::{add_product, add_rows, axpy, dense::softmax, dot, select::Selector, turned::Turned, wide};
use crate::{Mat, Offsets, Spans, Tape, cost::count};

/// Per head h: o_h = Σ_t softmax_t(scale q_h · row_t) row_t, over the `top_k` best rows where it is given (ties: the
/// most recent). An empty history gives zeros.
///
/// # Shapes
/// `queries: [B, H d]`, `rows: [N, d]` → `[B, H d]`
pub fn attend(
    tape: &mut Tape,
    queries: &Mat,
    rows: &Mat,
    spans: impl Into<Spans>,
    heads: usize,
    scale: f32,
    top_k: Option<usize>,
) -> Mat {
    let spans = spans.into();
    let (b, d) = (spans.samples(), rows.cols());
    assert_eq!((queries.rows(), queries.cols()), (b, heads * d), "attend: one query per head and sample");
    assert_eq!(rows.rows(), spans.rows(), "attend: spans of other rows");
    let keep = move |n: usize| top_k.map_or(n, |k| n.min(k));
    count(heads * d * spans.lengths().map(|n| n + keep(n)).sum::<usize>());
    let (of_forward, of_backward, training) = (spans.clone(), spans, tape.is_training());
    let (history_rows, of_rows) = (rows.values(), rows.clone());
    tape.record_rows(
        Some(rows),
        &[queries],
        (b, heads * d),
        #[inline(always)]
        |v| {
            if let Some(of) = of_forward.of().filter(|_| !training) {
                let histories = (history_rows, of_forward.histories(), of);
                return (attend_shared(&v[0], histories, (heads, d), scale, top_k), Saved::default());
            }
            let (mut out, mut saved) = (vec![0.0; b * heads * d], Saved::default());
            let (mut reader, mut scores) = (Reader::new(d, top_k), Vec::new());
            let samples = v[0].chunks_exact(heads * d).zip(out.chunks_exact_mut(heads * d));
            for ((queries, out), range) in samples.zip(of_forward.ranges()) {
                let history = &history_rows[range.start * d..range.end * d];
                scores.resize(range.len(), 0.0);
                for (q, out) in queries.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
                    for (score, row) in scores.iter_mut().zip(history.chunks_exact(d)) {
                        *score = scale * dot(q, row);
                    }
                    reader.read(&scores, history, out);
                    if training {
                        saved.0.extend_from_slice(&reader.weights);
                        saved.1.extend_from_slice(&reader.chosen);
                    }
                }
            }
            (out, saved)
        },
        #[inline(always)]
        move |back, to_rows, (weights, chosen): Saved| {
            let (mut weights, mut chosen) = (weights.as_slice(), chosen.as_slice());
            let (values, to_queries) = (of_rows.values(), &mut back.grads[0]);
            let mut to_weight = Vec::new();
            // Of one history: gradients, zero again after each, and which rows have one.
            let (mut to_history, mut reached) = (Vec::new(), Vec::new());
            for (s, range) in of_backward.ranges().enumerate() {
                let n = range.len();
                let k = keep(n);
                let history = &values[range.start * d..range.end * d];
                if to_history.len() < n * d {
                    to_history.resize(n * d, 0.0);
                    reached.resize(n, false);
                }
                for h in 0..heads {
                    let at = (s * heads + h) * d..(s * heads + h + 1) * d;
                    let (g, q) = (&back.out[at.clone()], &back.values[0][at.clone()]);
                    let to_query = &mut to_queries[at];
                    let (w, rest) = weights.split_at(k);
                    weights = rest;
                    let pick;
                    (pick, chosen) = if k < n { chosen.split_at(k) } else { (&[][..], chosen) };
                    let place = |i: usize| if k < n { pick[i] as usize * d } else { i * d };
                    to_weight.resize(k, 0.0);
                    for (i, to) in to_weight.iter_mut().enumerate() {
                        *to = dot(g, &history[place(i)..place(i) + d]);
                    }
                    let mean = dot(&to_weight, w);
                    for i in 0..k {
                        let to_score = scale * w[i] * (to_weight[i] - mean);
                        let p = place(i);
                        axpy(to_score, &history[p..p + d], to_query);
                        let row = &mut to_history[p..p + d];
                        for j in 0..d {
                            row[j] += w[i] * g[j] + to_score * q[j];
                        }
                        reached[p / d] = true;
                    }
                }
                let all = range.zip(&mut reached).zip(to_history.chunks_exact_mut(d));
                for ((r, reached), grad) in all.filter(|((_, reached), _)| **reached) {
                    to_rows.add(r, grad);
                    grad.fill(0.0);
                    *reached = false;
                }
            }
        },
    )
}

/// Weights, and chosen rows relative to their history, of all (sample, head) in turn; no rows where all are chosen.
type Saved = (Vec<f32>, Vec<u32>);

/// [`attend`] of samples that share histories, to the same bits: on all threads, as the candidates of one request are one shard.
fn attend_shared(
    queries: &[f32],
    (rows, histories, of): (&[f32], &Offsets, &[u32]),
    (heads, d): (usize, usize),
    scale: f32,
    top_k: Option<usize>,
) -> Vec<f32> {
    let history = |h: u32| {
        let range = histories.range(h as usize);
        &rows[range.start * d..range.end * d]
    };
    let turned: Vec<Turned> = (0..histories.segments() as u32).map(|h| Turned::new(history(h), d)).collect();
    let (size, mut out) = (heads * d, vec![0.0; queries.len()]);
    let parts = queries.par_chunks(SAMPLES * size).zip(out.par_chunks_mut(SAMPLES * size));
    parts.zip(of.par_chunks(SAMPLES)).for_each_init(
        || (Reader::new(d, top_k), Vec::new()),
        |(reader, scores), ((mut queries, mut out), of)| {
            wide(
                #[inline(always)]
                || {
                    for of in of.chunk_by(|a, b| a == b) {
                        let (mine, others) = queries.split_at(of.len() * size);
                        let (to, to_others) = std::mem::take(&mut out).split_at_mut(mine.len());
                        (queries, out) = (others, to_others);
                        let history = history(of[0]);
                        let n = history.len() / d;
                        if n == 0 {
                            continue;
                        }
                        scores.resize(of.len() * heads * n, 0.0);
                        turned[of[0] as usize].scores(mine, scale, scores);
                        for (scores, to) in scores.chunks_exact(n).zip(to.chunks_exact_mut(d)) {
                            reader.read(scores, history, to);
                        }
                    }
                },
            );
        },
    );
    out
}

/// Samples that are scored together, so that what they read of a history is in the cache.
const SAMPLES: usize = 8;

/// Reads histories by scores, one after the other, without allocating for each.
struct Reader {
    d: usize,
    top_k: Option<usize>,
    selector: Selector,
    /// Rows that were chosen last; none where all were.
    chosen: Vec<u32>,
    /// Their weights.
    weights: Vec<f32>,
}

impl Reader {
    fn new(d: usize, top_k: Option<usize>) -> Self {
        Self { d, top_k, selector: Selector::default(), chosen: Vec::new(), weights: Vec::new() }
    }

    /// Adds to `out` the sum of the best rows, weighted by the softmax of their scores.
    #[inline(always)]
    fn read(&mut self, scores: &[f32], history: &[f32], out: &mut [f32]) {
        let Self { d, top_k, selector, chosen, weights } = self;
        let d = *d;
        chosen.clear();
        match top_k.filter(|k| *k < scores.len()) {
            None => {
                weights.clear();
                weights.extend_from_slice(scores);
                softmax(weights);
                add_rows(weights, |i| &history[i * d..(i + 1) * d], out);
            }
            Some(k) => {
                selector.append_top(scores, k, chosen);
                weights.resize(k, 0.0);
                weights.iter_mut().zip(chosen.iter()).for_each(|(w, t)| *w = scores[*t as usize]);
                softmax(weights);
                let place = |i: usize| chosen[i] as usize * d;
                add_rows(weights, |i| &history[place(i)..place(i) + d], out);
            }
        }
    }
}

/// Of each sample the `k` rows with the largest scores (ties: the most recent), in time order, with the borders of what was
/// chosen.
///
/// # Shapes
/// `scores: [M]`, one for each sample and row it reads → `[Σ min(k, n_b)]`
pub fn best_rows(scores: &[f32], spans: impl Into<Spans>, k: usize) -> (Vec<u32>, Offsets) {
    let spans = spans.into();
    let (mut selector, mut chosen) = (Selector::default(), Vec::new());
    wide(
        #[inline(always)]
        || {
            for (mine, range) in spans.side_by_side().ranges().zip(spans.ranges()) {
                let from = chosen.len();
                selector.append_top(&scores[mine], k, &mut chosen);
                chosen[from..].iter_mut().for_each(|place| *place += range.start as u32);
            }
        },
    );
    (chosen, Offsets::from_lengths(spans.lengths().map(|n| n.min(k))))
}

/// Block-diagonal linear map: head h's block of x times block h of w.
///
/// # Shapes
/// `x: [B, H a]`, `w: [H a, c]` → `[B, H c]`
pub fn head_project(tape: &mut Tape, x: &Mat, w: &Mat, heads: usize) -> Mat {
    let (b, a, c) = (x.rows(), x.cols() / heads, w.cols());
    assert_eq!(w.rows(), heads * a, "head_project: one block of w per head");
    count(b * heads * a * c);
    tape.record(
        &[x, w],
        (b, heads * c),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; b * heads * c];
            for (i, (x, out)) in v[0].chunks(a).zip(out.chunks_mut(c)).enumerate() {
                let w = &v[1][(i % heads) * a * c..];
                add_rows(x, |j| &w[j * c..(j + 1) * c], out);
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (i, (x, g)) in back.values[0].chunks(a).zip(back.out.chunks(c)).enumerate() {
                let block = (i % heads) * a * c;
                for j in 0..a {
                    let at = block + j * c..block + (j + 1) * c;
                    back.grads[0][i * a + j] += dot(g, &back.values[1][at.clone()]);
                    axpy(x[j], g, &mut back.grads[1][at]);
                }
            }
        },
    )
}

/// x times each of several matrices, side by side.
///
/// # Shapes
/// `x: [R, d]`, `w: [H d, c]` → `[R, H c]`
pub fn stacked_linear(tape: &mut Tape, x: &Mat, w: &Mat, heads: usize) -> Mat {
    let (r, d, c) = (x.rows(), x.cols(), w.cols());
    assert_eq!(w.rows(), heads * d, "stacked_linear: one matrix for each head");
    count(r * d * heads * c);
    tape.record(
        &[x, w],
        (r, heads * c),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; r * heads * c];
            let mut of_head = vec![0.0; r * c];
            for h in 0..heads {
                of_head.fill(0.0);
                let w = &v[1][h * d * c..(h + 1) * d * c];
                add_product((&v[0], (r, d), false), (w, (d, c), false), &mut of_head, (r, c));
                for (out, row) in out.chunks_mut(heads * c).zip(of_head.chunks(c)) {
                    out[h * c..(h + 1) * c].copy_from_slice(row);
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for h in 0..heads {
                let rows = back.out.chunks(heads * c).flat_map(|g| &g[h * c..(h + 1) * c]);
                let g: Vec<f32> = rows.copied().collect();
                let block = h * d * c..(h + 1) * d * c;
                let w = &back.values[1][block.clone()];
                add_product((&g, (r, c), false), (w, (d, c), true), &mut back.grads[0], (r, d));
                let to_w = &mut back.grads[1][block];
                add_product((&back.values[0], (r, d), true), (&g, (r, c), false), to_w, (d, c));
            }
        },
    )
}

/// relu(Wᵀ [q; h; q − h; q ∗ h] + b) for each behaviour h and its target q, folded: with W's row blocks W_1..W_4 this is
/// (W_1 + W_3)ᵀ q + (W_2 − W_3 + diag(q) W_4)ᵀ h, so a behaviour costs d F multiply-adds instead of 4 d F.
///
/// # Shapes
/// `q: [B, d]`, `rows: [N, d]`, `w: [4 d, F]`, `b: [1, F]` → `[M, F]`, one line for each sample and row it reads
pub fn din_hidden(tape: &mut Tape, q: &Mat, rows: &Mat, spans: impl Into<Spans>, w: &Mat, b: &Mat) -> Mat {
    let spans = spans.into();
    let (d, f, n) = (q.cols(), w.cols(), spans.lengths().sum::<usize>());
    assert_eq!(w.rows(), 4 * d, "din_hidden: four blocks of w");
    assert_eq!((rows.rows(), q.rows()), (spans.rows(), spans.samples()), "din_hidden: spans of other rows");
    count(2 * q.rows() * d * f + n * d * f);
    let (of_forward, of_backward) = (spans.clone(), spans);
    let block = move |i: usize| i * d * f..(i + 1) * d * f;
    let matrix = move |w: &[f32], q: &[f32]| -> Vec<f32> {
        let (w2, w3, w4) = (&w[block(1)], &w[block(2)], &w[block(3)]);
        (0..d * f).map(|i| w2[i] - w3[i] + q[i / f] * w4[i]).collect()
    };
    tape.record(
        &[q, rows, w, b],
        (n, f),
        #[inline(always)]
        |v| {
            let mut out = Vec::with_capacity(n * f);
            let sum: Vec<f32> = v[2][block(0)].iter().zip(&v[2][block(2)]).map(|(a, b)| a + b).collect();
            for (q, range) in v[0].chunks(d).zip(of_forward.ranges()) {
                let mut base = v[3].to_vec();
                q.iter().zip(sum.chunks(f)).for_each(|(q, w)| axpy(*q, w, &mut base));
                let from = out.len();
                out.extend(base.repeat(range.len()));
                let m = matrix(&v[2], q);
                let rows = &v[1][range.start * d..range.end * d];
                add_product(
                    (rows, (range.len(), d), false),
                    (&m, (d, f), false),
                    &mut out[from..],
                    (range.len(), f),
                );
            }
            out.iter_mut().for_each(|y| *y = y.max(0.0));
            let active: Vec<bool> = out.iter().map(|y| *y > 0.0).collect();
            (out, active)
        },
        #[inline(always)]
        move |back, active| {
            let grad: Vec<f32> =
                back.out.iter().zip(&active).map(|(g, on)| if *on { *g } else { 0.0 }).collect();
            let w = &back.values[2];
            let mine = of_backward.side_by_side();
            for (s, range) in of_backward.ranges().enumerate().filter(|(_, r)| !r.is_empty()) {
                let mine = mine.range(s);
                let q = &back.values[0][s * d..(s + 1) * d];
                let (n, rows) = (range.len(), &back.values[1][range.start * d..range.end * d]);
                let g = &grad[mine.start * f..mine.end * f];
                let m = matrix(w, q);
                let to_rows = &mut back.grads[1][range.start * d..range.end * d];
                add_product((g, (n, f), false), (&m, (d, f), true), to_rows, (n, d));
                let mut to_matrix = vec![0.0; d * f];
                add_product((rows, (n, d), true), (g, (n, f), false), &mut to_matrix, (d, f));
                let mut to_base = vec![0.0; f];
                g.chunks(f).for_each(|g| axpy(1.0, g, &mut to_base));
                axpy(1.0, &to_base, &mut back.grads[3]);
                for i in 0..d {
                    let at = i * f..(i + 1) * f;
                    let [w1, w3, w4] = [0, 2, 3].map(|b| &w[block(b)][at.clone()]);
                    back.grads[0][s * d + i] +=
                        dot(&to_base, w1) + dot(&to_base, w3) + dot(&to_matrix[at.clone()], w4);
                    let to_w = &mut back.grads[2];
                    axpy(q[i], &to_base, &mut to_w[block(0)][at.clone()]);
                    axpy(q[i], &to_base, &mut to_w[block(2)][at.clone()]);
                    axpy(1.0, &to_matrix[at.clone()], &mut to_w[block(1)][at.clone()]);
                    axpy(-1.0, &to_matrix[at.clone()], &mut to_w[block(2)][at.clone()]);
                    axpy(q[i], &to_matrix[at.clone()], &mut to_w[block(3)][at]);
                }
            }
        },
    )
}
