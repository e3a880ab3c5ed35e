//! Operations on matrices.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::{add_product, axpy, dot, exp_of_negative, sigmoid};
use crate::{Mat, Tape, cost::count};

/// What follows a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(0, x).
    Relu,
}

/// act(x W + b)
///
/// # Shapes
/// `x: [R, I]`, `w: [I, O]`, `b: [1, O]` → `[R, O]`
pub fn linear(tape: &mut Tape, x: &Mat, w: &Mat, b: Option<&Mat>, activation: Activation) -> Mat {
    let (r, i, o) = (x.rows(), x.cols(), w.cols());
    assert_eq!(i, w.rows(), "linear: x has {i} columns, w {} rows", w.rows());
    count(r * i * o);
    let relu = activation == Activation::Relu;
    let keep = relu && tape.is_training();
    let inputs: Vec<&Mat> = [x, w].into_iter().chain(b).collect();
    tape.record(
        &inputs,
        (r, o),
        #[inline(always)]
        |v| {
            let mut out = match v.get(2) {
                Some(b) => b.repeat(r),
                None => vec![0.0; r * o],
            };
            if o == 1 {
                // A single column makes no use of a product's blocks.
                out.iter_mut().zip(v[0].chunks_exact(i.max(1))).for_each(|(y, x)| *y += dot(x, &v[1]));
            } else {
                add_product((&v[0], (r, i), false), (&v[1], (i, o), false), &mut out, (r, o));
            }
            if relu {
                out.iter_mut().for_each(|y| *y = y.max(0.0));
            }
            let active = if keep { out.iter().map(|y| *y > 0.0).collect() } else { Vec::new() };
            (out, active)
        },
        #[inline(always)]
        move |back, active: Vec<bool>| {
            let masked: Vec<f32>;
            let grad = if relu {
                masked = back.out.iter().zip(&active).map(|(g, on)| if *on { *g } else { 0.0 }).collect();
                &masked
            } else {
                back.out
            };
            if o == 1 {
                let [to_x, to_w, ..] = back.grads else { unreachable!("x and w are inputs") };
                let rows =
                    to_x.chunks_exact_mut(i.max(1)).zip(back.values[0].chunks_exact(i.max(1))).zip(grad);
                for ((to_x, x), g) in rows {
                    axpy(*g, &back.values[1], to_x);
                    axpy(*g, x, to_w);
                }
            } else {
                let (x, w) = (&back.values[0], &back.values[1]);
                add_product((grad, (r, o), false), (w, (i, o), true), &mut back.grads[0], (r, i));
                add_product((x, (r, i), true), (grad, (r, o), false), &mut back.grads[1], (i, o));
            }
            if let Some(bias) = back.grads.get_mut(2) {
                grad.chunks(o).for_each(|g| axpy(1.0, g, bias));
            }
        },
    )
}

/// a bᵀ
///
/// # Shapes
/// `a: [R, K]`, `b: [S, K]` → `[R, S]`
pub fn matmul_nt(tape: &mut Tape, a: &Mat, b: &Mat) -> Mat {
    let (r, k, s) = (a.rows(), a.cols(), b.rows());
    assert_eq!(k, b.cols(), "matmul_nt: widths differ");
    count(r * k * s);
    tape.record(
        &[a, b],
        (r, s),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; r * s];
            add_product((&v[0], (r, k), false), (&v[1], (s, k), true), &mut out, (r, s));
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            add_product(
                (back.out, (r, s), false),
                (&back.values[1], (s, k), false),
                &mut back.grads[0],
                (r, k),
            );
            add_product(
                (back.out, (r, s), true),
                (&back.values[0], (r, k), false),
                &mut back.grads[1],
                (s, k),
            );
        },
    )
}

/// Columns side by side.
///
/// # Shapes
/// each `[R, c_i]` → `[R, Σ c_i]`
pub fn concat(tape: &mut Tape, parts: &[&Mat]) -> Mat {
    let rows = parts[0].rows();
    let widths: Vec<usize> = parts.iter().map(|p| p.cols()).collect();
    let total: usize = widths.iter().sum();
    let of_backward = widths.clone();
    tape.record(
        parts,
        (rows, total),
        #[inline(always)]
        |v| {
            let mut out = Vec::with_capacity(rows * total);
            for r in 0..rows {
                for (part, w) in v.iter().zip(&widths) {
                    out.extend_from_slice(&part[r * w..(r + 1) * w]);
                }
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (r, row) in back.out.chunks(total.max(1)).enumerate() {
                let mut at = 0;
                for (grad, w) in back.grads.iter_mut().zip(&of_backward) {
                    axpy(1.0, &row[at..at + w], &mut grad[r * w..(r + 1) * w]);
                    at += w;
                }
            }
        },
    )
}

/// a + b, of one shape.
pub fn add(tape: &mut Tape, a: &Mat, b: &Mat) -> Mat {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "add: shapes differ");
    tape.record(
        &[a, b],
        (a.rows(), a.cols()),
        #[inline(always)]
        |v| (v[0].iter().zip(v[1].iter()).map(|(a, b)| a + b).collect(), ()),
        #[inline(always)]
        |back, ()| back.grads.iter_mut().for_each(|g| axpy(1.0, back.out, g)),
    )
}

