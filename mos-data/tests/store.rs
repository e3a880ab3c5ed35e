//! A store gives back what was written, whole and by user, and says what is wrong with it.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use mos_data::{
    Catalog, Content, ContextField, Contexts, Event, FeatureValues, Impression, Interactions, ItemFeature,
    Log, Part, Published, Store, TaskConfig,
    sources::{Source, synthetic::SyntheticConfig},
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const USERS: usize = 6;
const ITEMS: usize = 9;

fn task() -> TaskConfig {
    SyntheticConfig::default().task()
}

/// A log with everything that a log can have, or with parts of it.
fn log(rows: &[(u32, u32, i64, u8)], shown: &[(u32, u32, i64)], has: [bool; 8], seed: u32) -> Log {
    let [rating, session, impressions, published, contexts, content, features, bayes] = has;
    let number = |i: usize, n: u32| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) % n;
    let event = |&(user, item, time, behaviour): &(u32, u32, i64, u8)| Event {
        user,
        item: item + 1,
        time,
        behaviour,
        rating: rating.then_some(time as f32 / 7.0),
        session: session.then_some(time as u64 / 50),
    };
    let shown: Vec<Impression> = shown
        .iter()
        .map(|(user, item, time)| Impression {
            user: *user,
            item: item + 1,
            time: *time,
            label: (item % 2) as f32,
        })
        .collect();
    let n = if impressions { shown.len() } else { 0 };
    let fields = if contexts { (2, 1) } else { (0, 0) };
    let part = |i: usize| [Part::Train, Part::Valid, Part::Test][i % 3];
    let publish = |i: usize| Published { part: part(i), history: (!i.is_multiple_of(4)).then_some(i as u32) };
    let dense =
        |dim: usize| Content { dim, values: (0..ITEMS * dim).map(|i| number(i, 99) as f32 / 9.0).collect() };
    let feature = |name: &str, values| ItemFeature { name: name.into(), values };
    let ids = |n: usize| (0..n).map(|i| number(i, 5)).collect::<Vec<u32>>();
    let text = |kind: &str, n: usize| (0..n).map(|i| format!("{kind}{i} é,\"")).collect::<Vec<String>>();
    Log {
        name: "random".into(),
        interactions: Interactions::from_events(USERS, rows.iter().map(event).collect()).unwrap(),
        impressions: impressions.then_some(shown),
        published: (impressions && published).then(|| (0..n).map(publish).collect()),
        contexts: Contexts {
            user_fields: fields.0,
            of_users: ids(USERS * fields.0),
            impression_fields: fields.1,
            of_impressions: ids(n * fields.1),
        },
        catalog: Catalog {
            items: ITEMS,
            categories: features.then(|| ids(ITEMS)),
            category_count: if features { 5 } else { 0 },
            content: content.then(|| dense(3)),
            themes: content.then(|| (0..ITEMS as u16).map(|i| i.wrapping_sub(1)).collect()),
            features: if features {
                vec![
                    feature("brand", FeatureValues::One { ids: ids(ITEMS), count: 5 }),
                    feature(
                        "tags",
                        FeatureValues::Many {
                            offsets: vec![0, 0, 2, 2, 2, 3, 3, 3, 3, 3],
                            ids: vec![1, 2, 4],
                            count: 5,
                        },
                    ),
                    feature(
                        "none",
                        FeatureValues::Many { offsets: vec![0; ITEMS + 1], ids: Vec::new(), count: 1 },
                    ),
                    feature("picture", FeatureValues::Dense(dense(2))),
                ]
            } else {
                Vec::new()
            },
            contexts: ["age", "city", "place"][..fields.0 + fields.1]
                .iter()
                .map(|name| ContextField { name: (*name).into(), count: 5 })
                .collect(),
            behaviours: 3,
        },
        user_ids: text("u", USERS),
        item_ids: text("i", ITEMS),
        behaviour_names: text("b", 3),
        dropped: [("strays".to_owned(), 3)].into(),
        ticks_per_second: 1000,
        bayes: (impressions && bayes).then(|| (0..n).map(|i| i as f64 / 3.0).collect()),
    }
}

