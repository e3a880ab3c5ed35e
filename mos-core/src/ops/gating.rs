//! What gates of mixtures need beyond the dense operations.

use super::{axpy, dot};
use crate::{Mat, Tape};

/// The smooth step of DSelect-k (Hazimeh et al. 2021) with γ = 1, and its slope: 0 below −1/2, 1 above 1/2, between them
/// −2x³ + 3x/2 + 1/2.
pub(crate) fn smooth_step(x: f32) -> (f32, f32) {
    match x {
        _ if x <= -0.5 => (0.0, 0.0),
        _ if x >= 0.5 => (1.0, 0.0),
        _ => (-2.0 * x * x * x + 1.5 * x + 0.5, 1.5 - 6.0 * x * x),
    }
}

/// Distributions over 2^m experts from m logits: expert e has the product over bits j of S(z_j) where bit j of e is set
/// (the lowest is bit 0), of 1 − S(z_j) where it is not, S the smooth step with γ = 1. Each row sums to one.
///
/// # Shapes
/// `z: [S, m]` → `[S, 2^m]`
pub fn smooth_selectors(tape: &mut Tape, z: &Mat) -> Mat {
    let (rows, bits) = (z.rows(), z.cols());
    let experts = 1usize << bits;
    // Factor of bit j in expert e, and its slope by z_j.
    let factor = move |z: &[f32], e: usize, j: usize| {
        let (step, slope) = smooth_step(z[j]);
        if e >> j & 1 == 1 { (step, slope) } else { (1.0 - step, -slope) }
    };
    tape.record(
        &[z],
        (rows, experts),
        #[inline(always)]
        |v| {
            let all = |r: usize| {
                let z = &v[0][r * bits..(r + 1) * bits];
                (0..experts).map(move |e| (0..bits).map(|j| factor(z, e, j).0).product())
            };
            ((0..rows).flat_map(all).collect(), ())
        },
        #[inline(always)]
        move |back, ()| {
            for r in 0..rows {
                let z = &back.values[0][r * bits..(r + 1) * bits];
                for e in 0..experts {
                    for j in 0..bits {
                        let others: f32 = (0..bits).filter(|i| *i != j).map(|i| factor(z, e, i).0).product();
                        back.grads[0][r * bits + j] += back.out[r * experts + e] * others * factor(z, e, j).1;
                    }
                }
            }
        },
    )
}

/// Mean over rows of −Σ p ln(p + 1e-6); no rows: zero.
///
/// # Shapes
/// `p: [R, E]` → `[1, 1]`
pub fn entropy(tape: &mut Tape, p: &Mat) -> Mat {
    const TINY: f32 = 1e-6;
    let n = p.rows().max(1) as f32;
    tape.record(
        &[p],
        (1, 1),
        #[inline(always)]
        |v| (vec![v[0].iter().map(|p| -p * (p + TINY).ln()).sum::<f32>() / n], ()),
        #[inline(always)]
        move |back, ()| {
            for (to, p) in back.grads[0].iter_mut().zip(back.values[0].iter()) {
                *to -= back.out[0] * ((p + TINY).ln() + p / (p + TINY)) / n;
            }
        },
    )
}

/// Mean over rows of (log Σ exp x)², the z-loss of ST-MoE (Zoph et al. 2022); no rows: zero.
///
/// # Shapes
/// `x: [R, E]` → `[1, 1]`
pub fn square_logsumexp(tape: &mut Tape, x: &Mat) -> Mat {
    let (n, cols) = (x.rows().max(1) as f32, x.cols());
    tape.record(
        &[x],
        (1, 1),
        #[inline(always)]
        |v| {
            let mut shares = v[0].to_vec();
            let mut logs = Vec::with_capacity(x.rows());
            for row in shares.chunks_mut(cols.max(1)) {
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter_mut().for_each(|x| *x = (*x - most).exp());
                let sum: f32 = row.iter().sum();
                row.iter_mut().for_each(|x| *x /= sum);
                logs.push(most + sum.ln());
            }
            (vec![dot(&logs, &logs) / n], (shares, logs))
        },
        #[inline(always)]
        move |back, (shares, logs)| {
            for (r, log) in logs.iter().enumerate() {
                let at = r * cols..(r + 1) * cols;
                axpy(2.0 * back.out[0] * log / n, &shares[at.clone()], &mut back.grads[0][at]);
            }
        },
    )
}

/// The smooth load of noisy top-k gating (Shazeer et al. 2017): the probability that expert e stays among the k best when
/// its own noise is drawn again, Φ((clean_e − the k-th best noisy logit of the others) / spread_e). A spread counts as at
/// least 1e-6.
///
/// # Shapes
/// `clean, noisy, spread: [R, E]` → `[R, E]`; ones where k = E
pub fn top_k_probability(tape: &mut Tape, clean: &Mat, noisy: &Mat, spread: &Mat, k: usize) -> Mat {
    let (rows, experts) = (clean.rows(), clean.cols());
    assert!((1..=experts).contains(&k), "top_k_probability: {k} of {experts}");
    // For each entry of a row the expert whose noisy logit it must beat; none where all are chosen.
    let rival = move |noisy: &[f32]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| noisy[*b].total_cmp(&noisy[*a]));
        (0..experts).map(|e| if order[..k].contains(&e) { order[k] } else { order[k - 1] }).collect()
    };
    tape.record(
        &[clean, noisy, spread],
        (rows, experts),
        #[inline(always)]
        |v| {
            if k == experts {
                return (vec![1.0; rows * experts], Vec::new());
            }
            let rivals: Vec<usize> = v[1].chunks(experts).flat_map(rival).collect();
            let score = |i: usize| (v[0][i] - v[1][i / experts * experts + rivals[i]]) / v[2][i].max(TINY);
            let out = (0..rows * experts).map(|i| normal(f64::from(score(i))).0 as f32).collect();
            (out, rivals)
        },
        #[inline(always)]
        move |back, rivals| {
            for (i, rival) in rivals.iter().enumerate() {
                let rival = i / experts * experts + rival;
                let spread = back.values[2][i].max(TINY);
                let z = (back.values[0][i] - back.values[1][rival]) / spread;
                let g = back.out[i] * normal(f64::from(z)).1 as f32 / spread;
                back.grads[0][i] += g;
                back.grads[1][rival] -= g;
                back.grads[2][i] -= g * z;
            }
        },
    )
}

/// Least spread.
const TINY: f32 = 1e-6;

/// Distribution function and density of the standard normal distribution.
fn normal(x: f64) -> (f64, f64) {
    let below = 0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2));
    (below, (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt())
}
