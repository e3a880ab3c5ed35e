//! Every operation: its gradient against finite differences; jagged ones also against per-segment loops in f64.

mod sequence;
mod shared;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{Init, Mat, Offsets, Tape};

fn rng(seed: u64) -> ChaCha8Rng {
    mos_data::rng::stream(seed, "tests", &[])
}

fn random(rows: usize, cols: usize, seed: u64) -> Mat {
    Mat::new(rows, cols, Init::Normal(0.7).values(rows, cols, &mut rng(seed)))
}

/// Compares the gradient of `sum(op(inputs) * weights)` with central differences, for every value of every input.
fn check_gradients(inputs: &[Mat], op: impl Fn(&mut Tape, &[Mat]) -> Mat) {
    let probe = |out: &Mat| {
        Mat::new(out.rows(), out.cols(), Init::Normal(1.0).values(out.rows(), out.cols(), &mut rng(99)))
    };
    let value = |inputs: &[Mat]| {
        let out = op(&mut Tape::scoring(), inputs);
        let w = probe(&out).to_vec();
        out.to_vec().iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>()
    };
    let mut tape = Tape::training();
    let out = op(&mut tape, inputs);
    let weighted = mul(&mut tape, &out, &probe(&out));
    let ones = Mat::new(1, weighted.rows(), vec![1.0; weighted.rows()]);
    let columns = Mat::new(weighted.cols(), 1, vec![1.0; weighted.cols()]);
    let sums = linear(&mut tape, &weighted, &columns, None, Activation::None);
    let total = linear(&mut tape, &ones, &sums, None, Activation::None);
    let mut grads = tape.backward(&total).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        let found = grads.take(input).unwrap_or_else(|| vec![0.0; input.rows() * input.cols()]);
        for j in 0..found.len() {
            let at = |step: f32| {
                let mut moved = inputs.to_vec();
                let mut values = input.to_vec();
                values[j] += step;
                moved[i] = Mat::new(input.rows(), input.cols(), values);
                value(&moved)
            };
            let slope = ((at(2e-3) - at(-2e-3)) / 4e-3) as f32;
            assert!(
                (slope - found[j]).abs() < 2e-2 * (1.0 + slope.abs()),
                "input {i}[{j}]: {slope} against {}",
                found[j]
            );
        }
    }
}

fn borders() -> Offsets {
    Offsets::from_lengths([3, 0, 1, 5])
}

#[test]
fn gradients_of_dense_operations() {
    let m = |r, c, s| random(r, c, s);
    check_gradients(&[m(4, 3, 1), m(3, 5, 2), m(1, 5, 3)], |t, v| {
        linear(t, &v[0], &v[1], Some(&v[2]), Activation::None)
    });
    check_gradients(&[m(4, 3, 1), m(3, 5, 2)], |t, v| linear(t, &v[0], &v[1], None, Activation::Relu));
    check_gradients(&[m(4, 3, 1), m(2, 3, 2)], |t, v| matmul_nt(t, &v[0], &v[1]));
    check_gradients(&[m(4, 3, 1), m(4, 2, 2)], |t, v| concat(t, &[&v[0], &v[1], &v[0]]));
    check_gradients(&[m(4, 3, 1), m(4, 3, 2)], |t, v| subtract(t, &v[0], &v[1]));
    check_gradients(&[m(4, 3, 1), m(4, 3, 2)], |t, v| {
        let sum = add(t, &v[0], &v[1]);
        mul(t, &sum, &v[0])
    });
    check_gradients(&[m(4, 3, 1), m(2, 3, 2)], |t, v| {
        sum_gathered(t, &[(&v[0], &[1, 1, 3]), (&v[1], &[0, 1, 0])])
    });
    for read in [false, true] {
        check_gradients(&[m(4, 3, 1), m(2, 3, 2), m(4, 3, 3)], |t, v| {
            let rows = sum_gathered(t, &[(&v[0], &[1, 1, 3, 0]), (&v[1], &[0, 1, 0, 1])]);
            if read {
                rows.values();
            }
            let placed = add_positions(t, &rows, &Offsets::from_lengths([3, 1]), &v[2]);
            let part = gather_rows(t, &placed, &[2, 2, 0]);
            let again = gather_rows(t, &rows, &[3, 3, 1]);
            mul(t, &part, &again)
        });
    }
    check_gradients(&[m(2, 3, 1)], |t, v| scatter_rows(t, &v[0], &[3, 1], 5));
    check_gradients(&[m(3, 4, 1)], |t, v| softmax_rows(t, &v[0], 0.5));
    check_gradients(&[m(3, 4, 1)], |t, v| normalize_rows(t, &v[0]));
    check_gradients(&[m(3, 4, 1)], |t, v| {
        let p = softmax_rows(t, &v[0], 1.0);
        renormalize_rows(t, &p)
    });
    check_gradients(&[m(3, 4, 1), m(1, 4, 2), m(1, 4, 3)], |t, v| layer_norm(t, &v[0], &v[1], &v[2], 1e-5));
    check_gradients(&[m(3, 2, 1), m(3, 4, 2), m(3, 4, 3)], |t, v| mix(t, &v[0], &[&v[1], &v[2]]));
    check_gradients(&[m(3, 4, 1), m(3, 1, 2)], |t, v| scale_rows(t, &v[0], &v[1]));
}

