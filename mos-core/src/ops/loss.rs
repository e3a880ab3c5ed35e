//! Losses, each a `[1, 1]` mean.

use std::borrow::Cow;

use super::{
    axpy,
    dense::{add_unit_grad, unit},
    dot,
};
use crate::{Mat, Tape, cost::count};

/// Mean binary cross-entropy of logits.
///
/// # Shapes
/// `logits: [B, 1]`, `labels: [B]` → `[1, 1]`
pub fn bce_with_logits(tape: &mut Tape, logits: &Mat, labels: &[f32]) -> Mat {
    assert_eq!((logits.rows(), logits.cols()), (labels.len(), 1), "bce_with_logits: one logit per label");
    let n = labels.len().max(1) as f32;
    let kept = labels.to_vec();
    tape.record(
        &[logits],
        (1, 1),
        #[inline(always)]
        |v| {
            let each = |(x, y): (&f32, &f32)| x.max(0.0) - x * y + (-x.abs()).exp().ln_1p();
            (vec![v[0].iter().zip(labels).map(each).sum::<f32>() / n], ())
        },
        #[inline(always)]
        move |back, ()| {
            for (i, y) in kept.iter().enumerate() {
                let p = 1.0 / (1.0 + (-back.values[0][i]).exp());
                back.grads[0][i] += back.out[0] * (p - y) / n;
            }
        },
    )
}

/// Σ x² / rows
pub fn mean_square(tape: &mut Tape, x: &Mat) -> Mat {
    let n = x.rows().max(1) as f32;
    tape.record(
        &[x],
        (1, 1),
        #[inline(always)]
        |v| (vec![dot(&v[0], &v[0]) / n], ()),
        #[inline(always)]
        move |back, ()| axpy(2.0 * back.out[0] / n, &back.values[0], &mut back.grads[0]),
    )
}

/// Σ weight · scalar
///
/// # Shapes
/// each `[1, 1]` → `[1, 1]`
pub fn sum_scalars(tape: &mut Tape, parts: &[(&Mat, f32)]) -> Mat {
    assert!(parts.iter().all(|(m, _)| (m.rows(), m.cols()) == (1, 1)), "sum_scalars: each part is [1, 1]");
    let inputs: Vec<&Mat> = parts.iter().map(|(m, _)| *m).collect();
    let weights: Vec<f32> = parts.iter().map(|(_, w)| *w).collect();
    let kept = weights.clone();
    tape.record(
        &inputs,
        (1, 1),
        #[inline(always)]
        |v| (vec![v.iter().zip(&weights).map(|(v, w)| v[0] * w).sum()], ()),
        #[inline(always)]
        move |back, ()| back.grads.iter_mut().zip(&kept).for_each(|(g, w)| g[0] += w * back.out[0]),
    )
}

const TINY: f32 = 1e-9;

/// Minus the mutual information of the themes of paired items. With memberships p, J = Σ p_i p_jᵀ over pairs (i, j),
/// made symmetric and scaled to sum 1, and π its row sums, the loss is −Σ J_kk' log((J_kk' + ε) / ((π_k + ε)(π_k' + ε))):
/// low when neighbours agree and all themes are used. No pairs: zero.
///
/// # Shapes
/// `p: [U, K]` → `[1, 1]`
pub fn mutual_information(tape: &mut Tape, p: &Mat, pairs: &[(u32, u32)]) -> Mat {
    let k = p.cols();
    count(pairs.len() * k * k);
    let kept = pairs.to_vec();
    tape.record(
        &[p],
        (1, 1),
        #[inline(always)]
        |v| {
            let joint = sum_of_products(&v[0], k, pairs);
            let total: f32 = joint.iter().sum();
            if total <= 0.0 {
                return (vec![0.0], (Vec::new(), 0.0));
            }
            let half: Vec<f32> =
                (0..k * k).map(|i| (joint[i] + joint[i % k * k + i / k]) / (2.0 * total)).collect();
            let share: Vec<f32> = half.chunks(k).map(|r| r.iter().sum()).collect();
            let mut loss = 0.0;
            // Derivative of the loss by J (π depends on J too), then by the unscaled, unsymmetrised sum.
            let mut slope = vec![0.0; k * k];
            let tail: Vec<f32> = (0..k)
                .map(|r| (0..k).map(|c| half[r * k + c] / (share[r] + TINY)).sum::<f32>() * 2.0)
                .collect();
            for i in 0..k * k {
                let (r, c) = (i / k, i % k);
                let log = ((half[i] + TINY) / ((share[r] + TINY) * (share[c] + TINY))).ln();
                loss -= half[i] * log;
                slope[i] = -(log + half[i] / (half[i] + TINY)) + (tail[r] + tail[c]) / 2.0;
            }
            let mean = dot(&slope, &half);
            let raw: Vec<f32> =
                (0..k * k).map(|i| ((slope[i] + slope[i % k * k + i / k]) / 2.0 - mean) / total).collect();
            (vec![loss], (raw, total))
        },
        #[inline(always)]
        move |back, (raw, total)| {
            if total <= 0.0 {
                return;
            }
            add_products_grad(&back.values[0], k, &kept, &raw, back.out[0], &mut back.grads[0]);
        },
    )
}

