//! What is streamed is what is in memory.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::{
    Catalog, Content, ContextField, Contexts, Cuts, Event, Impression, Interactions, LabelRule, Log, Part,
    Published, Sessionizer, Store, TaskConfig, prepare,
};

const USERS: usize = 7;
const ITEMS: usize = 31;

/// Impressions lie user by user, as in most logs; their published parts are by time, as a cut in time would have them.
fn log(rows: &[(u32, u32, i64)], has: [bool; 3]) -> Log {
    let [content, published, contexts] = has;
    let event = |&(user, item, time): &(u32, u32, i64)| Event {
        user,
        item: item + 1,
        time,
        behaviour: 0,
        rating: Some((item % 5) as f32 + 1.0),
        session: None,
    };
    let mut shown: Vec<Impression> = rows
        .iter()
        .map(|&(user, item, time)| Impression {
            user,
            item: item * 7 % 30 + 1,
            time,
            label: (item % 2) as f32,
        })
        .collect();
    shown.sort_by_key(|i| i.user);
    let part = |i: &Impression| Published {
        part: if i.time < 300 { Part::Train } else { [Part::Valid, Part::Test][usize::from(i.time >= 400)] },
        history: (i.time % 3 == 0).then_some(0),
    };
    let (users, each) = if contexts { (1, 1) } else { (0, 0) };
    let number = |n: usize| (0..n).map(|i| (i * 5 % 4) as u32).collect::<Vec<u32>>();
    let vectors = (0..ITEMS).map(|i| f32::from(u8::from(i % 3 == 1))).collect();
    Log {
        name: "random".into(),
        interactions: Interactions::from_events(USERS, rows.iter().map(event).collect()).unwrap(),
        published: published.then(|| shown.iter().map(part).collect()),
        contexts: Contexts {
            user_fields: users,
            of_users: number(USERS * users),
            impression_fields: each,
            of_impressions: number(shown.len() * each),
        },
        catalog: Catalog {
            items: ITEMS,
            content: content.then_some(Content { dim: 1, values: vectors }),
            contexts: ["age", "place"][..users + each]
                .iter()
                .map(|name| ContextField { name: (*name).into(), count: 4 })
                .collect(),
            behaviours: 1,
            ..Catalog::default()
        },
        bayes: Some(shown.iter().map(|i| i.time as f64 / 500.0).collect()),
        impressions: Some(shown),
        user_ids: (0..USERS).map(|u| u.to_string()).collect(),
        item_ids: (0..ITEMS).map(|i| i.to_string()).collect(),
        behaviour_names: vec![String::new()],
        dropped: [("strays".to_owned(), 2)].into(),
        ticks_per_second: 1,
    }
}

fn rules() -> impl Strategy<Value = (LabelRule, Cuts)> {
    let label = prop_oneof![
        Just(LabelRule::Impressions {}),
        Just(LabelRule::Rating { at_least: 4.0 }),
        any::<bool>().prop_map(|novel| LabelRule::Negatives { per_positive: 2, exponent: 0.75, novel }),
    ];
    let cuts = prop_oneof![
        Just(Cuts::Quantile { valid: 0.6, test: 0.8 }),
        Just(Cuts::Time { valid: 300, test: 400 }),
        Just(Cuts::Published {}),
    ];
    (label, cuts)
}

type Prepared = (Dataset<Feed>, Vec<Sample>);

/// A task in memory and the same from a store, which lies in the folder.
fn both(
    log: Log,
    task: &TaskConfig,
    block: usize,
    window: usize,
) -> Option<(tempfile::TempDir, [Prepared; 2])> {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    Store::create_in_blocks(&log, task, &place, block).unwrap();
    let streamed = Stream::prepare(Store::open(&place).unwrap(), task, window);
    match prepare(log, task) {
        Ok(data) => Some((folder, [data.into_feed(), streamed.unwrap()])),
        Err(error) => {
            assert_eq!(streamed.unwrap_err().to_string(), error.to_string());
            None
        }
    }
}

fn epoch(data: &Dataset<Feed>, number: u64, from: usize) -> Vec<Batch> {
    let epoch = Epoch { number, seed: 5, batch: 4, max_length: 6, from };
    data.users.epoch(epoch).collect::<Result<_>>().unwrap()
}

fn scored(data: &Dataset<Feed>, samples: &[Sample]) -> Vec<Batch> {
    let mut out = Vec::new();
    let take = |batch, _: &[Sample]| {
        out.push(batch);
        Ok::<(), crate::Error>(())
    };
    data.users.each_batch(samples, 5, 6, take).unwrap();
    out
}

