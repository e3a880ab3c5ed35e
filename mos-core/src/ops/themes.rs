//! What the theme router learns by: memberships in codes, and the mutual information of neighbours.

use std::borrow::Cow;

use super::{
    axpy,
    dense::{add_unit_grad, unit},
    dot, exp_of_negative, is_zero, side_by_side,
};
use crate::{Mat, Tape, cost::count};

/// Values that are handled together.
const LANES: usize = 8;

/// Products of a row with eight others that are [`side_by_side`].
#[inline(always)]
pub(crate) fn dots_side_by_side(row: &[f32], lanes: &[[f32; LANES]]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (x, others) in row.iter().zip(lanes) {
        for l in 0..LANES {
            sums[l] += x * others[l];
        }
    }
    sums
}

/// softmax over codes of cos(v, c) / temperature, for each vector; a vector without length belongs to all alike and gets no
/// gradient.
///
/// # Shapes
/// `vectors: [U, d]`, `codes: [K, d]` → `[U, K]`
pub fn memberships(tape: &mut Tape, vectors: &Mat, codes: &Mat, temperature: f32) -> Mat {
    let (u, d, k) = (vectors.rows(), vectors.cols(), codes.rows());
    assert_eq!(codes.cols(), d, "memberships: codes as wide as vectors");
    assert!(d > 0 && k > 0, "memberships: {k} codes of width {d}");
    count(u * k * d);
    tape.record(
        &[vectors, codes],
        (u, k),
        #[inline(always)]
        |v| {
            let (mut units, mut unit_codes) = (v[0].to_vec(), v[1].to_vec());
            let norms: Vec<f32> = units.chunks_exact_mut(d).map(unit).collect();
            let code_norms: Vec<f32> = unit_codes.chunks_exact_mut(d).map(unit).collect();
            let lanes = side_by_side(&unit_codes, d);
            let mut p = vec![0.0; u * k];
            for (row, p) in units.chunks_exact(d).zip(p.chunks_exact_mut(k)) {
                for (p, lanes) in p.chunks_mut(LANES).zip(lanes.chunks_exact(d)) {
                    p.copy_from_slice(&dots_side_by_side(row, lanes)[..p.len()]);
                }
                let most = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                p.iter_mut().for_each(|p| *p = exp_of_negative((*p - most) / temperature));
                let sum: f32 = p.iter().sum();
                p.iter_mut().for_each(|p| *p /= sum);
            }
            (p.clone(), (p, units, norms, unit_codes, code_norms))
        },
        #[inline(always)]
        move |back, (p, units, norms, unit_codes, code_norms)| {
            let (mut to_cosines, mut to_unit) = (vec![0.0; k], vec![0.0; d]);
            let mut to_codes = vec![0.0; k * d];
            let (to_vectors, rest) = back.grads.split_at_mut(1);
            let rows = back.out.chunks_exact(k).zip(p.chunks_exact(k)).zip(units.chunks_exact(d));
            for ((((g, p), unit), norm), to) in rows.zip(norms).zip(to_vectors[0].chunks_exact_mut(d)) {
                // Items that no neighbour of the step has.
                if norm == 0.0 || is_zero(g) {
                    continue;
                }
                let mean = dot(p, g);
                for ((to, p), g) in to_cosines.iter_mut().zip(p).zip(g) {
                    *to = p * (g - mean) / temperature;
                }
                to_unit.fill(0.0);
                let codes = unit_codes.chunks_exact(d).zip(to_codes.chunks_exact_mut(d));
                for ((code, to_code), to) in codes.zip(&to_cosines) {
                    axpy(*to, code, &mut to_unit);
                    axpy(*to, unit, to_code);
                }
                add_unit_grad(unit, norm, &to_unit, to);
            }
            let codes = unit_codes.chunks_exact(d).zip(code_norms).zip(to_codes.chunks_exact(d));
            for (((code, norm), g), to) in codes.zip(rest[0].chunks_exact_mut(d)) {
                if norm > 0.0 {
                    add_unit_grad(code, norm, g, to);
                }
            }
        },
    )
}

const TINY: f32 = 1e-9;

/// Minus the mutual information of the themes of paired items. With memberships p, J = Σ p_i p_jᵀ over pairs (i, j),
/// made symmetric and scaled to sum 1, and π its row sums, the loss is −Σ J_kk' log((J_kk' + ε) / ((π_k + ε)(π_k' + ε))):
/// low when neighbours agree and all themes are used. No pairs: zero.
///
/// # Shapes
/// `p: [U, K]` → `[1, 1]`
///
/// # Panics
/// Unless K lies between 1 and 256.
pub fn mutual_information(tape: &mut Tape, p: &Mat, pairs: &[(u32, u32)]) -> Mat {
    let k = p.cols();
    assert!((1..=256).contains(&k), "mutual_information: {k} columns");
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

/// The rows of a matrix with `k` columns, each as so many blocks, zeros behind its end.
#[inline(always)]
fn blocks_of(rows: &[f32], k: usize, blocks: usize) -> Cow<'_, [[f32; LANES]]> {
    if k == blocks * LANES {
        return rows.as_chunks().0.into();
    }
    let mut out = vec![[0.0; LANES]; rows.len() / k * blocks];
    for (blocks, row) in out.chunks_exact_mut(blocks).zip(rows.chunks_exact(k)) {
        blocks.as_flattened_mut()[..k].copy_from_slice(row);
    }
    out.into()
}

/// A row in blocks.
type Blocks<const B: usize> = [[f32; LANES]; B];

/// Σ p_i p_jᵀ `[K, K]` over pairs, added in their order. A tile of 8 x 8 sums stays in registers while all pairs pass.
#[inline(always)]
fn sum_of_products(p: &[f32], k: usize, pairs: &[(u32, u32)]) -> Vec<f32> {
    let blocks = k.div_ceil(LANES);
    let p = blocks_of(p, k, blocks);
    let mut sum = vec![0.0; k * k];
    for (down, across) in (0..blocks).flat_map(|down| (0..blocks).map(move |across| (down, across))) {
        let mut tile = [[0.0; LANES]; LANES];
        for (i, j) in pairs {
            let (a, b) = (p[*i as usize * blocks + down], p[*j as usize * blocks + across]);
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
        65..=128 => add_products_grad_of::<16>(p, k, pairs, m, g, to),
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
    let [p, m, transposed] = [p, m, &transposed].map(|rows| blocks_of(rows, k, B));
    let mut grads = blocks_of(to, k, B).into_owned();
    let ([(p, _), (rows, _), (columns, _)], (grads, _)) =
        ([&p, &m, &transposed].map(|m| m.as_chunks::<B>()), grads.as_chunks_mut::<B>());
    for (i, j) in pairs {
        let (a, b) = (&p[*i as usize], &p[*j as usize]);
        let products: Blocks<B> = products_in_lanes(b, columns, k);
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
    for (to, grads) in to.chunks_exact_mut(k).zip(grads) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tiles_keep_the_bits_of_plain_loops(
            k in prop_oneof![1usize..20, prop::sample::select(vec![24, 32, 33, 64, 65, 100, 128, 255])],
            pairs in prop::collection::vec((0u32..9, 0u32..9), 0..40),
            seed in 0u64..1000,
        ) {
            let mut draw = mos_data::rng::stream(seed, "tests", &[]);
            let values: Vec<f32> = (0..18 * k + k * k).map(|_| draw.random::<f32>() * 2.0 - 1.0).collect();
            let (p, rest) = values.split_at(9 * k);
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
