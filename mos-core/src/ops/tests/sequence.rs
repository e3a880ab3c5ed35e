//! Operations along histories, against plain loops in f64.

use std::ops::Range;

use super::*;

fn close(found: &Mat, wanted: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.values().len(), wanted.len());
    for (i, (a, b)) in found.values().iter().zip(wanted).enumerate() {
        prop_assert!((f64::from(*a) - b).abs() < 1e-5 * (1.0 + b.abs()), "{i}: {a} against {b}");
    }
    Ok(())
}

fn row(m: &Mat, r: usize) -> Vec<f64> {
    m.values()[r * m.cols()..(r + 1) * m.cols()].iter().map(|x| f64::from(*x)).collect()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..9, 1..5)
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn gradients_of_sequence_operations() {
    let (o, m) = (borders(), |r, c, s| random(r, c, s));
    let long = Offsets::from_lengths([70, 0, 3]);
    let positive = |r, c, s| Mat::new(r, c, random(r, c, s).values().iter().map(|x| x.abs() + 0.1).collect());
    for causal in [false, true] {
        for weighting in [Weighting::Softmax { scale: 0.6 }, Weighting::Silu { scale: 0.3 }] {
            let times: Vec<i64> = (0..9).map(|t| 20 * t * t).collect();
            let next: Vec<i64> = (0..9).map(|t| 20 * (t + 1) * (t + 1)).collect();
            check_gradients(&[m(9, 4, 1), m(9, 4, 2), m(9, 6, 3), m(1, 3, 4), m(1, 20, 5)], |t, v| {
                let bias = Bias { distance: &v[3], gap: &v[4], times: &times, next: &next };
                self_attend(t, (&v[0], &v[1], &v[2]), Some(bias), &o, 2, weighting, causal)
            });
        }
        check_gradients(&[m(73, 1, 1), m(73, 1, 2), m(73, 1, 3)], |t, v| {
            self_attend(t, (&v[0], &v[1], &v[2]), None, &long, 1, Weighting::Softmax { scale: 1.0 }, causal)
        });
    }
    check_gradients(&[m(9, 3, 1)], |t, v| last_rows(t, &v[0], &o));
    check_gradients(&[m(9, 3, 1), m(4, 3, 2)], |t, v| append_rows(t, &v[0], &v[1], &o).0);
    check_gradients(&[m(4, 6, 1), m(9, 6, 2)], |t, v| segment_dots(t, &v[0], &v[1], &o, 2));
    check_gradients(&[m(9, 2, 1)], |t, v| segment_softmax(t, &v[0], &o));
    check_gradients(&[positive(9, 2, 1)], |t, v| segment_shares(t, &v[0], &o));
    check_gradients(&[m(9, 2, 1), m(9, 6, 2)], |t, v| segment_head_sums(t, &v[0], &v[1], &o));
    check_gradients(&[positive(4, 3, 1), positive(4, 3, 2)], |t, v| power_norm(t, &[&v[0], &v[1]], 4.0));
    let small = Mat::new(1, 1, vec![1e-3]);
    let norm = power_norm(&mut Tape::scoring(), &[&small, &small], 40.0).values()[0];
    assert!((norm - 1e-3 * 2f32.powf(1.0 / 40.0)).abs() < 1e-8, "{norm}");
    check_gradients(&[m(9, 6, 1), m(2, 6, 2)], |t, v| gru(t, &v[0], &v[1], None, &o));
    check_gradients(&[m(9, 6, 1), m(2, 6, 2), m(9, 1, 3)], |t, v| gru(t, &v[0], &v[1], Some(&v[2]), &o));
    check_gradients(&[m(9, 3, 1), m(4, 3, 2), m(1, 3, 3)], |t, v| causal_conv(t, &v[0], &v[1], &v[2], &o));
    check_gradients(&[m(9, 3, 1)], |t, v| hilbert(t, &v[0], &o));
    check_gradients(&[m(9, 1, 1)], |t, v| entmax15(t, &v[0], &o));
    for (o, n) in [(&o, 9), (&long, 73)] {
        let states = if n > 9 { 1 } else { 3 };
        let inputs =
            [m(n, 2, 1), positive(n, 2, 2), m(2, states, 3), m(n, states, 4), m(n, states, 5), m(1, 2, 6)];
        check_gradients(&inputs, |t, v| selective_scan(t, (&v[0], &v[1]), &v[2], (&v[3], &v[4]), &v[5], o));
        check_gradients(&inputs, |t, v| {
            let last: Vec<u32> = o.ranges().filter(|r| !r.is_empty()).map(|r| r.end as u32 - 1).collect();
            let c = gather_rows(t, &v[4], &last);
            selective_scan_last(t, (&v[0], &v[1]), &v[2], (&v[3], &c), &v[5], o)
        });
    }
    for function in
        [Function::Sigmoid, Function::Silu, Function::Gelu, Function::Softplus, Function::LeakyRelu]
    {
        check_gradients(&[m(3, 4, 1)], |t, v| map(t, &v[0], function));
    }
    check_gradients(&[m(3, 4, 1)], |t, v| reshape(t, &v[0], 2, 6));
    check_gradients(&[m(3, 4, 1)], |t, v| columns(t, &v[0], 1, 2));
    check_gradients(&[m(3, 4, 1), m(1, 4, 2)], |t, v| scale_columns(t, &v[0], &v[1]));
}

