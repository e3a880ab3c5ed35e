//! No leakage, frozen negatives, batches, sessions: on random logs.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::HashSet;

use mos_data::{
    Catalog, Content, Cuts, Dataset, Event, Interactions, LabelRule, Log, Sessionizer, TaskConfig, prepare,
    sessions, shuffled_order,
};
use proptest::prelude::*;

fn log(rows: &[(u32, u32, i64)]) -> Log {
    let event = |&(user, item, time): &(u32, u32, i64)| Event {
        user,
        item: item + 1,
        time,
        behaviour: 0,
        rating: Some((item % 5) as f32 + 1.0),
        session: None,
    };
    Log {
        name: "random".into(),
        interactions: Interactions::from_events(4, rows.iter().map(event).collect()).unwrap(),
        impressions: None,
        published: None,
        contexts: mos_data::Contexts::default(),
        catalog: Catalog { items: 41, behaviours: 1, ..Catalog::default() },
        user_ids: (0..4).map(|u| u.to_string()).collect(),
        item_ids: (0..41).map(|i| i.to_string()).collect(),
        behaviour_names: vec![String::new()],
        dropped: [].into(),
        ticks_per_second: 1,
        bayes: None,
    }
}

fn task(label: LabelRule) -> TaskConfig {
    TaskConfig {
        label,
        session: Sessionizer::Gap { seconds: 20 },
        cuts: Cuts::Quantile { valid: 0.6, test: 0.8 },
        min_history: 0,
        max_train: None,
        seed: 3,
    }
}

fn parts(data: &Dataset) -> [&[mos_data::Sample]; 3] {
    [&data.users.splits.train, &data.users.splits.valid, &data.users.splits.test]
}

fn rows() -> impl Strategy<Value = Vec<(u32, u32, i64)>> {
    prop::collection::vec((0u32..4, 0u32..40, 0i64..500), 40..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_leaks(rows in rows()) {
        for label in [LabelRule::Rating { at_least: 4.0 }, LabelRule::Negatives { per_positive: 2, exponent: 0.75, novel: false }] {
            let Ok(data) = prepare(log(&rows), &task(label)) else { continue };
            let latest = |part: &[mos_data::Sample]| part.iter().map(|s| s.time).max().unwrap();
            let earliest = |part: &[mos_data::Sample]| part.iter().map(|s| s.time).min().unwrap();
            let [train, valid, test] = parts(&data);
            prop_assert!(latest(train) < earliest(valid) && latest(valid) < earliest(test));
            let seen: HashSet<u32> = rows.iter().filter(|r| r.2 < earliest(valid)).map(|r| r.1 + 1).collect();
            for sample in parts(&data).concat() {
                let times = &data.users.interactions.times()[data.users.interactions.range(sample.user)];
                prop_assert!(times[..sample.end as usize].iter().all(|t| *t < sample.time));
                prop_assert!(times[sample.end as usize..].iter().all(|t| *t >= sample.time));
                prop_assert!(sample.item == 0 || seen.contains(&sample.item), "an item of the future has a row");
            }
        }
    }

    #[test]
    fn negatives_are_frozen_and_never_known_positives(rows in rows()) {
        let task = task(LabelRule::Negatives { per_positive: 3, exponent: 0.5, novel: false });
        let Ok(data) = prepare(log(&rows), &task) else { return Ok(()) };
        prop_assert_eq!(&data.split_sha256, &prepare(log(&rows), &task).unwrap().split_sha256);
        prop_assert!(parts(&data).concat().iter().all(|s| s.item != 0), "an unknown positive could be told by that alone");
        for sample in parts(&data).concat().iter().filter(|s| s.label == 0.0) {
            prop_assert!(rows.iter().all(|(user, item, _)| *user != sample.user || item + 1 != sample.item));
        }
    }

    #[test]
    fn novel_positives_are_new_to_their_user(rows in rows()) {
        let task = task(LabelRule::Negatives { per_positive: 1, exponent: 1.0, novel: true });
        let Ok(data) = prepare(log(&rows), &task) else { return Ok(()) };
        for sample in parts(&data).concat() {
            let history = &data.users.interactions.items()[data.users.interactions.range(sample.user)][..sample.end as usize];
            prop_assert!(!history.contains(&sample.item));
        }
    }

    #[test]
    fn batches_hold_the_most_recent_behaviours(rows in rows(), most in 1usize..12, pieces in 1usize..6) {
        let Ok(data) = prepare(log(&rows), &task(LabelRule::Rating { at_least: 4.0 })) else { return Ok(()) };
        let batch = data.users.batch(&data.users.splits.train, most);
        for (b, sample) in data.users.splits.train.iter().enumerate() {
            let all = &data.users.interactions.items()[data.users.interactions.range(sample.user)][..sample.end as usize];
            let wanted = &all[all.len() - all.len().min(most)..];
            prop_assert_eq!(&batch.items[batch.offsets[b]..batch.offsets[b + 1]], wanted);
        }
        for parts in [batch.split(pieces), batch.split_within(pieces, most)] {
            let joined: Vec<u32> = parts.iter().flat_map(|p| p.items.clone()).collect();
            let targets: Vec<u32> = parts.iter().flat_map(|p| p.targets.clone()).collect();
            prop_assert_eq!((&joined, &targets), (&batch.items, &batch.targets));
            prop_assert!(batch.is_empty() || parts.iter().all(|p| !p.is_empty()));
            prop_assert!(parts.len() >= pieces.min(batch.len()));
        }
        let even = batch.split(pieces);
        if even.iter().any(|p| p.items.len() > 2 * most) {
            prop_assert!(batch.split_within(pieces, most).len() > even.len());
        }
        // No history is longer than `most`: a part holds at most that much beyond its share.
        prop_assert!(batch.split_within(1, 2 * most).iter().all(|p| p.items.len() <= 3 * most));
        let mut mixed = batch.clone();
        mixed.shuffle_histories(1);
        for b in 0..batch.len() {
            let sorted = |x: &[u32]| { let mut x = x.to_vec(); x.sort_unstable(); x };
            let range = batch.offsets[b]..batch.offsets[b + 1];
            prop_assert_eq!(sorted(&mixed.items[range.clone()]), sorted(&batch.items[range]));
        }
    }

    #[test]
    fn sessions_rise_by_one_and_start_at_zero(rows in rows(), gap in 1i64..100, size in 1usize..9) {
        let log = log(&rows);
        for by in [Sessionizer::Gap { seconds: gap }, Sessionizer::Fixed { events: size }, Sessionizer::Day { utc_offset_hours: 8 }] {
            let of = sessions(&log, &by).unwrap();
            for user in 0..4 {
                let range = log.interactions.range(user);
                let mine = &of[range.clone()];
                prop_assert!(mine.first().is_none_or(|s| *s == 0));
                prop_assert!(mine.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1));
                if let Sessionizer::Gap { seconds } = by {
                    let times = &log.interactions.times()[range];
                    prop_assert!((1..mine.len()).all(|i| (times[i] - times[i - 1] > seconds) == (mine[i] > mine[i - 1])));
                }
            }
        }
    }

    #[test]
    fn an_epoch_reads_every_sample_once(n in 0usize..500, seed in 0u64..9) {
        let mut order = shuffled_order(n, seed, 1, 0);
        order.sort_unstable();
        prop_assert!(order.iter().enumerate().all(|(i, o)| i as u32 == *o) && order.len() == n);
    }
}