/// a − b, of one shape.
pub fn subtract(tape: &mut Tape, a: &Mat, b: &Mat) -> Mat {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "subtract: shapes differ");
    tape.record(
        &[a, b],
        (a.rows(), a.cols()),
        #[inline(always)]
        |v| (v[0].iter().zip(v[1].iter()).map(|(a, b)| a - b).collect(), ()),
        #[inline(always)]
        |back, ()| {
            axpy(1.0, back.out, &mut back.grads[0]);
            axpy(-1.0, back.out, &mut back.grads[1]);
        },
    )
}

/// a * b element by element, of one shape.
pub fn mul(tape: &mut Tape, a: &Mat, b: &Mat) -> Mat {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "mul: shapes differ");
    tape.record(
        &[a, b],
        (a.rows(), a.cols()),
        #[inline(always)]
        |v| (v[0].iter().zip(v[1].iter()).map(|(a, b)| a * b).collect(), ()),
        #[inline(always)]
        |back, ()| {
            for (to, other) in back.grads.iter_mut().zip(back.values.iter().rev()) {
                for ((to, g), x) in to.iter_mut().zip(back.out).zip(other.iter()) {
                    *to += g * x;
                }
            }
        },
    )
}

/// scale Σ_i a_ri b_ri of each row.
///
/// # Shapes
/// `a, b: [R, d]` → `[R, 1]`
pub fn row_dots(tape: &mut Tape, a: &Mat, b: &Mat, scale: f32) -> Mat {
    let products = mul(tape, a, b);
    let column = Mat::new(a.cols(), 1, vec![scale; a.cols()]);
    linear(tape, &products, &column, None, Activation::None)
}

/// Row r is `x[index[r]]`.
///
/// # Shapes
/// `x: [S, d]`, `index: [R]` → `[R, d]`
pub fn gather_rows(tape: &mut Tape, x: &Mat, index: &[u32]) -> Mat {
    sum_gathered(tape, &[(x, index)])
}

/// Row r is the sum over tables of `table[index[r]]`.
///
/// # Shapes
/// each table `[S_i, d]` with an index `[R]` → `[R, d]`
pub fn sum_gathered(tape: &mut Tape, tables: &[(&Mat, &[u32])]) -> Mat {
    let all: Vec<_> = tables.iter().map(|(table, index)| (*table, Some(*index))).collect();
    tape.gathered(tables[0].1.len(), &all)
}

/// Row `index[r]` is `x[r]`, all others are zero; no index occurs twice.
///
/// # Shapes
/// `x: [R, d]` → `[rows, d]`
pub fn scatter_rows(tape: &mut Tape, x: &Mat, index: &[u32], rows: usize) -> Mat {
    let d = x.cols();
    let at = move |i: u32| i as usize * d..(i as usize + 1) * d;
    let kept = index.to_vec();
    tape.record(
        &[x],
        (rows, d),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; rows * d];
            v[0].chunks(d.max(1)).zip(index).for_each(|(x, i)| out[at(*i)].copy_from_slice(x));
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (grad, i) in back.grads[0].chunks_mut(d.max(1)).zip(&kept) {
                axpy(1.0, &back.out[at(*i)], grad);
            }
        },
    )
}

/// softmax(x / temperature) of each row.
pub fn softmax_rows(tape: &mut Tape, x: &Mat, temperature: f32) -> Mat {
    let (rows, cols) = (x.rows(), x.cols());
    tape.record(
        &[x],
        (rows, cols),
        #[inline(always)]
        |v| {
            let mut out = v[0].to_vec();
            for row in out.chunks_mut(cols.max(1)) {
                row.iter_mut().for_each(|x| *x /= temperature);
                softmax(row);
            }
            (out.clone(), out)
        },
        #[inline(always)]
        move |back, p| {
            let rows = p.chunks(cols.max(1)).zip(back.out.chunks(cols.max(1)));
            for (grad, (p, g)) in back.grads[0].chunks_mut(cols.max(1)).zip(rows) {
                let mean = dot(p, g);
                for i in 0..cols {
                    grad[i] += p[i] * (g[i] - mean) / temperature;
                }
            }
        },
    )
}

