//! Losses, each a `[1, 1]` mean.

use super::{
    axpy,
    dense::{add_unit_grad, unit},
    dot,
};
use crate::{Mat, Tape};

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