fn rows() -> impl Strategy<Value = Vec<(u32, u32, i64, u8)>> {
    prop::collection::vec(
        (0u32..6, 0u32..8, prop_oneof![9 => -500i64..500, 1 => any::<i64>()], 0u8..3),
        0..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_gives_back_what_was_written(
        rows in rows(),
        shown in prop::collection::vec((0u32..6, 0u32..8, -500i64..500), 0..40),
        has in any::<[bool; 8]>(),
        seed: u32,
        users in (0u32..=6, 0u32..=6),
    ) {
        let log = log(&rows, &shown, has, seed);
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("store");
        Store::create(&log, &task(), &place).unwrap();
        let store = Store::open(&place).unwrap();
        prop_assert_eq!(store.log_sha256(), log.sha256());
        let read = Source::new("store", Some(place)).load().unwrap();
        prop_assert_eq!(read.sha256(), log.sha256());
        // Debug text holds every field, and NaN equals itself there.
        prop_assert_eq!(format!("{read:?}"), format!("{log:?}"));
        let users = users.0.min(users.1)..users.0.max(users.1);
        let block = store.read(users.clone()).unwrap();
        prop_assert_eq!(block.interactions.users(), users.len());
        for user in users.clone() {
            let (here, there) = (block.interactions.range(user - users.start), log.interactions.range(user));
            prop_assert_eq!(&block.interactions.items()[here.clone()], &log.interactions.items()[there.clone()]);
            prop_assert_eq!(&block.interactions.times()[here], &log.interactions.times()[there]);
        }
        let mut shown: Vec<Impression> = log.impressions.unwrap_or_default();
        shown.retain(|i| users.contains(&i.user));
        shown.sort_by_key(|i| i.user);
        prop_assert_eq!(block.impressions, shown);
    }
}

fn small(folder: &Path) -> std::path::PathBuf {
    let place = folder.join("store");
    let log = SyntheticConfig { users: 20, events: 40, ..SyntheticConfig::default() }.generate().unwrap();
    Store::create(&log, &task(), &place).unwrap();
    place
}

#[test]
fn damaged_older_and_foreign_stores_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = small(folder.path());
    let refused = |wanted: &[&str]| {
        let message = Store::open(&place).and_then(|s| s.log()).unwrap_err().to_string();
        wanted.iter().for_each(|w| assert!(message.contains(w), "{w:?} is not in: {message}"));
    };
    let file = |name: &str| place.join(name);
    // One byte of each file in turn, from the first to the last.
    for name in ["events.parquet", "impressions.parquet", "users.parquet", "items.parquet", "content.parquet"]
    {
        let bytes = std::fs::read(file(name)).unwrap();
        // What is read by block is checked as values, so the bytes around them need not be right.
        let by_block = ["events.parquet", "impressions.parquet"].contains(&name);
        let first = if by_block { bytes.len() / 3 } else { 0 };
        for at in [first, bytes.len() / 3, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(file(name), damaged).unwrap();
            refused(&["store", "copy it again"]);
        }
        std::fs::write(file(name), &bytes[..bytes.len() - 1]).unwrap();
        refused(&[name, "copy it again"]);
        std::fs::write(file(name), bytes).unwrap();
    }
    let text = std::fs::read_to_string(file("manifest.json")).unwrap();
    for (from, to, wanted) in [
        ("\"version\": 1", "\"version\": 0", "is a store of version 0, this program reads version 1"),
        ("\"version\": 1", "\"version\": 2", "use a newer program"),
        ("\"mos-store\"", "\"lance\"", "its manifest is of something else"),
        ("\"events\": ", "\"events\": 1", "does not have the checksum"),
        ("{", "", "the manifest is damaged"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(file("manifest.json"), text.replacen(from, to, 1)).unwrap();
        refused(&[wanted]);
    }
    std::fs::remove_file(file("manifest.json")).unwrap();
    refused(&["is no store: it has no manifest.json", "data convert"]);
    std::fs::remove_dir_all(&place).unwrap();
    refused(&["is not there", "data convert"]);
}

#[test]
fn a_store_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let place = small(folder.path());
    let log = SyntheticConfig { users: 20, events: 40, ..SyntheticConfig::default() }.generate().unwrap();
    let again = Store::create(&log, &task(), &place).unwrap_err().to_string();
    assert!(again.contains("is there already"), "{again}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "nothing else is left");
}

/// A store whose manifest was changed by someone who knows how to sign it.
#[test]
fn numbers_of_a_manifest_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let place = small(folder.path());
    let file = place.join("manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let many = u64::from(u32::MAX);
    for (changes, wanted) in [
        // Memory for each of four billion users would be asked for.
        (vec![("/users", many), ("/blocks/0/users", many)], "users.parquet: is too small for 4294967295 ids"),
        (vec![("/items", many)], "items.parquet: is too small"),
        (vec![("/items", u64::MAX)], "items.parquet: is too small"),
        (vec![("/items", 5)], "values of theme instead of 5"),
        (vec![("/users", 19)], "other users than its blocks hold"),
        (vec![("/blocks/0/first_user", 7)], "do not follow each other"),
        (vec![("/user_fields", 1)], "more fields of users than fields"),
        (vec![("/ticks_per_second", 0)], "names no unit of time"),
        (vec![("/content", many << 32)], "has "),
    ] {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value.as_object_mut().unwrap().remove("sha256");
        for (place, number) in changes {
            *value.pointer_mut(place).unwrap() = number.into();
        }
        let sum = Sha256::digest(value.to_string());
        value["sha256"] = sum.iter().map(|b| format!("{b:02x}")).collect::<String>().into();
        std::fs::write(&file, value.to_string()).unwrap();
        let message = Store::open(&place).and_then(|s| s.log()).unwrap_err().to_string();
        assert!(message.contains(wanted), "{wanted:?} is not in: {message}");
    }
}