/// Softmax in place.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// A function of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// 1 / (1 + exp(−x))
    Sigmoid,
    /// x sigmoid(x)
    Silu,
    /// x Φ(x), by the error function.
    Gelu,
    /// ln(1 + exp(x))
    Softplus,
    /// max(x, 0.01 x)
    LeakyRelu,
}

impl Function {
    /// Values, and derivatives where they are wanted. One loop for each function, so that each vectorises.
    #[inline(always)]
    fn of(self, x: &[f32], slopes: bool) -> (Vec<f32>, Vec<f32>) {
        #[inline(always)]
        fn each(x: &[f32], slopes: bool, at: impl Fn(f32) -> (f32, f32)) -> (Vec<f32>, Vec<f32>) {
            let values = x.iter().map(|x| at(*x).0).collect();
            (values, if slopes { x.iter().map(|x| at(*x).1).collect() } else { Vec::new() })
        }
        match self {
            Self::Sigmoid => each(x, slopes, |x| {
                let z = sigmoid(x);
                (z, z * (1.0 - z))
            }),
            Self::Silu => each(x, slopes, |x| {
                let z = sigmoid(x);
                (x * z, z + x * z * (1.0 - z))
            }),
            Self::Gelu => {
                let below: Vec<f32> =
                    x.iter().map(|x| 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))).collect();
                let values = x.iter().zip(&below).map(|(x, b)| x * b).collect();
                // 1 / sqrt(2 π)
                let slope = |(x, b): (&f32, &f32)| b + x * 0.398_942_3 * exp_of_negative(-0.5 * x * x);
                (values, if slopes { x.iter().zip(&below).map(slope).collect() } else { Vec::new() })
            }
            Self::Softplus => {
                each(x, slopes, |x| (x.max(0.0) + exp_of_negative(-x.abs()).ln_1p(), sigmoid(x)))
            }
            Self::LeakyRelu => each(x, slopes, |x| if x > 0.0 { (x, 1.0) } else { (0.01 * x, 0.01) }),
        }
    }
}

/// The function of each value.
pub fn map(tape: &mut Tape, x: &Mat, function: Function) -> Mat {
    let training = tape.is_training();
    tape.record(
        &[x],
        (x.rows(), x.cols()),
        #[inline(always)]
        |v| function.of(&v[0], training),
        #[inline(always)]
        move |back, slopes: Vec<f32>| {
            for ((to, g), slope) in back.grads[0].iter_mut().zip(back.out).zip(slopes) {
                *to += g * slope;
            }
        },
    )
}

/// The same values, row-major, as `[rows, cols]`.
pub fn reshape(tape: &mut Tape, x: &Mat, rows: usize, cols: usize) -> Mat {
    tape.record(
        &[x],
        (rows, cols),
        #[inline(always)]
        |v| (v[0].to_vec(), ()),
        #[inline(always)]
        |back, ()| axpy(1.0, back.out, &mut back.grads[0]),
    )
}

/// Columns `from..from + width`.
///
/// # Shapes
/// `x: [R, c]` → `[R, width]`
pub fn columns(tape: &mut Tape, x: &Mat, from: usize, width: usize) -> Mat {
    let c = x.cols();
    assert!(from + width <= c, "columns: {from} + {width} of {c}");
    tape.record(
        &[x],
        (x.rows(), width),
        #[inline(always)]
        |v| {
            let mut out = Vec::with_capacity(v[0].len() / c.max(1) * width);
            v[0].chunks(c.max(1)).for_each(|row| out.extend_from_slice(&row[from..from + width]));
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (row, g) in back.grads[0].chunks_mut(c.max(1)).zip(back.out.chunks(width.max(1))) {
                axpy(1.0, g, &mut row[from..from + width]);
            }
        },
    )
}

/// (Σ_i x_i^p)^(1/p) element by element over matrices of one shape with positive values.
pub fn power_norm(tape: &mut Tape, parts: &[&Mat], p: f32) -> Mat {
    let shape = (parts[0].rows(), parts[0].cols());
    assert!(parts.iter().all(|m| (m.rows(), m.cols()) == shape), "power_norm: shapes differ");
    tape.record(
        parts,
        shape,
        #[inline(always)]
        |v| {
            // In units of the largest part: small numbers have no power.
            let at = |i: usize| {
                let most = v.iter().map(|part| part[i]).fold(f32::MIN_POSITIVE, f32::max);
                most * v.iter().map(|part| (part[i] / most).powf(p)).sum::<f32>().powf(1.0 / p)
            };
            let out: Vec<f32> = (0..shape.0 * shape.1).map(at).collect();
            (out.clone(), out)
        },
        #[inline(always)]
        move |back, out| {
            for (grad, x) in back.grads.iter_mut().zip(back.values.iter()) {
                for i in 0..out.len() {
                    grad[i] += back.out[i] * (x[i] / out[i]).powf(p - 1.0);
                }
            }
        },
    )
}