/// Forty events of each of four users, in thousandths of a second.
fn milliseconds() -> Log {
    let rows: Vec<(u32, u32, i64)> =
        (0..160).map(|i| (i % 4, i * 7 % 40, i64::from(i) * 1500 + 999)).collect();
    Log { ticks_per_second: 1000, ..log(&rows) }
}

#[test]
fn a_batch_has_seconds_whatever_the_unit_of_the_log() {
    let data = prepare(milliseconds(), &task(LabelRule::Rating { at_least: 3.0 })).unwrap();
    let samples = &data.users.splits.test[..5];
    let batch = data.users.batch(samples, 3);
    assert_eq!(batch.target_times, samples.iter().map(|s| s.time / 1000).collect::<Vec<_>>());
    for (sample, borders) in samples.iter().zip(batch.offsets.windows(2)) {
        let end = data.users.interactions.range(sample.user).start + sample.end as usize;
        let wanted: Vec<i64> =
            data.users.interactions.times()[end - 3..end].iter().map(|t| t / 1000).collect();
        assert_eq!(batch.times[borders[0]..borders[1]], wanted);
    }
}

#[test]
fn a_content_vector_makes_no_item_a_positive_that_no_negative_can_be() {
    // Items of the second half are never in training.
    let rows: Vec<(u32, u32, i64)> = (0..160)
        .map(|i| (i % 4, i * 7 % 20 + if i < 96 { 0 } else { (i / 4 % 2) * 20 }, i64::from(i)))
        .collect();
    let plain = log(&rows);
    let content = Some(Content { dim: 1, values: (0..41).map(|i| f32::from(u8::from(i > 0))).collect() });
    let with_content = Log { catalog: Catalog { content, ..plain.catalog.clone() }, ..log(&rows) };
    let rule = task(LabelRule::Negatives { per_positive: 2, exponent: 0.0, novel: false });
    let [plain, known] = [plain, with_content].map(|log| prepare(log, &rule).unwrap());
    let seen = known.users.seen_in_training(known.catalog.items);
    for part in parts(&known) {
        assert!(part.iter().all(|s| seen[s.item as usize]), "a positive that training never saw");
    }
    assert_eq!(known.card.dropped, plain.card.dropped);
    assert!(known.card.dropped.keys().any(|why| why.contains("training never saw")));
}

#[test]
fn a_task_is_the_same_on_any_number_of_threads() {
    let generator =
        mos_data::sources::synthetic::SyntheticConfig { users: 50, events: 80, ..Default::default() };
    for label in [
        LabelRule::Impressions {},
        LabelRule::Negatives { per_positive: 3, exponent: 0.75, novel: false },
        LabelRule::Negatives { per_positive: 1, exponent: 0.0, novel: true },
    ] {
        for session in [Sessionizer::Given {}, Sessionizer::Gap { seconds: 4000 }] {
            let task = TaskConfig { label, session, max_train: Some(300), ..generator.task() };
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| format!("{:?}", prepare(generator.generate().unwrap(), &task).unwrap()))
            };
            assert!(on(1) == on(3), "{label:?}, {session:?}");
        }
    }
}

#[test]
fn true_probabilities_go_with_impressions_alone() {
    let generator = mos_data::sources::synthetic::SyntheticConfig { users: 60, ..Default::default() };
    let sampled = TaskConfig {
        label: LabelRule::Negatives { per_positive: 1, exponent: 0.0, novel: false },
        ..generator.task()
    };
    assert!(prepare(generator.generate().unwrap(), &sampled).unwrap().bayes_test.is_none());
    let shown = prepare(generator.generate().unwrap(), &generator.task()).unwrap();
    assert_eq!(shown.bayes_test.map(|b| b.len()), Some(shown.users.splits.test.len()));
}
