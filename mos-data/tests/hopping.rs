//! Session hopping: what must hold for every log, and what is known of some.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::PathBuf;

use mos_data::{
    Event, Interactions, Log, Sessionizer,
    hopping::{HoppingConfig, Outcome, SessionVectors, Study, ThemeSource, study},
    rng,
    sources::{Source, synthetic::SyntheticConfig},
};
use proptest::prelude::*;
use rand::seq::SliceRandom as _;

const GAP: Sessionizer = Sessionizer::Gap { seconds: 20 };

/// A log of `(user, theme, time)`; theme `t` has the items `2t + 1` and `2t + 2`.
fn log(users: usize, themes: u32, rows: &[(u32, u32, i64)]) -> Log {
    let mut log = SyntheticConfig { users: 2, events: 20, ..SyntheticConfig::default() }.generate().unwrap();
    let event = |(n, &(user, theme, time)): (usize, &(u32, u32, i64))| Event {
        user,
        item: 2 * theme + 1 + n as u32 % 2,
        time,
        behaviour: 0,
        rating: None,
        session: None,
    };
    let events = rows.iter().enumerate().map(event).collect();
    log.interactions = Interactions::from_events(users, events).unwrap();
    log.catalog.items = 2 * themes as usize + 1;
    log.catalog.categories = Some((0..=2 * themes).map(|item| item.div_ceil(2)).collect());
    log.catalog.category_count = themes as usize + 1;
    log.catalog.content = None;
    log
}

fn config(log: &Log) -> HoppingConfig {
    let sessions = vec![GAP, Sessionizer::Gap { seconds: 5 }];
    HoppingConfig {
        permutations: 3,
        draws: 20,
        distances: 5,
        clusters: 3,
        ..HoppingConfig::new(log, sessions)
    }
}

fn rows() -> impl Strategy<Value = Vec<(u32, u32, i64)>> {
    prop::collection::vec((0u32..6, 0u32..5, 0i64..500), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn names_of_themes_do_not_matter(rows in rows(), seed: u64) {
        let log = log(6, 5, &rows);
        let mut names: Vec<u32> = (1..=5).collect();
        names.shuffle(&mut rng::stream(seed, "test", &[]));
        let mut renamed = log.clone();
        let of_item = renamed.catalog.categories.as_mut().unwrap();
        of_item.iter_mut().filter(|c| **c > 0).for_each(|c| *c = names[*c as usize - 1]);
        prop_assert_eq!(study(&log, &config(&log)).unwrap(), study(&renamed, &config(&log)).unwrap());
    }

    #[test]
    fn threads_do_not_matter(rows in rows(), clustered: bool) {
        let log = log(6, 5, &rows);
        let themes = if clustered { ThemeSource::Cooccurrence } else { ThemeSource::Category };
        let config = HoppingConfig { themes, ..config(&log) };
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| study(&log, &config)).map_err(|e| e.to_string())
        };
        prop_assert_eq!(on(1), on(3));
    }

    #[test]
    fn sessions_of_one_theme_never_hop_inside(rows in rows()) {
        // Each slot of 40 seconds has a theme, and events of different slots are over 20 seconds apart.
        let rows: Vec<(u32, u32, i64)> =
            rows.iter().map(|(u, _, t)| (*u, (t / 40) as u32, t / 40 * 40 + t % 15)).collect();
        let log = log(6, 13, &rows);
        let found = study(&log, &config(&log)).unwrap();
        let changes = &found.changes[0];
        prop_assert!(changes.inside.is_none_or(|rate| rate.value == 0.0));
        prop_assert!(changes.border.is_none_or(|rate| rate.value == 1.0));
        prop_assert!(found.returns.switched.is_none_or(|rate| rate.value == 1.0));
        prop_assert!(found.decay.first().is_none_or(|at| at.similarity.unwrap().value == 0.0));
    }

    #[test]
    fn shares_are_shares(rows in rows()) {
        let log = log(6, 5, &rows);
        let found = study(&log, &config(&log)).unwrap();
        let mut all = vec![found.returns.switched, found.returns.returned, found.returns.returned_permuted];
        for c in &found.changes {
            all.extend([c.inside, c.border, c.shuffled]);
            prop_assert!(c.sessions_per_user.mean * found.users as f64 * c.events_per_session.mean - (rows.len() as f64) < 1e-6);
        }
        found.decay.iter().for_each(|at| all.extend([at.similarity, at.permuted]));
        for e in all.into_iter().flatten() {
            prop_assert!((0.0..=1.0 + 1e-9).contains(&e.value), "{e:?}");
            prop_assert!(e.lo.is_none_or(|lo| lo <= e.hi.unwrap()));
        }
        prop_assert_eq!(found.events, rows.len());
    }
}