/// Every row times the vector `w`, element by element: a diagonal linear map.
///
/// # Shapes
/// `x: [R, d]`, `w: [1, d]` → `[R, d]`
pub fn scale_columns(tape: &mut Tape, x: &Mat, w: &Mat) -> Mat {
    let d = x.cols();
    count(x.rows() * d);
    tape.record(
        &[x, w],
        (x.rows(), d),
        #[inline(always)]
        |v| {
            (
                v[0].chunks(d.max(1))
                    .flat_map(|row| row.iter().zip(v[1].iter()).map(|(x, w)| x * w))
                    .collect(),
                (),
            )
        },
        #[inline(always)]
        move |back, ()| {
            for (r, g) in back.out.chunks(d.max(1)).enumerate() {
                for i in 0..d {
                    back.grads[0][r * d + i] += g[i] * back.values[1][i];
                    back.grads[1][i] += g[i] * back.values[0][r * d + i];
                }
            }
        },
    )
}

/// Each row divided by its length; a row shorter than 1e-6 becomes zero.
pub fn normalize_rows(tape: &mut Tape, x: &Mat) -> Mat {
    let (rows, d) = (x.rows(), x.cols());
    tape.record(
        &[x],
        (rows, d),
        #[inline(always)]
        |v| {
            let mut out = v[0].to_vec();
            let norms: Vec<f32> = out.chunks_mut(d.max(1)).map(unit).collect();
            (out.clone(), (out, norms))
        },
        #[inline(always)]
        move |back, (out, norms)| {
            for (r, norm) in norms.iter().enumerate().filter(|(_, n)| **n > 0.0) {
                let at = r * d..(r + 1) * d;
                add_unit_grad(&out[at.clone()], *norm, &back.out[at.clone()], &mut back.grads[0][at]);
            }
        },
    )
}

/// Scales a row to length 1 and returns its length; a row shorter than 1e-6 becomes zero and returns 0.
#[inline(always)]
pub(super) fn unit(row: &mut [f32]) -> f32 {
    let norm = dot(row, row).sqrt();
    let norm = if norm > 1e-6 { norm } else { 0.0 };
    row.iter_mut().for_each(|x| *x = if norm > 0.0 { *x / norm } else { 0.0 });
    norm
}

/// Adds the gradient of x through y = x / |x|: (g - y (y·g)) / |x|.
#[inline(always)]
pub(super) fn add_unit_grad(y: &[f32], norm: f32, g: &[f32], grad: &mut [f32]) {
    let along = dot(y, g);
    for i in 0..y.len() {
        grad[i] += (g[i] - y[i] * along) / norm;
    }
}

/// Layer norm of each row (Ba et al. 2016); `eps` is added to the variance.
///
/// # Shapes
/// `x: [R, d]`, `gain, bias: [1, d]` → `[R, d]`
pub fn layer_norm(tape: &mut Tape, x: &Mat, gain: &Mat, bias: &Mat, eps: f32) -> Mat {
    let (rows, d) = (x.rows(), x.cols());
    tape.record(
        &[x, gain, bias],
        (rows, d),
        #[inline(always)]
        |v| {
            let mut normal = v[0].to_vec();
            let mut scales = Vec::with_capacity(rows);
            for row in normal.chunks_mut(d.max(1)) {
                let mean = row.iter().sum::<f32>() / d as f32;
                row.iter_mut().for_each(|x| *x -= mean);
                let scale = 1.0 / (dot(row, row) / d as f32 + eps).sqrt();
                row.iter_mut().for_each(|x| *x *= scale);
                scales.push(scale);
            }
            let row_out = |row: &[f32]| -> Vec<f32> { (0..d).map(|i| row[i] * v[1][i] + v[2][i]).collect() };
            (normal.chunks(d.max(1)).flat_map(row_out).collect(), (normal, scales))
        },
        #[inline(always)]
        move |back, (normal, scales)| {
            for (r, scale) in scales.iter().enumerate() {
                let at = r * d..(r + 1) * d;
                let (y, g) = (&normal[at.clone()], &back.out[at.clone()]);
                let through: Vec<f32> = g.iter().zip(back.values[1].iter()).map(|(g, w)| g * w).collect();
                let (mean, along) = (through.iter().sum::<f32>() / d as f32, dot(&through, y) / d as f32);
                for i in 0..d {
                    back.grads[0][r * d + i] += scale * (through[i] - mean - y[i] * along);
                    back.grads[1][i] += g[i] * y[i];
                    back.grads[2][i] += g[i];
                }
            }
        },
    )
}

