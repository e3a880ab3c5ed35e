//! Samples that share a history: what each operation makes of them is what it makes of copies, to the bit; gradients but for the
//! order of sums.

use super::*;
use crate::Spans;

/// An operation on (queries, rows) over spans.
type Op<'a> = &'a dyn Fn(&mut Tape, &Mat, &Mat, &Spans) -> Mat;

/// Values, and gradients of a random sum of them with respect to queries and rows.
fn run(
    op: Op<'_>,
    queries: &Mat,
    rows: &Mat,
    spans: &Spans,
    copies: Option<&[u32]>,
) -> (Vec<f32>, [Vec<f32>; 2]) {
    let mut tape = Tape::training();
    let read = copies.map_or_else(|| rows.clone(), |index| gather_rows(&mut tape, rows, index));
    let out = op(&mut tape, queries, &read, spans);
    let weighted = mul(&mut tape, &out, &random(out.rows(), out.cols(), 99));
    let flat = reshape(&mut tape, &weighted, 1, out.rows() * out.cols());
    let ones = Mat::new(flat.cols(), 1, vec![1.0; flat.cols()]);
    let total = linear(&mut tape, &flat, &ones, None, Activation::None);
    let mut grads = tape.backward(&total).unwrap();
    let grad = [queries, rows].map(|m| grads.take(m).unwrap_or_else(|| vec![0.0; m.values().len()]));
    (out.to_vec(), grad)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shared_histories_are_copies(
        lengths in prop::collection::vec(0usize..9, 1..4),
        picks in prop::collection::vec(0usize..64, 1..20),
        seed in 0u64..1000,
    ) {
        let histories = Offsets::from_lengths(lengths);
        let of: Vec<u32> = picks.iter().map(|p| (p % histories.segments()) as u32).collect();
        let (b, d) = (of.len(), 4);
        let shared = Spans::new(histories.clone(), Some(of.into()));
        let copies: Vec<u32> = shared.ranges().flatten().map(|r| r as u32).collect();
        let own = Spans::from(&shared.side_by_side());
        let (rows, planes) = (random(histories.rows(), d, seed), random(d, 6, seed + 2).to_vec());
        let (w, bias, scores) =
            (random(4 * d, 3, seed + 3), random(1, 3, seed + 4), random(copies.len(), 1, seed + 5));
        let attend_all = |top: Option<usize>| {
            move |t: &mut Tape, q: &Mat, rows: &Mat, s: &Spans| attend(t, q, rows, s, 2, 0.7, top)
        };
        let (all, some) = (attend_all(None), attend_all(Some(3)));
        let sum = |soft: bool| {
            let scores = scores.clone();
            move |t: &mut Tape, _: &Mat, rows: &Mat, s: &Spans| weighted_sum(t, &scores, rows, s, soft)
        };
        let (plain, soft) = (sum(false), sum(true));
        let dots = |t: &mut Tape, q: &Mat, rows: &Mat, s: &Spans| segment_dots(t, q, rows, s, 2);
        let hidden = |t: &mut Tape, q: &Mat, rows: &Mat, s: &Spans| din_hidden(t, q, rows, s, &w, &bias);
        let pool = |t: &mut Tape, q: &Mat, rows: &Mat, s: &Spans| hash_pool(t, q, rows, s, &planes, 3, 2);
        let ops: [(Op<'_>, usize); 7] =
            [(&all, 2 * d), (&some, 2 * d), (&plain, d), (&soft, d), (&dots, d), (&hidden, d), (&pool, d)];
        for (at, (op, width)) in ops.into_iter().enumerate() {
            let queries = random(b, width, seed + 1);
            let (found, grads) = run(op, &queries, &rows, &shared, None);
            let (wanted, of_copies) = run(op, &queries, &rows, &own, Some(&copies));
            prop_assert_eq!(&found, &wanted, "operation {}", at);
            let scored = op(&mut Tape::scoring(), &queries, &rows, &shared).to_vec();
            prop_assert_eq!(scored, wanted, "operation {} in scoring", at);
            for (a, b) in grads.iter().flatten().zip(of_copies.iter().flatten()) {
                prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "operation {}: {} against {}", at, a, b);
            }
        }
        let words = hash_words(rows.values(), d, &planes, 6);
        let queries = hash_words(random(b, d, seed + 6).values(), d, &planes, 6);
        let copied: Vec<u64> = copies.iter().map(|r| words[*r as usize]).collect();
        let original = |(chosen, borders): (Vec<u32>, Offsets)| {
            (chosen.iter().map(|r| copies[*r as usize]).collect::<Vec<u32>>(), borders)
        };
        prop_assert_eq!(nearest_words(&queries, &words, &shared, 3), original(nearest_words(&queries, &copied, &own, 3)));
        prop_assert_eq!(best_rows(scores.values(), &shared, 3), original(best_rows(scores.values(), &own, 3)));
    }
}