#[test]
fn gradients_of_jagged_operations() {
    let (o, m) = (borders(), |r, c, s| random(r, c, s));
    check_gradients(&[m(9, 3, 1)], |t, v| segment_mean(t, &v[0], &o));
    check_gradients(&[m(9, 3, 1)], |t, v| pool_blocks(t, &v[0], &o, 2).0);
    check_gradients(&[m(9, 3, 1), m(4, 3, 2)], |t, v| add_positions(t, &v[0], &o, &v[1]));
    for soft in [false, true] {
        check_gradients(&[m(9, 1, 1), m(9, 3, 2)], |t, v| weighted_sum(t, &v[0], &v[1], &o, soft));
    }
    for top in [None, Some(2)] {
        check_gradients(&[m(4, 6, 1), m(9, 3, 2)], |t, v| attend(t, &v[0], &v[1], &o, 2, 0.6, top));
    }
    check_gradients(&[m(4, 6, 1), m(6, 2, 2)], |t, v| head_project(t, &v[0], &v[1], 2));
    check_gradients(&[m(4, 3, 1), m(6, 2, 2)], |t, v| stacked_linear(t, &v[0], &v[1], 2));
    check_gradients(&[m(4, 2, 1), m(9, 2, 2), m(8, 3, 3), m(1, 3, 4)], |t, v| {
        din_hidden(t, &v[0], &v[1], &o, &v[2], &v[3])
    });
    let (target, projections) = (m(4, 3, 7), Init::Normal(1.0).values(3, 8, &mut rng(8)));
    check_gradients(&[m(9, 3, 1)], |t, v| hash_pool(t, &target, &v[0], &o, &projections, 4, 2));
}