/// Users with themes of their own, sessions without any.
fn unstructured() -> Log {
    let mut draw = rng::stream(5, "test", &[]);
    let mut rows = Vec::new();
    for user in 0..120 {
        // Users with many themes have short sessions, which must not pass for session hopping.
        let (own, time) = (if user % 2 == 0 { 2 } else { 6 }, &mut 0);
        for _ in 0..80 {
            *time += if draw.random_range(0..if own == 2 { 10 } else { 2 }) == 0 { 100 } else { 5 };
            rows.push((user, (user + draw.random_range(0..own)) % 12, *time));
        }
    }
    log(120, 12, &rows)
}

#[test]
fn a_log_without_structure_has_the_rates_of_chance() {
    let log = unstructured();
    let found = study(&log, &HoppingConfig { draws: 200, ..config(&log) }).unwrap();
    let c = &found.changes[0];
    assert!(c.border.unwrap().value > c.inside.unwrap().value + 0.1, "the raw rates mislead here: {c:?}");
    assert!(
        c.kept_inside.unwrap().value.abs() < 0.02 && c.kept_at_border.unwrap().value.abs() < 0.02,
        "{c:?}"
    );
    let all =
        study(&log, &HoppingConfig { sessions: vec![Sessionizer::Gap { seconds: 9999 }], ..config(&log) });
    let c = all.unwrap().changes[0];
    assert!(
        (c.inside.unwrap().value - c.shuffled.unwrap().value).abs() < 0.01 && c.border.is_none(),
        "{c:?}"
    );
    assert_eq!(found.verdict.outcome, Outcome::Unrelated);
    assert!(found.returns.above.unwrap().value.abs() < 0.03, "{:?}", found.returns);
    assert!(found.decay[0].above.unwrap().value.abs() < 0.02, "{:?}", found.decay[0]);
    // Themes that were learned on the measured sessions would look coherent.
    let learned = HoppingConfig { themes: ThemeSource::Cooccurrence, draws: 200, ..config(&log) };
    assert_eq!(study(&log, &learned).unwrap().verdict.outcome, Outcome::Unrelated);
}

fn synthetic(hopping: bool, themes: ThemeSource) -> Study {
    let log = SyntheticConfig { users: 300, hopping, ..SyntheticConfig::default() }.generate().unwrap();
    let config = HoppingConfig {
        themes,
        clusters: 8,
        draws: 100,
        ..HoppingConfig::new(&log, vec![Sessionizer::Given {}])
    };
    study(&log, &config).unwrap()
}

#[test]
fn planted_hopping_is_found_and_where_there_is_none_none() {
    for themes in [ThemeSource::Planted, ThemeSource::Content, ThemeSource::Cooccurrence] {
        for (hopping, wanted) in [(true, Outcome::Hopping), (false, Outcome::Unrelated)] {
            let found = synthetic(hopping, themes.clone());
            assert_eq!(found.verdict.outcome, wanted, "{themes}: {}", found.verdict.sentence);
        }
    }
    // A tenth of the events are of any theme: 1 - (0.9 + 0.1 / 8)^2 - 7 (0.1 / 8)^2.
    let inside = synthetic(true, ThemeSource::Planted).changes[0].inside.unwrap().value;
    assert!((inside - 0.166).abs() < 0.01, "{inside}");
    // Clusters by co-occurrence are nearly the planted themes.
    let learned = synthetic(true, ThemeSource::Cooccurrence).changes[0].inside.unwrap().value;
    assert!((learned - inside).abs() < 0.03, "{learned} and {inside}");
}

