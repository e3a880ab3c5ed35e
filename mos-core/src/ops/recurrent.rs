//! Recurrences and convolutions along jagged segments.

use super::{axpy, dot, exp_of_negative, sigmoid};
use crate::{Mat, Offsets, Tape, cost::count};

/// Gated recurrent unit along each segment, from a zero state (Cho et al. 2014, with the reset gate behind the recurrent
/// product as in cuDNN): u, r = σ(x + h U), c = tanh(x_c + r ∗ (h U_c)), h ← (1 − u) h + u c. `attention [N, 1]` scales u
/// (AUGRU; Zhou et al., AAAI 2019).
///
/// # Shapes
/// `gates: [N, 3 h]` (update, reset, candidate, from the inputs), `recurrent: [h, 3 h]` → states `[N, h]`
pub fn gru(tape: &mut Tape, gates: &Mat, recurrent: &Mat, attention: Option<&Mat>, offsets: &Offsets) -> Mat {
    let (n, h) = (gates.rows(), recurrent.rows());
    assert_eq!((gates.cols(), recurrent.cols()), (3 * h, 3 * h), "gru: three gates");
    count(n * h * 3 * h);
    let inputs: Vec<&Mat> = [gates, recurrent].into_iter().chain(attention).collect();
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &inputs,
        (n, h),
        #[inline(always)]
        |v| {
            let mut states = vec![0.0; n * h];
            // Of each row: u, r, c and the recurrent part of the candidate.
            let mut kept = vec![0.0; n * 4 * h];
            for range in of_forward.ranges() {
                let mut state = vec![0.0; h];
                for t in range {
                    let mut through = vec![0.0; 3 * h];
                    (0..h).for_each(|i| axpy(state[i], &v[1][i * 3 * h..(i + 1) * 3 * h], &mut through));
                    let x = &v[0][t * 3 * h..(t + 1) * 3 * h];
                    let scale = v.get(2).map_or(1.0, |a| a[t]);
                    let keep = &mut kept[t * 4 * h..(t + 1) * 4 * h];
                    for i in 0..h {
                        let (u, r) = (sigmoid(x[i] + through[i]), sigmoid(x[h + i] + through[h + i]));
                        let c = (x[2 * h + i] + r * through[2 * h + i]).tanh();
                        state[i] += scale * u * (c - state[i]);
                        (keep[i], keep[h + i], keep[2 * h + i], keep[3 * h + i]) =
                            (u, r, c, through[2 * h + i]);
                    }
                    states[t * h..(t + 1) * h].copy_from_slice(&state);
                }
            }
            (states.clone(), (states, kept))
        },
        #[inline(always)]
        move |back, (states, kept)| {
            let recurrent = &back.values[1];
            for range in of_backward.ranges() {
                let mut to_state = vec![0.0; h];
                for t in range.clone().rev() {
                    axpy(1.0, &back.out[t * h..(t + 1) * h], &mut to_state);
                    let before: Vec<f32> =
                        if t > range.start { states[(t - 1) * h..t * h].to_vec() } else { vec![0.0; h] };
                    let keep = &kept[t * 4 * h..(t + 1) * 4 * h];
                    let scale = back.values.get(2).map_or(1.0, |a| a[t]);
                    let mut to_gates = vec![0.0; 3 * h];
                    let mut to_through = vec![0.0; 3 * h];
                    let mut to_before = vec![0.0; h];
                    for i in 0..h {
                        let (u, r, c, rec) = (keep[i], keep[h + i], keep[2 * h + i], keep[3 * h + i]);
                        let g = to_state[i];
                        if let Some(to_attention) = back.grads.get_mut(2) {
                            to_attention[t] += g * u * (c - before[i]);
                        }
                        let to_u = g * scale * (c - before[i]) * u * (1.0 - u);
                        let to_c = g * scale * u * (1.0 - c * c);
                        let to_r = to_c * rec * r * (1.0 - r);
                        (to_gates[i], to_gates[h + i], to_gates[2 * h + i]) = (to_u, to_r, to_c);
                        (to_through[i], to_through[h + i], to_through[2 * h + i]) = (to_u, to_r, to_c * r);
                        to_before[i] = g * (1.0 - scale * u);
                    }
                    axpy(1.0, &to_gates, &mut back.grads[0][t * 3 * h..(t + 1) * 3 * h]);
                    for i in 0..h {
                        to_before[i] += dot(&to_through, &recurrent[i * 3 * h..(i + 1) * 3 * h]);
                        axpy(before[i], &to_through, &mut back.grads[1][i * 3 * h..(i + 1) * 3 * h]);
                    }
                    to_state = to_before;
                }
            }
        },
    )
}