/// Values that are handled together.
const LANES: usize = 8;

/// A row of a matrix with up to 8 B columns, zeros behind them.
type Blocks<const B: usize> = [[f32; LANES]; B];

/// The rows of a matrix with `k` columns.
#[inline(always)]
fn blocks_of<const B: usize>(rows: &[f32], k: usize) -> Cow<'_, [Blocks<B>]> {
    if k == B * LANES {
        return rows.as_chunks().0.as_chunks().0.into();
    }
    let padded = |row: &[f32]| {
        let mut out = [[0.0; LANES]; B];
        out.as_flattened_mut()[..k].copy_from_slice(row);
        out
    };
    rows.chunks_exact(k).map(padded).collect()
}

/// Σ p_i p_jᵀ `[K, K]` over pairs, added in their order.
#[inline(always)]
fn sum_of_products(p: &[f32], k: usize, pairs: &[(u32, u32)]) -> Vec<f32> {
    match k {
        0..=8 => sum_of_products_of::<1>(p, k, pairs),
        9..=16 => sum_of_products_of::<2>(p, k, pairs),
        17..=32 => sum_of_products_of::<4>(p, k, pairs),
        33..=64 => sum_of_products_of::<8>(p, k, pairs),
        _ => sum_of_products_of::<32>(p, k, pairs),
    }
}

/// A tile of 8 x 8 sums stays in registers while all pairs pass.
#[inline(always)]
fn sum_of_products_of<const B: usize>(p: &[f32], k: usize, pairs: &[(u32, u32)]) -> Vec<f32> {
    let p = blocks_of::<B>(p, k);
    let mut sum = vec![0.0; k * k];
    let used = 0..k.div_ceil(LANES);
    for (down, across) in used.clone().flat_map(|down| used.clone().map(move |across| (down, across))) {
        let mut tile = [[0.0; LANES]; LANES];
        for (i, j) in pairs {
            let (a, b) = (p[*i as usize][down], p[*j as usize][across]);
            for r in 0..LANES {
                for c in 0..LANES {
                    tile[r][c] += a[r] * b[c];
                }
            }
        }
        for (row, tile) in sum.chunks_exact_mut(k).skip(down * LANES).zip(&tile) {
            let row = &mut row[across * LANES..];
            let width = row.len().min(LANES);
            row[..width].copy_from_slice(&tile[..width]);
        }
    }
    sum
}

/// For each pair, in order: to p_i is added g M p_j, to p_j g Mᵀ p_i.
#[inline(always)]
fn add_products_grad(p: &[f32], k: usize, pairs: &[(u32, u32)], m: &[f32], g: f32, to: &mut [f32]) {
    match k {
        0..=8 => add_products_grad_of::<1>(p, k, pairs, m, g, to),
        9..=16 => add_products_grad_of::<2>(p, k, pairs, m, g, to),
        17..=32 => add_products_grad_of::<4>(p, k, pairs, m, g, to),
        33..=64 => add_products_grad_of::<8>(p, k, pairs, m, g, to),
        _ => add_products_grad_of::<32>(p, k, pairs, m, g, to),
    }
}

#[inline(always)]
fn add_products_grad_of<const B: usize>(
    p: &[f32],
    k: usize,
    pairs: &[(u32, u32)],
    m: &[f32],
    g: f32,
    to: &mut [f32],
) {
    let transposed: Vec<f32> = (0..k * k).map(|at| m[at % k * k + at / k]).collect();
    let (p, rows, columns) = (blocks_of::<B>(p, k), blocks_of::<B>(m, k), blocks_of::<B>(&transposed, k));
    let mut grads = blocks_of::<B>(to, k).into_owned();
    for (i, j) in pairs {
        let (a, b) = (&p[*i as usize], &p[*j as usize]);
        let products: Blocks<B> = products_in_lanes(b, &columns, k);
        if i == j {
            // Both parts reach one row, in turns.
            let (grad, of) = (grads[*i as usize].as_flattened_mut(), products.as_flattened());
            for (r, row) in rows.iter().enumerate() {
                grad[r] += g * of[r];
                axpy(g * a.as_flattened()[r], row.as_flattened(), grad);
            }
            continue;
        }
        for (to, product) in grads[*i as usize].iter_mut().zip(products) {
            for l in 0..LANES {
                to[l] += g * product[l];
            }
        }
        let mut sums = grads[*j as usize];
        for (row, a) in rows.iter().zip(a.as_flattened()) {
            let a = g * a;
            for (sum, row) in sums.iter_mut().zip(row) {
                for l in 0..LANES {
                    sum[l] += a * row[l];
                }
            }
        }
        grads[*j as usize] = sums;
    }
    for (to, grads) in to.chunks_exact_mut(k).zip(&grads) {
        to.copy_from_slice(&grads.as_flattened()[..k]);
    }
}