#[test]
fn means_of_vectors_are_compared_where_there_are_vectors() {
    let log = SyntheticConfig { users: 60, ..SyntheticConfig::default() }.generate().unwrap();
    let config = |themes| HoppingConfig {
        themes,
        similarity: SessionVectors::Means,
        draws: 20,
        ..HoppingConfig::new(&log, vec![Sessionizer::Given {}])
    };
    let found = study(&log, &config(ThemeSource::Content)).unwrap();
    assert!(found.decay[0].similarity.unwrap().value < found.decay[0].permuted.unwrap().value);
    let refused = study(&log, &config(ThemeSource::Planted)).unwrap_err().to_string();
    assert!(refused.contains("needs themes that are clusters"), "{refused}");
}

#[test]
fn what_is_missing_is_named() {
    let log = SyntheticConfig { users: 4, ..SyntheticConfig::default() }.generate().unwrap();
    let with = |themes: &str| {
        let themes = ThemeSource::named(themes);
        let config = HoppingConfig { themes, ..HoppingConfig::new(&log, vec![Sessionizer::Given {}]) };
        study(&log, &config).unwrap_err().to_string()
    };
    let wanted =
        "hopping.themes = category: this log has no categories; it has content, planted, cooccurrence";
    assert_eq!(with("category"), wanted);
    assert!(with("brand").contains("brand: this log has no such attribute"));
    let none = HoppingConfig { clusters: 0, ..HoppingConfig::new(&log, vec![Sessionizer::Given {}]) };
    assert!(
        study(&log, &none).unwrap_err().to_string().contains("clusters = 0: must lie between 1 and 1000")
    );
}

#[test]
fn the_taobao_sample_hops_as_known() {
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/taobao-userbehavior-814u");
    if !sample.exists() {
        eprintln!("skipped: {} is missing", sample.display());
        return;
    }
    let log = Source::new("taobao", Some(sample)).complete().unwrap().load().unwrap();
    let gaps = [30, 10, 60, 240].map(|minutes| Sessionizer::Gap { seconds: 60 * minutes });
    let found =
        study(&log, &HoppingConfig { draws: 100, ..HoppingConfig::new(&log, gaps.to_vec()) }).unwrap();
    let near = |found: f64, known: f64| assert!((found - known).abs() < 0.001, "{found}, known is {known}");
    let half_hour = &found.changes[0];
    near(half_hour.inside.unwrap().value, 0.534);
    near(half_hour.border.unwrap().value, 0.870);
    // Known from one permutation; others give 0.886 to 0.888.
    assert!((half_hour.shuffled.unwrap().value - 0.888).abs() < 0.003, "{half_hour:?}");
    near(found.returns.switched.unwrap().value, 0.846);
    near(found.returns.returned.unwrap().value, 0.304);
    assert_eq!((half_hour.sessions_per_user.median, half_hour.events_per_session.median), (15.0, 3.0));
    assert!((half_hour.sessions_per_user.mean - 17.3).abs() < 0.05);
    assert!((half_hour.events_per_session.mean - 6.0).abs() < 0.05);
    for c in &found.changes {
        assert!((0.515..0.565).contains(&c.inside.unwrap().value), "{c:?}");
        assert!((0.835..0.905).contains(&c.border.unwrap().value), "{c:?}");
    }
    assert_eq!(found.verdict.outcome, Outcome::Hopping, "{}", found.verdict.sentence);
}
