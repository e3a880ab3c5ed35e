//! Made-up histories.

use mos_data::{
    Catalog, Contexts, Cuts, Dataset, Event, Impression, Interactions, LabelRule, Log, Sessionizer,
    TaskConfig, prepare, rng,
};
use rand::RngExt as _;

use super::Case;

/// One history for each sample of a batch: sessions of ten, a thousand categories.
pub(super) fn data(case: &Case) -> anyhow::Result<Dataset> {
    const STEP: i64 = 600;
    let (mut draw, mut lengths) = (rng::stream(0, "speed", &[]), rng::stream(0, "speed/lengths", &[]));
    let (items, users) = (case.items, case.batch.max(2));
    // A power of a uniform number is log-uniform: rank k with probability ln((k + 1) / k) / ln(items + 1). A multiplier
    // that shares no factor with the number of items scatters popular items over the table.
    let scatter = (7919..).find(|m| gcd(*m, items) == 1).unwrap_or(1);
    let mut item = || {
        if case.kind.uniform {
            return draw.random_range(1..=items as u32);
        }
        let rank = ((items as f64 + 1.0).powf(draw.random::<f64>()) as usize).clamp(1, items) - 1;
        (rank * scatter % items) as u32 + 1
    };
    let mut events = Vec::with_capacity(users * case.length);
    let mut impressions = Vec::new();
    let end = case.length as i64 * STEP;
    for user in 0..users as u32 {
        let length = if case.kind.varied {
            ((case.length as f64 + 1.0).powf(lengths.random::<f64>()) as usize).clamp(1, case.length)
        } else {
            case.length
        };
        // All end at the same time.
        for n in case.length - length..case.length {
            let (time, session) = (n as i64 * STEP, Some(n as u64 / 10));
            events.push(Event { user, item: item(), time, behaviour: 0, rating: None, session });
        }
        let mut shown = |time| Impression { user, item: item(), time, label: (user % 2) as f32 };
        impressions.push(shown(end));
        if user < 2 {
            impressions.extend([shown(end + STEP), shown(end + 2 * STEP)]);
        }
    }
    let group = |i: usize| if i == 0 { 0 } else { (i % 1000) as u32 + 1 };
    let catalog = Catalog {
        items: items + 1,
        categories: Some((0..=items).map(group).collect()),
        category_count: 1001,
        behaviours: 1,
        ..Catalog::default()
    };
    let log = Log {
        name: "speed".into(),
        interactions: Interactions::from_events(users, events)?,
        impressions: Some(impressions),
        published: None,
        contexts: Contexts::default(),
        catalog,
        user_ids: (0..users).map(|u| u.to_string()).collect(),
        item_ids: (0..=items).map(|i| if i == 0 { String::new() } else { i.to_string() }).collect(),
        behaviour_names: vec![String::new()],
        dropped: [].into(),
        ticks_per_second: 1,
        bayes: None,
    };
    let task = TaskConfig {
        label: LabelRule::Impressions {},
        session: Sessionizer::Given {},
        cuts: Cuts::Time { valid: end + 1, test: end + STEP + 1 },
        min_history: 0,
        max_train: None,
        seed: 0,
    };
    Ok(prepare(log, &task)?)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