/// Zeroes each value with probability `rate` and scales the rest up; does nothing when scoring.
pub fn dropout(tape: &mut Tape, x: &Mat, rate: f32, rng: &mut ChaCha8Rng) -> Mat {
    if !tape.is_training() || rate == 0.0 {
        return x.clone();
    }
    let keep = 1.0 / (1.0 - rate);
    let mask: Vec<f32> =
        (0..x.rows() * x.cols()).map(|_| if rng.random::<f32>() < rate { 0.0 } else { keep }).collect();
    tape.record(
        &[x],
        (x.rows(), x.cols()),
        #[inline(always)]
        |v| (v[0].iter().zip(&mask).map(|(x, m)| x * m).collect(), mask.clone()),
        #[inline(always)]
        |back, mask| {
            for (i, m) in mask.iter().enumerate() {
                back.grads[0][i] += back.out[i] * m;
            }
        },
    )
}

/// Each row divided by its sum (of values that are not negative).
pub fn renormalize_rows(tape: &mut Tape, x: &Mat) -> Mat {
    let (rows, cols) = (x.rows(), x.cols());
    tape.record(
        &[x],
        (rows, cols),
        #[inline(always)]
        |v| {
            let share =
                |row: &[f32]| -> Vec<f32> { row.iter().map(|x| x / row.iter().sum::<f32>()).collect() };
            let out: Vec<f32> = v[0].chunks(cols.max(1)).flat_map(share).collect();
            (out.clone(), out)
        },
        #[inline(always)]
        move |back, out| {
            for (r, g) in back.out.chunks(cols.max(1)).enumerate() {
                let at = r * cols..(r + 1) * cols;
                let (sum, along) = (back.values[0][at.clone()].iter().sum::<f32>(), dot(g, &out[at.clone()]));
                back.grads[0][at].iter_mut().zip(g).for_each(|(to, g)| *to += (g - along) / sum);
            }
        },
    )
}

/// Row b is `Σ_e gates[b, e] parts_e[b]`.
///
/// # Shapes
/// `gates: [B, E]`, each part `[B, d]` → `[B, d]`
pub fn mix(tape: &mut Tape, gates: &Mat, parts: &[&Mat]) -> Mat {
    let (b, e, d) = (gates.rows(), parts.len(), parts[0].cols());
    assert_eq!(gates.cols(), e, "mix: one gate per part");
    count(b * e * d);
    let inputs: Vec<&Mat> = std::iter::once(gates).chain(parts.iter().copied()).collect();
    tape.record(
        &inputs,
        (b, d),
        #[inline(always)]
        |v| {
            let mut out = vec![0.0; b * d];
            for (r, row) in out.chunks_mut(d).enumerate() {
                (0..e).for_each(|i| axpy(v[0][r * e + i], &v[1 + i][r * d..(r + 1) * d], row));
            }
            (out, ())
        },
        #[inline(always)]
        move |back, ()| {
            for (r, g) in back.out.chunks(d).enumerate() {
                for i in 0..e {
                    let at = r * d..(r + 1) * d;
                    back.grads[0][r * e + i] += dot(g, &back.values[1 + i][at.clone()]);
                    axpy(back.values[0][r * e + i], g, &mut back.grads[1 + i][at]);
                }
            }
        },
    )
}

/// Row r is `s[r] x[r]`.
///
/// # Shapes
/// `x: [R, d]`, `s: [R, 1]` → `[R, d]`
pub fn scale_rows(tape: &mut Tape, x: &Mat, s: &Mat) -> Mat {
    let d = x.cols();
    tape.record(
        &[x, s],
        (x.rows(), d),
        #[inline(always)]
        |v| (v[0].iter().enumerate().map(|(i, x)| x * v[1][i / d]).collect(), ()),
        #[inline(always)]
        move |back, ()| {
            for (r, g) in back.out.chunks(d.max(1)).enumerate() {
                let at = r * d..(r + 1) * d;
                axpy(back.values[1][r], g, &mut back.grads[0][at.clone()]);
                back.grads[1][r] += dot(g, &back.values[0][at]);
            }
        },
    )
}