/// Causal depthwise convolution along each segment: y_t = Σ_k w_k ∗ x_(t−k) + b, nothing before the start.
///
/// # Shapes
/// `x: [N, E]`, `w: [K, E]` (row k = lag k), `b: [1, E]` → `[N, E]`
pub fn causal_conv(tape: &mut Tape, x: &Mat, w: &Mat, b: &Mat, offsets: &Offsets) -> Mat {
    let (n, e, lags) = (x.rows(), x.cols(), w.rows());
    count(n * e * lags);
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    tape.record(
        &[x, w, b],
        (n, e),
        #[inline(always)]
        |v| {
            let mut out = v[2].repeat(n);
            for range in of_forward.ranges() {
                for t in range.clone() {
                    for k in 0..lags.min(t - range.start + 1) {
                        let (from, w) = (&v[0][(t - k) * e..(t - k + 1) * e], &v[1][k * e..(k + 1) * e]);
                        let out = &mut out[t * e..(t + 1) * e];
                        (0..e).for_each(|i| out[i] += w[i] * from[i]);
                    }
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for range in of_backward.ranges() {
                for t in range.clone() {
                    let g = &back.out[t * e..(t + 1) * e];
                    axpy(1.0, g, &mut back.grads[2]);
                    for k in 0..lags.min(t - range.start + 1) {
                        for i in 0..e {
                            back.grads[0][(t - k) * e + i] += g[i] * back.values[1][k * e + i];
                            back.grads[1][k * e + i] += g[i] * back.values[0][(t - k) * e + i];
                        }
                    }
                }
            }
        },
    )
}

/// Steps between the states that [`selective_scan`] keeps; those between are recomputed.
const KEEP: usize = 32;

/// Selective state space along each segment, from a zero state (Mamba; Gu and Dao 2023): per channel e and state s
/// h ← exp(−δ_e exp(A_es)) h + δ_e B_s x_e, y_e = Σ_s C_s h + D_e x_e.
///
/// # Shapes
/// `x, delta: [N, E]`, `a_log: [E, S]`, `b, c: [N, S]`, `skip: [1, E]` → `[N, E]`
pub fn selective_scan(
    tape: &mut Tape,
    (x, delta): (&Mat, &Mat),
    a_log: &Mat,
    (b, c): (&Mat, &Mat),
    skip: &Mat,
    offsets: &Offsets,
) -> Mat {
    assert_eq!(c.rows(), x.rows(), "selective_scan: C of every row");
    scan(tape, [x, delta, a_log, b, c, skip], offsets, false)
}

/// The last row of each segment of [`selective_scan`] alone; segments without rows have none. Nothing is read from the
/// states before.
///
/// # Shapes
/// `x, delta: [N, E]`, `a_log: [E, S]`, `b: [N, S]`, `c: [B, S]` of the last rows, `skip: [1, E]` → `[B, E]`, B segments
/// that have rows
pub fn selective_scan_last(
    tape: &mut Tape,
    (x, delta): (&Mat, &Mat),
    a_log: &Mat,
    (b, c): (&Mat, &Mat),
    skip: &Mat,
    offsets: &Offsets,
) -> Mat {
    scan(tape, [x, delta, a_log, b, c, skip], offsets, true)
}

/// Both scans; `last` = only the last row of each segment is read.
fn scan(tape: &mut Tape, inputs: [&Mat; 6], offsets: &Offsets, last: bool) -> Mat {
    let [x, _, a_log, _, c, _] = inputs;
    let (n, e, s, read) = (x.rows(), x.cols(), a_log.cols(), c.rows());
    // exp(δA) h and (δB) x for each channel and state; C h and D x where it is read.
    count(n * e * 2 * s + read * e * (s + 1));
    let (of_forward, of_backward) = (offsets.clone(), offsets.clone());
    // The output row that step t of a segment is read into.
    let row = move |segment: usize, t: usize, end: usize| {
        if last { (t + 1 == end).then_some(segment) } else { Some(t) }
    };
    let filled = |offsets: &Offsets| offsets.ranges().filter(|r| !r.is_empty()).collect::<Vec<_>>();
    assert!(!last || filled(offsets).len() == read, "selective_scan_last: C of every last row");
    tape.record(
        &inputs,
        (read, e),
        #[inline(always)]
        |v| {
            let rates: Vec<f32> = v[2].iter().map(|a| -a.exp()).collect();
            let mut out = vec![0.0; read * e];
            let (mut kept, mut decay) = (Vec::new(), vec![0.0; e * s]);
            for (segment, range) in filled(&of_forward).into_iter().enumerate() {
                let mut state = vec![0.0; e * s];
                let end = range.end;
                for (step, t) in range.enumerate() {
                    if step % KEEP == 0 {
                        kept.extend_from_slice(&state);
                    }
                    let (xs, ds) = (&v[0][t * e..(t + 1) * e], &v[1][t * e..(t + 1) * e]);
                    advance(&mut state, &mut decay, xs, ds, &rates, &v[3][t * s..(t + 1) * s]);
                    let Some(r) = row(segment, t, end) else { continue };
                    let c = &v[4][r * s..(r + 1) * s];
                    for (i, h) in state.chunks(s).enumerate() {
                        out[r * e + i] = dot(h, c) + v[5][i] * xs[i];
                    }
                }
            }
            (out, (rates, kept))
        },
        #[inline(always)]
        move |back, (rates, kept)| {
            let v = back.values;
            let mut first = 0;
            // States before and after each step of a block, and its decays, recomputed.
            let mut states = vec![0.0; (KEEP + 1) * e * s];
            let mut decays = vec![0.0; KEEP * e * s];
            let (mut to_b, mut to_c) = (vec![0.0f32; s], vec![0.0f32; s]);
            for (segment, range) in filled(&of_backward).into_iter().enumerate() {
                let starts: Vec<usize> = range.clone().step_by(KEEP).collect();
                let mut to_state = vec![0.0f32; e * s];
                for (block, from) in starts.iter().enumerate().rev() {
                    let end = (from + KEEP).min(range.end);
                    states[..e * s].copy_from_slice(&kept[(first + block) * e * s..][..e * s]);
                    for t in *from..end {
                        let at = (t - from) * e * s;
                        states.copy_within(at..at + e * s, at + e * s);
                        let (xs, ds) = (&v[0][t * e..(t + 1) * e], &v[1][t * e..(t + 1) * e]);
                        let (state, decay) =
                            (&mut states[at + e * s..][..e * s], &mut decays[at..at + e * s]);
                        advance(state, decay, xs, ds, &rates, &v[3][t * s..(t + 1) * s]);
                    }
                    for t in (*from..end).rev() {
                        let b = &v[3][t * s..(t + 1) * s];
                        let at = (t - from) * e * s;
                        if let Some(r) = row(segment, t, range.end) {
                            // What is read here: y = C h + D x.
                            let (c, after) = (&v[4][r * s..(r + 1) * s], &states[at + e * s..][..e * s]);
                            to_c.fill(0.0);
                            for i in 0..e {
                                let g = back.out[r * e + i];
                                back.grads[5][i] += g * v[0][t * e + i];
                                back.grads[0][t * e + i] += g * v[5][i];
                                axpy(g, &after[i * s..(i + 1) * s], &mut to_c);
                                axpy(g, c, &mut to_state[i * s..(i + 1) * s]);
                            }
                            axpy(1.0, &to_c, &mut back.grads[4][r * s..(r + 1) * s]);
                        }
                        to_b.fill(0.0);
                        for i in 0..e {
                            let (x, delta) = (v[0][t * e + i], v[1][t * e + i]);
                            let of = i * s..(i + 1) * s;
                            let before = &states[at..at + e * s][of.clone()];
                            let (decay, rate) = (&decays[at..at + e * s][of.clone()], &rates[of.clone()]);
                            let (to_rate, to_state) = (&mut back.grads[2][of.clone()], &mut to_state[of]);
                            let (mut to_gain, mut to_decay) = ([0.0f32; 8], [0.0f32; 8]);
                            let gain = delta * x;
                            for j in 0..s {
                                let to = to_state[j];
                                let through = to * before[j] * decay[j] * rate[j];
                                to_gain[j % 8] += to * b[j];
                                to_decay[j % 8] += through;
                                to_b[j] += to * gain;
                                // dA_log: a rate is −exp(A_log), so its derivative is itself.
                                to_rate[j] += through * delta;
                                to_state[j] = to * decay[j];
                            }
                            let (to_gain, to_decay): (f32, f32) =
                                (to_gain.iter().sum(), to_decay.iter().sum());
                            back.grads[0][t * e + i] += to_gain * delta;
                            back.grads[1][t * e + i] += to_decay + to_gain * x;
                        }
                        axpy(1.0, &to_b, &mut back.grads[3][t * s..(t + 1) * s]);
                    }
                }
                first += starts.len();
            }
        },
    )
}

/// One step of all channels; leaves the decays exp(δ rate) behind.
#[inline(always)]
fn advance(state: &mut [f32], decay: &mut [f32], x: &[f32], delta: &[f32], rates: &[f32], b: &[f32]) {
    let s = b.len();
    for (i, (decay, rates)) in decay.chunks_mut(s).zip(rates.chunks(s)).enumerate() {
        decay.iter_mut().zip(rates).for_each(|(d, r)| *d = delta[i] * r);
    }
    decay.iter_mut().for_each(|d| *d = exp_of_negative(*d));
    for (i, (state, decay)) in state.chunks_mut(s).zip(decay.chunks(s)).enumerate() {
        let gain = delta[i] * x[i];
        for j in 0..s {
            state[j] = decay[j] * state[j] + gain * b[j];
        }
    }
}