#[test]
fn dropout_keeps_the_mean_and_passes_its_mask_back() {
    let x = Mat::new(50, 40, vec![1.0; 2000]);
    assert_eq!(
        dropout(&mut Tape::scoring(), &x, 0.3, &mut rng(1)).values(),
        x.values(),
        "scoring drops nothing"
    );
    let mut tape = Tape::training();
    let out = dropout(&mut tape, &x, 0.3, &mut rng(1));
    let kept = out.values().iter().filter(|v| **v != 0.0).count();
    assert!((1300..1500).contains(&kept), "{kept} of 2000 kept");
    assert!(out.values().iter().all(|v| *v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    assert_eq!(
        out.values(),
        dropout(&mut Tape::training(), &x, 0.3, &mut rng(1)).values(),
        "one stream, one mask"
    );
    let loss = mean_square(&mut tape, &out);
    let mut grads = tape.backward(&loss).unwrap();
    let wanted: Vec<f32> =
        out.values().iter().map(|v| 2.0 * v / 50.0 * if *v == 0.0 { 0.0 } else { 1.0 / 0.7 }).collect();
    let found = grads.take(&x).unwrap();
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn gradients_of_losses() {
    check_gradients(&[random(4, 1, 1)], |t, v| bce_with_logits(t, &v[0], &[0.0, 1.0, 1.0, 0.0]));
    check_gradients(&[random(4, 3, 1)], |t, v| mean_square(t, &v[0]));
    check_gradients(&[random(1, 1, 1), random(1, 1, 2)], |t, v| {
        sum_scalars(t, &[(&v[0], 2.0), (&v[1], -0.5)])
    });
    check_gradients(&[random(5, 3, 1)], |t, v| {
        let p = softmax_rows(t, &v[0], 1.0);
        mutual_information(t, &p, &[(0, 1), (1, 2), (1, 2), (3, 4), (4, 4)])
    });
    check_gradients(&[random(6, 3, 1), random(10, 3, 2)], |t, v| {
        let p = memberships(t, &v[0], &v[1], 0.7);
        mutual_information(t, &p, &[(0, 1), (1, 2), (1, 2), (3, 4), (4, 4)])
    });
    check_gradients(&[random(3, 2, 1)], |t, v| {
        cosine_commitment(t, &v[0], &[1.0, 0.5, -0.3, 2.0], &[0, 1, 1])
    });
}

/// One pass over the vectors is what its steps are one by one, for any number of codes, and for vectors without length.
#[test]
fn memberships_are_a_softmax_of_cosines() {
    for k in [1, 3, 8, 11] {
        let mut vectors = random(7, 5, 1).to_vec();
        vectors[5..10].fill(0.0);
        let (vectors, codes, weights) = (Mat::new(7, 5, vectors), random(k, 5, 2), random(7, k, 3));
        let gradients = |of: &dyn Fn(&mut Tape) -> Mat| {
            let mut tape = Tape::training();
            let p = of(&mut tape);
            let product = mul(&mut tape, &p, &weights);
            let loss = mean_square(&mut tape, &product);
            let mut grads = tape.backward(&loss).unwrap();
            let of = [&vectors, &codes].map(|m| grads.take(m).unwrap_or_else(|| vec![0.0; m.values().len()]));
            (p.to_vec(), of.concat())
        };
        let found = gradients(&|t| memberships(t, &vectors, &codes, 0.3));
        let wanted = gradients(&|t| {
            let (v, c) = (normalize_rows(t, &vectors), normalize_rows(t, &codes));
            let cosines = matmul_nt(t, &v, &c);
            softmax_rows(t, &cosines, 0.3)
        });
        for (a, b) in found.0.iter().chain(&found.1).zip(wanted.0.iter().chain(&wanted.1)) {
            assert!((a - b).abs() < 1e-6, "{k} codes: {a} against {b}");
        }
    }
}

#[test]
fn mutual_information_prefers_agreement_and_balance() {
    let loss = |rows: [[f32; 2]; 4]| {
        let p = Mat::new(4, 2, rows.concat());
        mutual_information(&mut Tape::scoring(), &p, &[(0, 1), (2, 3)]).to_vec()[0]
    };
    let (a, b) = ([0.99, 0.01], [0.01, 0.99]);
    let agree = loss([a, a, b, b]);
    assert!(agree < -0.5, "{agree}");
    assert!(
        loss([a, [0.5, 0.5], b, [0.5, 0.5]]) > agree + 0.3,
        "a neighbour that does not care tells nothing"
    );
    assert!(loss([a, a, a, a]) > -0.05, "one theme for all must be worth nothing");
}

#[test]
fn losses_match_reference_values() {
    // torch 2.x binary_cross_entropy_with_logits([0.3, -1.2], [1, 0]).
    let bce =
        bce_with_logits(&mut Tape::scoring(), &Mat::new(2, 1, vec![0.3, -1.2]), &[1.0, 0.0]).to_vec()[0];
    let direct = (-(1.0f64 / (1.0 + (-0.3f64).exp())).ln() - (1.0 - 1.0 / (1.0 + 1.2f64.exp())).ln()) / 2.0;
    assert!((f64::from(bce) - direct).abs() < 1e-6);
}

fn attend_oracle(
    q: &[f32],
    rows: &[f32],
    offsets: &Offsets,
    heads: usize,
    d: usize,
    top: Option<usize>,
) -> Vec<f64> {
    let mut out = vec![0.0; offsets.segments() * heads * d];
    for (s, range) in offsets.ranges().enumerate() {
        for h in 0..heads {
            let at = (s * heads + h) * d;
            let score =
                |r: usize| (0..d).map(|i| f64::from(q[at + i]) * f64::from(rows[r * d + i])).sum::<f64>();
            let mut all: Vec<(f64, usize)> = range.clone().map(|r| (score(r), r)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            all.truncate(top.unwrap_or(usize::MAX));
            let sum: f64 = all.iter().map(|(s, _)| s.exp()).sum();
            for (s, r) in all {
                (0..d).for_each(|i| out[at + i] += s.exp() / sum * f64::from(rows[r * d + i]));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn attend_equals_its_oracle(lengths in prop::collection::vec(0usize..9, 1..6), seed in 0u64..1000, k in 1usize..6) {
        let offsets = Offsets::from_lengths(lengths);
        let (q, rows) = (random(offsets.segments(), 6, seed), random(offsets.rows(), 3, seed + 1));
        for top in [None, Some(k)] {
            let found = attend(&mut Tape::scoring(), &q, &rows, &offsets, 2, 1.0, top).to_vec();
            let wanted = attend_oracle(&q.to_vec(), &rows.to_vec(), &offsets, 2, 3, top);
            for (a, b) in found.iter().zip(&wanted) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-4);
            }
        }
    }

    /// The bits of what was published: products, choice, softmax and sums row by row.
    #[test]
    fn attend_has_the_bits_of_its_steps(
        lengths in prop::collection::vec(0usize..60, 1..5),
        d in 1usize..70,
        k in 1usize..40,
        seed in 0u64..1000,
    ) {
        let offsets = Offsets::from_lengths(lengths);
        let (q, rows) = (random(offsets.segments(), 2 * d, seed), random(offsets.rows(), d, seed + 1));
        for top in [None, Some(k)] {
            let mut wanted = vec![0.0; 2 * d * offsets.segments()];
            for (s, out) in wanted.chunks_mut(d).enumerate() {
                let query = &q.values()[s * d..(s + 1) * d];
                let history: Vec<&[f32]> = offsets.range(s / 2).map(|r| &rows.values()[r * d..(r + 1) * d]).collect();
                let scores: Vec<f32> = history.iter().map(|row| 0.4 * dot(query, row)).collect();
                let mut chosen: Vec<usize> = (0..scores.len()).rev().collect();
                chosen.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                chosen.truncate(top.unwrap_or(usize::MAX));
                chosen.sort_unstable();
                let mut weights: Vec<f32> = chosen.iter().map(|r| scores[*r]).collect();
                softmax(&mut weights);
                chosen.iter().zip(&weights).for_each(|(r, w)| axpy(*w, history[*r], out));
            }
            for mut tape in [Tape::scoring(), Tape::training()] {
                let found = attend(&mut tape, &q, &rows, &offsets, 2, 0.4, top);
                prop_assert_eq!(found.values(), &wanted[..]);
            }
        }
    }

    #[test]
    fn din_hidden_equals_the_unfolded_form(lengths in prop::collection::vec(0usize..6, 1..5), seed in 0u64..1000) {
        let o = Offsets::from_lengths(lengths);
        let (q, rows, w, b) = (random(o.segments(), 3, seed), random(o.rows(), 3, seed + 1), random(12, 4, seed + 2), random(1, 4, seed + 3));
        let found = din_hidden(&mut Tape::scoring(), &q, &rows, &o, &w, &b).to_vec();
        let (qv, rv) = (q.to_vec(), rows.to_vec());
        let mut tokens = Vec::new();
        for (s, range) in o.ranges().enumerate() {
            for r in range {
                let (q, h) = (&qv[s * 3..s * 3 + 3], &rv[r * 3..r * 3 + 3]);
                tokens.extend(q.iter().chain(h).copied());
                tokens.extend(q.iter().zip(h).map(|(q, h)| q - h));
                tokens.extend(q.iter().zip(h).map(|(q, h)| q * h));
            }
        }
        let plain = linear(&mut Tape::scoring(), &Mat::new(o.rows(), 12, tokens), &w, Some(&b), Activation::Relu).to_vec();
        for (a, b) in found.iter().zip(&plain) {
            prop_assert!((a - b).abs() < 1e-4);
        }
    }

    #[test]
    fn segments_do_not_see_each_other(lengths in prop::collection::vec(0usize..6, 2..5), seed in 0u64..1000) {
        let o = Offsets::from_lengths(lengths.clone());
        let (rows, scores) = (random(o.rows(), 3, seed), random(o.rows(), 1, seed + 1));
        let (mean, sum) = (segment_mean(&mut Tape::scoring(), &rows, &o), weighted_sum(&mut Tape::scoring(), &scores, &rows, &o, true));
        let (pooled, pooled_borders) = pool_blocks(&mut Tape::scoring(), &rows, &o, 2);
        for (s, range) in o.ranges().enumerate() {
            let part = |m: &Mat| Mat::new(range.len(), m.cols(), m.to_vec()[range.start * m.cols()..range.end * m.cols()].to_vec());
            let one = Offsets::from_lengths([range.len()]);
            prop_assert_eq!(&mean.to_vec()[s * 3..s * 3 + 3], &segment_mean(&mut Tape::scoring(), &part(&rows), &one).to_vec()[..]);
            let alone = weighted_sum(&mut Tape::scoring(), &part(&scores), &part(&rows), &one, true).to_vec();
            prop_assert_eq!(&sum.to_vec()[s * 3..s * 3 + 3], &alone[..]);
            let block = pooled_borders.range(s);
            let alone = pool_blocks(&mut Tape::scoring(), &part(&rows), &one, 2).0.to_vec();
            prop_assert_eq!(&pooled.to_vec()[block.start * 3..block.end * 3], &alone[..]);
        }
    }

    #[test]
    fn hash_pool_equals_its_oracle(
        lengths in prop::collection::vec(0usize..9, 1..6),
        seed in 0u64..1000,
        // Codes of one word and of several.
        (hashes, bits) in prop::sample::select(vec![(3, 1), (3, 2), (3, 3), (1, 16), (23, 5), (70, 1), (16, 4), (9, 7), (2, 33), (1, 64), (3, 64)]),
    ) {
        let (o, d) = (Offsets::from_lengths(lengths), 5);
        let (q, rows) = (random(o.segments(), d, seed), random(o.rows(), d, seed + 1));
        let planes = Init::Normal(1.0).values(d, hashes * bits, &mut rng(seed + 2));
        let found = hash_pool(&mut Tape::scoring(), &q, &rows, &o, &planes, hashes, bits).to_vec();
        // The code of a vector under hash h, bit by bit.
        let code = |x: &[f32], h: usize| -> Vec<bool> {
            let bit = |b: usize| (0..d).map(|i| f64::from(x[i]) * f64::from(planes[i * hashes * bits + h * bits + b])).sum::<f64>() > 0.0;
            (0..bits).map(bit).collect()
        };
        for (s, range) in o.ranges().enumerate() {
            let target = &q.values()[s * d..(s + 1) * d];
            let mut wanted = vec![0.0f64; d];
            for h in 0..hashes {
                let mut sum = vec![0.0f64; d];
                for r in range.clone() {
                    let row = &rows.values()[r * d..(r + 1) * d];
                    if code(row, h) == code(target, h) {
                        sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
                    }
                }
                let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
                if norm > 0.0 {
                    wanted.iter_mut().zip(&sum).for_each(|(w, x)| *w += x / norm / hashes as f64);
                }
            }
            for i in 0..d {
                prop_assert!((f64::from(found[s * d + i]) - wanted[i]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn dense_operations_equal_their_oracles(r in 1usize..6, i in 1usize..9, o in 1usize..7, seed in 0u64..1000) {
        let (x, w, b, y) = (random(r, i, seed), random(i, o, seed + 1), random(1, o, seed + 2), random(o, i, seed + 3));
        let (gain, shift) = (random(1, i, seed + 4), random(1, i, seed + 5));
        let at = |m: &Mat, row: usize, col: usize| f64::from(m.values()[row * m.cols() + col]);
        let tape = &mut Tape::scoring();
        let same = |found: &Mat, wanted: &dyn Fn(usize, usize) -> f64| {
            (0..found.rows()).all(|row| (0..found.cols()).all(|col| (at(found, row, col) - wanted(row, col)).abs() < 1e-4))
        };
        let product = |row: usize, col: usize| (0..i).map(|k| at(&x, row, k) * at(&w, k, col)).sum::<f64>() + at(&b, 0, col);
        prop_assert!(same(&linear(tape, &x, &w, Some(&b), Activation::None), &product));
        prop_assert!(same(&linear(tape, &x, &w, Some(&b), Activation::Relu), &|row, col| product(row, col).max(0.0)));
        let cross = |row: usize, col: usize| (0..i).map(|k| at(&x, row, k) * at(&y, col, k)).sum::<f64>();
        prop_assert!(same(&matmul_nt(tape, &x, &y), &cross));
        let mass = |row: usize| (0..i).map(|k| (at(&x, row, k) / 0.3).exp()).sum::<f64>();
        let soft = softmax_rows(tape, &x, 0.3);
        prop_assert!(same(&soft, &|row, col| (at(&x, row, col) / 0.3).exp() / mass(row)));
        let half = Mat::new(r, i, soft.values().iter().map(|p| p / 2.0).collect());
        prop_assert!(same(&renormalize_rows(tape, &half), &|row, col| at(&soft, row, col)));
        let length = |row: usize| (0..i).map(|k| at(&x, row, k).powi(2)).sum::<f64>().sqrt();
        prop_assert!(same(&normalize_rows(tape, &x), &|row, col| at(&x, row, col) / length(row)));
        let mean = |row: usize| (0..i).map(|k| at(&x, row, k)).sum::<f64>() / i as f64;
        let spread = |row: usize| ((0..i).map(|k| (at(&x, row, k) - mean(row)).powi(2)).sum::<f64>() / i as f64 + 1e-5).sqrt();
        let standard = |row: usize, col: usize| (at(&x, row, col) - mean(row)) / spread(row) * at(&gain, 0, col) + at(&shift, 0, col);
        prop_assert!(same(&layer_norm(tape, &x, &gain, &shift, 1e-5), &standard));
        let (other, gates) = (random(r, i, seed + 6), random(r, 2, seed + 7));
        let mixed = |row: usize, col: usize| at(&gates, row, 0) * at(&x, row, col) + at(&gates, row, 1) * at(&other, row, col);
        prop_assert!(same(&mix(tape, &gates, &[&x, &other]), &mixed));
        // Two heads: head h maps its half of the columns by its half of the rows of the map.
        let (two, map) = (random(r, 2 * i, seed + 8), random(2 * i, o, seed + 9));
        let headed = |row: usize, col: usize| {
            let h = col / o;
            (0..i).map(|k| at(&two, row, h * i + k) * at(&map, h * i + k, col % o)).sum::<f64>()
        };
        prop_assert!(same(&head_project(tape, &two, &map, 2), &headed));
        let index: Vec<u32> = (0..2 * r as u32).map(|n| n * 7 % r as u32).collect();
        prop_assert!(same(&gather_rows(tape, &x, &index), &|row, col| at(&x, index[row] as usize, col)));
        let places: Vec<u32> = (0..r as u32).rev().collect();
        prop_assert!(same(&scatter_rows(tape, &x, &places, r), &|row, col| at(&x, r - 1 - row, col)));
    }

    /// Rows gathered from gathered rows, read or not in between, have the values and the gradients of copies.
    #[test]
    fn gathered_rows_are_those_of_copies(
        d in prop::sample::select(vec![1usize, 3, 8, 16, 32, 64]),
        first in prop::collection::vec(0u32..7, 1..9),
        again in prop::collection::vec(0usize..9, 0..9),
        read in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let (x, positions) = (random(7, d, seed), random(3, d, seed + 1));
        let again: Vec<u32> = again.into_iter().filter(|i| *i < first.len()).map(|i| i as u32).collect();
        let tape = &mut Tape::training();
        let rows = gather_rows(tape, &x, &first);
        if read {
            rows.values();
        }
        let placed = add_positions(tape, &rows, &Offsets::from_lengths([first.len()]), &positions);
        let part = gather_rows(tape, &placed, &again);
        let unread = gather_rows(tape, &part.detached(), &(0..part.rows() as u32).collect::<Vec<_>>());
        let bucket = |r: u32| position_bucket(first.len() - 1 - r as usize, 3);
        for (k, r) in again.iter().enumerate() {
            for c in 0..d {
                let wanted = x.values()[first[*r as usize] as usize * d + c] + positions.values()[bucket(*r) * d + c];
                prop_assert_eq!(part.values()[k * d + c], wanted);
                prop_assert_eq!(unread.values()[k * d + c], wanted);
            }
        }
        // The derivative of a mean of squares is twice the value, over their number.
        let (of_part, of_rows) = (mean_square(tape, &part), mean_square(tape, &rows));
        let loss = sum_scalars(tape, &[(&of_part, again.len() as f32), (&of_rows, first.len() as f32)]);
        let mut grads = std::mem::take(tape).backward(&loss).unwrap();
        let (mut to_x, mut to_positions) = (vec![0.0; 7 * d], vec![0.0; 3 * d]);
        for (k, r) in again.iter().enumerate() {
            for c in 0..d {
                to_x[first[*r as usize] as usize * d + c] += 2.0 * part.values()[k * d + c];
                to_positions[bucket(*r) * d + c] += 2.0 * part.values()[k * d + c];
            }
        }
        for (r, i) in first.iter().enumerate() {
            (0..d).for_each(|c| to_x[*i as usize * d + c] += 2.0 * rows.values()[r * d + c]);
        }
        for (of, wanted) in [(&x, to_x), (&positions, to_positions)] {
            let found = grads.take(of).unwrap_or_else(|| vec![0.0; wanted.len()]);
            for (a, b) in found.iter().zip(&wanted) {
                prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn mutual_information_equals_its_oracle(rows in 2usize..12, pairs in prop::collection::vec((0u32..12, 0u32..12), 1..20), seed in 0u64..1000) {
        let (k, logits) = (4, random(rows, 4, seed));
        let p = softmax_rows(&mut Tape::scoring(), &logits, 1.0);
        let pairs: Vec<(u32, u32)> = pairs.into_iter().map(|(i, j)| (i % rows as u32, j % rows as u32)).collect();
        let found = mutual_information(&mut Tape::scoring(), &p, &pairs).values()[0];
        let at = |i: u32, c: usize| f64::from(p.values()[i as usize * k + c]);
        let cell = |a: usize, b: usize| pairs.iter().map(|(i, j)| (at(*i, a) * at(*j, b) + at(*j, a) * at(*i, b)) / 2.0).sum::<f64>();
        let total: f64 = (0..k * k).map(|c| cell(c / k, c % k)).sum();
        let share = |a: usize| (0..k).map(|b| cell(a, b)).sum::<f64>() / total;
        let wanted: f64 = (0..k * k).map(|c| {
            let j = cell(c / k, c % k) / total;
            -j * (j / (share(c / k) * share(c % k))).ln()
        }).sum();
        prop_assert!((f64::from(found) - wanted).abs() < 1e-4, "{found} against {wanted}");
        prop_assert!(wanted <= 1e-9 && wanted >= -(k as f64).ln() - 1e-9, "information lies between 0 and ln K");
    }

    #[test]
    fn jagged_means_and_sums_equal_their_oracles(lengths in prop::collection::vec(0usize..9, 1..6), seed in 0u64..1000, size in 1usize..5) {
        let (o, d) = (Offsets::from_lengths(lengths), 3);
        let (rows, scores, table) = (random(o.rows(), d, seed), random(o.rows(), 1, seed + 1), random(8, d, seed + 2));
        let x = |r: usize, i: usize| f64::from(rows.values()[r * d + i]);
        let tape = &mut Tape::scoring();
        let (mean, positioned) = (segment_mean(tape, &rows, &o), add_positions(tape, &rows, &o, &table));
        let (plain, soft) = (weighted_sum(tape, &scores, &rows, &o, false), weighted_sum(tape, &scores, &rows, &o, true));
        let (pooled, blocks) = pool_blocks(tape, &rows, &o, size);
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-4;
        for (s, range) in o.ranges().enumerate() {
            let weight = |r: usize| f64::from(scores.values()[r]);
            let mass: f64 = range.clone().map(|r| weight(r).exp()).sum();
            for i in 0..d {
                let total = |w: &dyn Fn(usize) -> f64| range.clone().map(|r| w(r) * x(r, i)).sum::<f64>();
                prop_assert!(near(mean.values()[s * d + i], total(&|_| 1.0 / range.len().max(1) as f64)));
                prop_assert!(near(plain.values()[s * d + i], total(&weight)));
                prop_assert!(near(soft.values()[s * d + i], total(&|r| weight(r).exp() / mass)));
                for r in range.clone() {
                    let rank = range.end - 1 - r;
                    let bucket = ((2.0 * ((rank + 1) as f64).log2()).floor() as usize).min(7);
                    prop_assert!(near(positioned.values()[r * d + i], x(r, i) + f64::from(table.values()[bucket * d + i])));
                }
                // Blocks count from the newest: the last block of a segment ends where the segment ends.
                for (n, block) in blocks.range(s).rev().enumerate() {
                    let end = range.end - n * size;
                    let from = end.saturating_sub(size).max(range.start);
                    let wanted = (from..end).map(|r| x(r, i)).sum::<f64>() / (end - from) as f64;
                    prop_assert!(near(pooled.values()[block * d + i], wanted));
                }
            }
        }
    }
}

#[test]
fn exp_is_that_of_the_library() {
    for i in 0..870_000 {
        let x = -(i as f32) / 1e4;
        let exact = f64::from(x).exp();
        let found = f64::from(exp_of_negative(x));
        assert!((found - exact).abs() <= 2.5e-7 * exact, "exp({x}) is {exact}, not {found}");
    }
    assert!(exp_of_negative(-1e9) < 2e-38 && exp_of_negative(0.0) == 1.0);
    assert!(exp_of_negative(f32::NAN).is_nan());
}

#[test]
fn gradients_of_gating_operations() {
    let m = |r, c, s| random(r, c, s);
    check_gradients(&[m(5, 3, 1)], |t, v| smooth_selectors(t, &v[0]));
    check_gradients(&[m(5, 4, 1)], |t, v| {
        let p = softmax_rows(t, &v[0], 1.0);
        entropy(t, &p)
    });
    check_gradients(&[m(5, 4, 1)], |t, v| square_logsumexp(t, &v[0]));
    for k in [1, 2, 4] {
        check_gradients(&[m(5, 4, 1), m(5, 4, 2), m(5, 4, 3)], |t, v| {
            let spread = map(t, &v[2], Function::Softplus);
            top_k_probability(t, &v[0], &v[1], &spread, k)
        });
    }
}

#[test]
fn gating_operations_have_the_published_values() {
    let mut tape = Tape::scoring();
    // S(-1/2) = 0, S(0) = 1/2, S(1/4) = -2/64 + 3/8 + 1/2, S(1/2) = 1.
    let z = Mat::new(4, 1, vec![-0.5, 0.0, 0.25, 0.5]);
    assert_eq!(smooth_selectors(&mut tape, &z).values(), &[1.0, 0.0, 0.5, 0.5, 0.15625, 0.84375, 0.0, 1.0]);
    // Bit 0 off, bit 1 on: expert 2, and no other.
    let z = Mat::new(1, 2, vec![-1.0, 1.0]);
    assert_eq!(smooth_selectors(&mut tape, &z).values(), &[0.0, 0.0, 1.0, 0.0]);
    let even = Mat::new(2, 4, vec![0.25; 8]);
    assert!((entropy(&mut tape, &even).values()[0] - 4f32.ln()).abs() < 1e-4);
    let x = Mat::new(2, 2, vec![0.0, 0.0, 1.0, 1.0]);
    let (a, b) = (2f32.ln(), 1.0 + 2f32.ln());
    assert!((square_logsumexp(&mut tape, &x).values()[0] - (a * a + b * b) / 2.0).abs() < 1e-6);
    // Of (3, 1, 2) the best 2: expert 0 must beat 1, expert 1 must beat 2, expert 2 must beat 1; spread 1 and 2.
    let (x, spread) = (Mat::new(1, 3, vec![3.0, 1.0, 2.0]), Mat::new(1, 3, vec![1.0, 1.0, 2.0]));
    let p = top_k_probability(&mut tape, &x, &x, &spread, 2);
    for (found, wanted) in p.values().iter().zip([0.977_25, 0.158_66, 0.691_46]) {
        assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
    }
}