#[test]
fn entmax_has_its_published_values() {
    let found =
        entmax15(&mut Tape::scoring(), &Mat::new(3, 1, vec![-2.0, 0.0, 0.5]), &Offsets::from_lengths([3]));
    for (a, b) in found.values().iter().zip([0.0, 0.326, 0.674]) {
        assert!((a - b).abs() < 1e-3, "{found:?}");
    }
}

proptest! {
    #[test]
    fn self_attend_equals_its_oracle(
        lengths in prop::collection::vec(prop_oneof![0usize..9, 63usize..67], 1..4),
        seed in 0u64..1000,
        causal: bool,
        soft: bool,
        biased: bool,
    ) {
        let (heads, dk, dv) = (2, 3, 2);
        let offsets = Offsets::from_lengths(lengths);
        let n = offsets.rows();
        let (q, k, v) = (
            random(n, heads * dk, seed),
            random(n, heads * dk, seed + 1),
            random(n, heads * dv, seed + 2),
        );
        let (distance, gap) = (random(1, 4, seed + 3), random(1, 9, seed + 4));
        let times: Vec<i64> = (0..n as i64).map(|t| t * t % 37).collect();
        let next: Vec<i64> = times.iter().map(|t| t + 5).collect();
        let bias = Bias { distance: &distance, gap: &gap, times: &times, next: &next };
        let weighting =
            if soft { Weighting::Softmax { scale: 0.7 } } else { Weighting::Silu { scale: 0.2 } };
        let mut wanted = Vec::new();
        for range in offsets.ranges() {
            for i in range.clone() {
                for h in 0..heads {
                    let of = |m: &Mat, r: usize, d: usize| row(m, r)[h * d..(h + 1) * d].to_vec();
                    let seen: Vec<usize> = range.clone().filter(|j| !causal || *j <= i).collect();
                    let score = |j: &usize| {
                        let mut s = inner(&of(&q, i, dk), &of(&k, *j, dk)) * if soft { 0.7 } else { 1.0 };
                        if biased {
                            let between = ((next[i] - times[*j]).abs().max(1) as f64).ln() / 0.301;
                            s += f64::from(distance.values()[i.abs_diff(*j).min(3)]);
                            s += f64::from(gap.values()[(between as usize).min(8)]);
                        }
                        s
                    };
                    let scores: Vec<f64> = seen.iter().map(score).collect();
                    let weights: Vec<f64> = if soft {
                        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                        scores.iter().map(|s| s.exp() / sum).collect()
                    } else {
                        scores.iter().map(|s| 0.2 * s * logistic(*s)).collect()
                    };
                    for c in 0..dv {
                        wanted.push(seen.iter().zip(&weights).map(|(j, w)| w * of(&v, *j, dv)[c]).sum());
                    }
                }
            }
        }
        let bias = biased.then_some(bias);
        let found =
            self_attend(&mut Tape::scoring(), (&q, &k, &v), bias, &offsets, heads, weighting, causal);
        close(&found, &wanted)?;
    }

    #[test]
    fn recurrences_equal_their_oracles(lengths in lengths(), seed in 0u64..1000, scaled: bool) {
        let offsets = Offsets::from_lengths(lengths);
        let (n, h) = (offsets.rows(), 3);
        let (gates, recurrent) = (random(n, 3 * h, seed), random(h, 3 * h, seed + 1));
        let attention = Mat::new(n, 1, random(n, 1, seed + 2).values().iter().map(|x| x.abs()).collect());
        let mut wanted = Vec::new();
        for range in offsets.ranges() {
            let mut state = vec![0.0; h];
            for t in range {
                let x = row(&gates, t);
                let through: Vec<f64> =
                    (0..3 * h).map(|c| (0..h).map(|i| state[i] * row(&recurrent, i)[c]).sum()).collect();
                let a = if scaled { f64::from(attention.values()[t]) } else { 1.0 };
                for i in 0..h {
                    let u = a * logistic(x[i] + through[i]);
                    let r = logistic(x[h + i] + through[h + i]);
                    let c = (x[2 * h + i] + r * through[2 * h + i]).tanh();
                    state[i] = (1.0 - u) * state[i] + u * c;
                }
                wanted.extend(&state);
            }
        }
        let attention = scaled.then_some(&attention);
        close(&gru(&mut Tape::scoring(), &gates, &recurrent, attention, &offsets), &wanted)?;

        let (x, w, b) = (random(n, h, seed + 3), random(4, h, seed + 4), random(1, h, seed + 5));
        let mut wanted = Vec::new();
        for range in offsets.ranges() {
            for t in range.clone() {
                let lags = (0..4).filter(|lag| t >= range.start + lag);
                wanted.extend((0..h).map(|i| {
                    row(&b, 0)[i] + lags.clone().map(|lag| row(&w, lag)[i] * row(&x, t - lag)[i]).sum::<f64>()
                }));
            }
        }
        close(&causal_conv(&mut Tape::scoring(), &x, &w, &b, &offsets), &wanted)?;
    }

    #[test]
    fn selective_scan_equals_its_oracle(
        lengths in prop::collection::vec(prop_oneof![0usize..9, 31usize..35], 1..4),
        seed in 0u64..1000,
    ) {
        let offsets = Offsets::from_lengths(lengths);
        let (n, e, s) = (offsets.rows(), 3, 4);
        let (x, a_log, skip) = (random(n, e, seed), random(e, s, seed + 1), random(1, e, seed + 2));
        let (b, c) = (random(n, s, seed + 3), random(n, s, seed + 4));
        let delta = Mat::new(n, e, random(n, e, seed + 5).values().iter().map(|x| x.abs()).collect());
        let mut wanted = Vec::new();
        for range in offsets.ranges() {
            let mut state = vec![0.0; e * s];
            for t in range {
                for i in 0..e {
                    let (x, delta) = (row(&x, t)[i], row(&delta, t)[i]);
                    for j in 0..s {
                        let decay = (-delta * row(&a_log, i)[j].exp()).exp();
                        state[i * s + j] = decay * state[i * s + j] + delta * row(&b, t)[j] * x;
                    }
                    wanted.push(inner(&state[i * s..(i + 1) * s], &row(&c, t)) + row(&skip, 0)[i] * x);
                }
            }
        }
        let found =
            selective_scan(&mut Tape::scoring(), (&x, &delta), &a_log, (&b, &c), &skip, &offsets);
        close(&found, &wanted)?;
        // Of the last rows alone the same bits.
        let last: Vec<u32> =
            offsets.ranges().filter(|r| !r.is_empty()).map(|r| r.end as u32 - 1).collect();
        let tape = &mut Tape::scoring();
        let c = gather_rows(tape, &c, &last);
        let wanted = gather_rows(tape, &found, &last);
        let found = selective_scan_last(tape, (&x, &delta), &a_log, (&b, &c), &skip, &offsets);
        prop_assert_eq!(found.values(), wanted.values());
    }

    /// T x = irfft(i rfft(x)), the transforms written out.
    #[test]
    fn hilbert_is_a_product_with_i_in_the_fourier_domain(lengths in lengths(), seed in 0u64..1000) {
        let offsets = Offsets::from_lengths(lengths);
        let x = random(offsets.rows(), 2, seed);
        let mut wanted = vec![0.0; x.values().len()];
        for range in offsets.ranges() {
            let n = range.len();
            let angle = |f: usize, t: usize| 2.0 * std::f64::consts::PI * (f * t) as f64 / n as f64;
            for c in 0..2 {
                for t in 0..n {
                    for f in 0..n {
                        // Of a real signal's spectrum the upper half is the conjugate of the lower: i there is −i. The
                        // ends have no partner and lose their imaginary part.
                        let turn = match 2 * f {
                            0 => 0.0,
                            twice if twice == n => 0.0,
                            twice if twice < n => 1.0,
                            _ => -1.0,
                        };
                        for s in 0..n {
                            // Real part of i turn exp(i angle(t − s)).
                            let part = -turn * (angle(f, t) - angle(f, s)).sin();
                            wanted[(range.start + t) * 2 + c] += part * row(&x, range.start + s)[c] / n as f64;
                        }
                    }
                }
            }
        }
        close(&hilbert(&mut Tape::scoring(), &x, &offsets), &wanted)?;
    }

    #[test]
    fn entmax_is_the_map_that_its_threshold_defines(lengths in lengths(), seed in 0u64..1000) {
        let offsets = Offsets::from_lengths(lengths);
        let scores = random(offsets.rows(), 1, seed);
        let mut wanted = vec![0.0; offsets.rows()];
        for range in offsets.ranges().filter(|r| !r.is_empty()) {
            let z: Vec<f64> = range.clone().map(|r| row(&scores, r)[0] / 2.0).collect();
            let mass = |tau: f64| z.iter().map(|z| (z - tau).max(0.0).powi(2)).sum::<f64>();
            let most = z.iter().copied().fold(f64::MIN, f64::max);
            // The mass falls from 1 or more at most − 1 to 0 at most.
            let (mut low, mut high) = (most - 1.0, most);
            for _ in 0..60 {
                let tau = f64::midpoint(low, high);
                if mass(tau) > 1.0 { low = tau } else { high = tau }
            }
            range.zip(&z).for_each(|(r, z)| wanted[r] = (z - low).max(0.0).powi(2));
        }
        let found = entmax15(&mut Tape::scoring(), &scores, &offsets);
        for (a, b) in found.values().iter().zip(&wanted) {
            prop_assert!((f64::from(*a) - b).abs() < 1e-5, "{a} against {b}");
        }
        for range in offsets.ranges().filter(|r| !r.is_empty()) {
            prop_assert!((found.values()[range].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn operations_on_segments_equal_their_oracles(lengths in lengths(), seed in 0u64..1000) {
        let offsets = Offsets::from_lengths(lengths);
        let (n, b, heads, a) = (offsets.rows(), offsets.segments(), 2, 3);
        let (queries, rows) = (random(b, heads * a, seed), random(n, heads * a, seed + 1));
        let tape = &mut Tape::scoring();
        let mut wanted = Vec::new();
        for (s, range) in offsets.ranges().enumerate() {
            for (r, h) in range.flat_map(|r| (0..heads).map(move |h| (r, h))) {
                let of = h * a..(h + 1) * a;
                wanted.push(inner(&row(&queries, s)[of.clone()], &row(&rows, r)[of]));
            }
        }
        let dots = segment_dots(tape, &queries, &rows, &offsets, heads);
        close(&dots, &wanted)?;

        let column = |m: &Mat, range: &Range<usize>, h: usize| -> Vec<f64> {
            range.clone().map(|r| row(m, r)[h]).collect()
        };
        let soft = segment_softmax(tape, &dots, &offsets);
        let shares = segment_shares(tape, &soft, &offsets);
        let positive = Mat::new(n, heads, dots.values().iter().map(|x| x.exp()).collect());
        let of_positive = segment_shares(tape, &positive, &offsets);
        for range in offsets.ranges().filter(|r| !r.is_empty()) {
            for h in 0..heads {
                let sum: f64 = column(&dots, &range, h).iter().map(|x| x.exp()).sum();
                for r in range.clone() {
                    let wanted = row(&dots, r)[h].exp() / sum;
                    for found in [&soft, &shares, &of_positive] {
                        prop_assert!((row(found, r)[h] - wanted).abs() < 1e-5);
                    }
                }
            }
        }

        let sums = segment_head_sums(tape, &dots, &rows, &offsets);
        let last = last_rows(tape, &rows, &offsets);
        let (longer, borders) = append_rows(tape, &rows, &queries, &offsets);
        for (s, range) in offsets.ranges().enumerate() {
            for c in 0..heads * a {
                let wanted: f64 = range.clone().map(|r| row(&dots, r)[c / a] * row(&rows, r)[c]).sum();
                prop_assert!((row(&sums, s)[c] - wanted).abs() < 1e-5 * (1.0 + wanted.abs()));
            }
            let newest = range.clone().last().map_or(vec![0.0; heads * a], |r| row(&rows, r));
            prop_assert_eq!(row(&last, s), newest);
            let kept = borders.range(s);
            prop_assert_eq!(kept.len(), range.len() + 1);
            prop_assert_eq!(row(&longer, kept.end - 1), row(&queries, s));
            for (new, old) in kept.zip(range) {
                prop_assert_eq!(row(&longer, new), row(&rows, old));
            }
        }
    }

    /// The k best, in time order, and of equals the most recent.
    #[test]
    fn searches_find_the_best(lengths in lengths(), seed in 0u64..1000, k in 1usize..6) {
        let offsets = Offsets::from_lengths(lengths);
        let mut draw = rng(seed);
        let mut number = |most: u32| rand::RngExt::random_range(&mut draw, 0..most);
        let words: Vec<u64> = (0..offsets.rows()).map(|_| u64::from(number(8))).collect();
        let queries: Vec<u64> = (0..offsets.segments()).map(|_| u64::from(number(8))).collect();
        let distance: Vec<u32> = offsets
            .ranges()
            .zip(&queries)
            .flat_map(|(range, q)| range.map(|r| (words[r] ^ q).count_ones()).collect::<Vec<_>>())
            .collect();
        let scores: Vec<f32> = distance.iter().map(|d| -(*d as f32)).collect();
        let found = nearest_words(&queries, &words, &offsets, k);
        let by_score = best_rows(&scores, &offsets, k);
        prop_assert_eq!(&found.0, &by_score.0);
        for (range, kept) in offsets.ranges().zip(found.1.ranges()) {
            let mut order: Vec<u32> = range.rev().map(|r| r as u32).collect();
            order.sort_by_key(|r| distance[*r as usize]);
            order.truncate(k);
            order.sort_unstable();
            prop_assert_eq!(&found.0[kept], &order[..]);
        }
    }
}
