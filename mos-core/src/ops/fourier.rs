//! What a product in the Fourier domain does in time.

use super::axpy;
use crate::{Mat, Offsets, Tape, cost::count};

/// For each segment the fixed circular Hilbert matrix T of its length, y = T x. T is what the
/// imaginary part of a Fourier-domain product does in time (MIRRN): T\[t, s\] = −(2/n) Σ_f sin(2π f (t − s) / n), f from 1 to
/// (n − 1) / 2.
///
/// # Shapes
/// `x: [N, d]` → `[N, d]`
pub fn hilbert(tape: &mut Tape, x: &Mat, offsets: &Offsets) -> Mat {
    let (n, d) = (x.rows(), x.cols());
    count(d * offsets.lengths().map(|n| n * n).sum::<usize>());
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    // T is antisymmetric: its transpose is −T.
    #[inline(always)]
    fn apply(x: &[f32], d: usize, offsets: &Offsets, sign: f32, out: &mut [f32]) {
        for range in offsets.ranges() {
            let n = range.len();
            let row: Vec<f32> = (0..n).map(|lag| sign * hilbert_entry(lag, n)).collect();
            for t in 0..n {
                for s in 0..n {
                    let (a, b) = (range.start + t, range.start + s);
                    axpy(row[(n + t - s) % n], &x[b * d..(b + 1) * d], &mut out[a * d..(a + 1) * d]);
                }
            }
        }
    }
    tape.record(
        &[x],
        (n, d),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; n * d];
            apply(&v[0], d, &of_forward, 1.0, &mut out);
            (out, ())
        },
        #[inline(always)]
        move |back, ()| apply(back.out, d, &of_backward, -1.0, &mut back.grads[0]),
    )
}

fn hilbert_entry(lag: usize, n: usize) -> f32 {
    let angle = |f: usize| 2.0 * std::f64::consts::PI * (f * lag % n) as f64 / n as f64;
    (-2.0 / n as f64 * (1..=(n.max(1) - 1) / 2).map(|f| angle(f).sin()).sum::<f64>()) as f32
}