/// The products of `x` with the rows of a matrix that is given by its columns, each in the order of [`dot`].
#[inline(always)]
fn products_in_lanes<const B: usize>(x: &Blocks<B>, columns: &[Blocks<B>], k: usize) -> Blocks<B> {
    let whole = k / LANES * LANES;
    let (columns, tail) = columns.split_at(whole);
    let mut out = [[-0.0; LANES]; B];
    for (block, out) in out.iter_mut().enumerate() {
        let mut sum = [-0.0; LANES];
        for i in 0..LANES {
            let mut lane = [-0.0; LANES];
            for (x, columns) in x.iter().zip(columns.chunks_exact(LANES)) {
                for l in 0..LANES {
                    lane[l] += x[i] * columns[i][block][l];
                }
            }
            for l in 0..LANES {
                sum[l] += lane[l];
            }
        }
        let mut rest = [-0.0; LANES];
        for (x, column) in x.as_flattened()[whole..].iter().zip(tail) {
            for l in 0..LANES {
                rest[l] += x * column[block][l];
            }
        }
        for l in 0..LANES {
            out[l] = sum[l] + rest[l];
        }
    }
    out
}

/// mean(1 − cos(r, c_z)) with the codes held fixed: pulls routing vectors towards the codes they chose.
///
/// # Shapes
/// `r: [n, d]`, `codes: [K, d]`, `assigned: [n]` → `[1, 1]`
pub fn cosine_commitment(tape: &mut Tape, r: &Mat, codes: &[f32], assigned: &[u32]) -> Mat {
    let (n, d) = (r.rows(), r.cols());
    let mut unit_codes = codes.to_vec();
    unit_codes.chunks_mut(d).for_each(|c| {
        unit(c);
    });
    let assigned = assigned.to_vec();
    let (codes, chosen) = (unit_codes.clone(), assigned.clone());
    tape.record(
        &[r],
        (1, 1),
        #[inline(always)]
        |v| {
            let mut sum = 0.0;
            for (row, z) in v[0].chunks(d).zip(&assigned) {
                let mut row = row.to_vec();
                unit(&mut row);
                sum += 1.0 - dot(&row, &unit_codes[*z as usize * d..][..d]);
            }
            (vec![sum / n.max(1) as f32], ())
        },
        #[inline(always)]
        move |back, ()| {
            for (i, z) in chosen.iter().enumerate() {
                let mut row = back.values[0][i * d..(i + 1) * d].to_vec();
                let norm = unit(&mut row);
                if norm > 0.0 {
                    let g: Vec<f32> =
                        codes[*z as usize * d..][..d].iter().map(|c| -c * back.out[0] / n as f32).collect();
                    add_unit_grad(&row, norm, &g, &mut back.grads[0][i * d..(i + 1) * d]);
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tiles_keep_the_bits_of_plain_loops(
            k in 1usize..20,
            pairs in prop::collection::vec((0u32..9, 0u32..9), 0..40),
            seed in prop::collection::vec(-1f32..1.0, 9 * 20 + 20 * 20 + 9 * 20),
        ) {
            let (p, rest) = seed.split_at(9 * k);
            let (m, rest) = rest.split_at(k * k);
            let mut found = rest[..9 * k].to_vec();
            let (mut joint, mut wanted) = (vec![0.0; k * k], found.clone());
            for (i, j) in &pairs {
                let (i, j) = (*i as usize * k, *j as usize * k);
                for r in 0..k {
                    axpy(p[i + r], &p[j..j + k], &mut joint[r * k..(r + 1) * k]);
                    let row = &m[r * k..(r + 1) * k];
                    wanted[i + r] += 0.3 * dot(row, &p[j..j + k]);
                    axpy(0.3 * p[i + r], row, &mut wanted[j..j + k]);
                }
            }
            prop_assert_eq!(sum_of_products(p, k, &pairs), joint);
            add_products_grad(p, k, &pairs, m, 0.3, &mut found);
            prop_assert_eq!(found, wanted);
        }
    }
}