/// Samples of batches, in an order of their own.
fn samples(batches: &[Batch]) -> Vec<(u32, u32, i64, Vec<u32>)> {
    let one = |b: &Batch, i: usize| {
        (b.users[i], b.targets[i], b.target_times[i], b.items[b.offsets[i]..b.offsets[i + 1]].to_vec())
    };
    let mut all: Vec<_> = batches.iter().flat_map(|b| (0..b.len()).map(move |i| one(b, i))).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_streamed_is_what_is_in_memory(
        rows in prop::collection::vec((0u32..USERS as u32, 0u32..30, 0i64..500), 40..120),
        has in any::<[bool; 3]>(),
        (label, cuts) in rules(),
        min_history in 0usize..3,
        max_train in prop::option::of(1usize..60),
        block in 1usize..60,
        window in 1usize..4,
    ) {
        let session = Sessionizer::Gap { seconds: 20 };
        let task = TaskConfig { label, session, cuts, min_history, max_train, seed: 3 };
        // All blocks in one window: the same batches, to the bit.
        let Some((_folder, [memory, streamed])) = both(log(&rows, has), &task, block, USERS) else { return Ok(()) };
        let facts = |(data, test): &Prepared| {
            let hidden = |s: &Sample| Sample { impression: 0, ..*s };
            let parts: Vec<Sample> = data.users.valid.iter().chain(test).map(hidden).collect();
            let counts: Vec<u64> = (0..9).map(|l| data.users.longer_than(l)).collect();
            let other = (data.users.seen_in_training(), data.users.clicks(), data.users.train_samples());
            let data = data.clone().map(|_| ());
            format!("{data:?} {parts:?} {counts:?} {other:?}")
        };
        prop_assert_eq!(facts(&memory), facts(&streamed));
        for number in 0..2 {
            prop_assert_eq!(epoch(&memory.0, number, 0), epoch(&streamed.0, number, 0));
        }
        prop_assert_eq!(scored(&memory.0, &memory.1), scored(&streamed.0, &streamed.1));
        let valid = |data: &Dataset<Feed>| scored(data, &data.users.valid);
        prop_assert_eq!(valid(&memory.0), valid(&streamed.0));
        // A few blocks at a time: the same samples once each, in an order of their own, from any batch on.
        let Some((_folder, [memory, streamed])) = both(log(&rows, has), &task, block, window) else { return Ok(()) };
        let all = epoch(&streamed.0, 1, 0);
        prop_assert_eq!(samples(&all), samples(&epoch(&memory.0, 1, 0)));
        prop_assert!(all.iter().rev().skip(1).all(|b| b.len() == 4), "only the last batch is small");
        for from in 0..=all.len() {
            prop_assert_eq!(&epoch(&streamed.0, 1, from), &all[from..]);
        }
        let (mut left, mut right) = (memory.0, streamed.0);
        left.users.valid.truncate(1);
        right.users.valid.truncate(1);
        left.hash_again(&memory.1[1..]);
        right.hash_again(&streamed.1[1..]);
        prop_assert_eq!(left.split_sha256, right.split_sha256);
    }
}

/// Forty ratings of each user, one after another.
fn ratings() -> (Log, TaskConfig) {
    let rows: Vec<(u32, u32, i64)> = (0..280).map(|i| (i % 7, i * 11 % 30, i64::from(i))).collect();
    let task = TaskConfig {
        label: LabelRule::Rating { at_least: 4.0 },
        session: Sessionizer::Gap { seconds: 20 },
        cuts: Cuts::Quantile { valid: 0.8, test: 0.9 },
        min_history: 0,
        max_train: None,
        seed: 3,
    };
    (log(&rows, [false; 3]), task)
}

#[test]
fn epochs_differ_and_windows_mix_blocks() {
    let (log, task) = ratings();
    let (_folder, [_, (data, _)]) = both(log, &task, 40, 3).unwrap();
    let (first, second) = (epoch(&data, 0, 0), epoch(&data, 1, 0));
    assert_ne!(first, second);
    let users = |batches: &[Batch]| batches.iter().flat_map(|b| b.users.clone()).collect::<HashSet<u32>>();
    // A third of the samples comes from three users, and they come mixed.
    let part = &first[..8];
    assert_eq!(users(part).len(), 3);
    assert!(part.iter().all(|b| b.users.iter().collect::<HashSet<_>>().len() > 1));
    assert_ne!(users(part), users(&second[..8]), "the blocks come in another order");
}

#[test]
fn a_store_that_breaks_while_it_is_read_ends_the_epoch_with_what_is_wrong() {
    let (log, task) = ratings();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    Store::create_in_blocks(&log, &task, &place, 40).unwrap();
    let (data, test) = Stream::prepare(Store::open(&place).unwrap(), &task, 2).unwrap();
    std::fs::write(place.join("events.parquet"), "nothing").unwrap();
    let epoch = Epoch { number: 0, seed: 5, batch: 4, max_length: 6, from: 0 };
    let message = data.users.epoch(epoch).find_map(Result::err).unwrap().to_string();
    assert!(message.contains("events.parquet") && message.contains("copy it again"), "{message}");
    let scored = data.users.each_batch(&test, 5, 6, |_, _| Ok::<(), crate::Error>(()));
    assert!(scored.unwrap_err().to_string().contains("events.parquet"));
}
