//! What a trained router does with histories: load, agreement with what is known of items, stability inside sessions.
//!
//! Measured on one history of each test user, that before their last test sample. Labels are not looked at.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use mos_core::{CtrModel, mos::NO_THEME};
use mos_data::{Batch, Catalog, Dataset, Feed, Sample};
use serde::{Deserialize, Serialize};

use crate::{
    agreement::{Contingency, entropy},
    train::Trial,
};

/// Themes and categories that a heat map shows; more are put together or left out.
const SHOWN: usize = 32;

/// The routing of one trained model. Shares are fractions; what is undefined is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutingRecord {
    /// Encoder.
    pub encoder: String,
    /// Mixture.
    pub mixture: String,
    /// Seed of the training.
    pub seed: u64,
    /// Behaviours that a history keeps.
    pub max_length: usize,
    /// Share of each theme in the behaviours that have one.
    pub load: Vec<f64>,
    /// Share of behaviours without a theme.
    pub unrouted: f64,
    /// Entropy of `load` in nats; its exponential is the number of themes that are as good as used.
    pub entropy: f64,
    /// Normalised mutual information of theme and item category, over behaviours that have both.
    pub nmi: Option<f64>,
    /// Share of behaviours in the commonest category of their theme.
    pub purity: Option<f64>,
    /// `nmi` with the planted themes of synthetic data.
    pub planted_nmi: Option<f64>,
    /// `purity` with them.
    pub planted_purity: Option<f64>,
    /// Share of neighbouring behaviours inside a session that have the same theme.
    pub session_stability: Option<f64>,
    /// The same of the two behaviours at a session border.
    pub border_stability: Option<f64>,
    /// The same of two behaviours drawn at random: the sum of squared loads.
    pub chance_stability: Option<f64>,
    /// Themes by categories.
    pub heat: Heat,
    /// A history with its themes.
    pub example: Example,
}

/// Behaviours by theme and category, or by theme and planted theme where the log has no categories.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// `category`, `planted theme`, or empty where the log has neither.
    pub of: String,
    /// The themes of the rows: the 32 most loaded, in their order.
    pub themes: Vec<usize>,
    /// Names of the columns: the 31 commonest categories, and the rest as `other`.
    pub categories: Vec<String>,
    /// `[themes][categories]`.
    pub counts: Vec<Vec<u64>>,
}

/// The history of one user: the same user in all records, with the median number of sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Raw id.
    pub user: String,
    /// Behaviours, oldest first.
    pub events: Vec<ExampleEvent>,
}

/// One behaviour of an [`Example`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleEvent {
    /// In seconds.
    pub time: i64,
    /// Session of the user.
    pub session: u32,
    /// Theme, if it has one.
    pub theme: Option<usize>,
    /// Category or planted theme of its item, where known.
    pub category: Option<String>,
}

/// What is known of items that themes can agree with.
struct Labels {
    kind: &'static str,
    of_item: Vec<Option<u32>>,
    count: usize,
}

impl Labels {
    fn categories(catalog: &Catalog) -> Option<Self> {
        let of_item = catalog.categories.as_ref()?.iter().map(|c| c.checked_sub(1)).collect();
        Some(Self { kind: "category", of_item, count: catalog.category_count.saturating_sub(1) })
    }

    fn planted(catalog: &Catalog) -> Option<Self> {
        let themes = catalog.themes.as_ref()?;
        let of_item: Vec<Option<u32>> =
            themes.iter().map(|t| (*t != NO_THEME).then_some(u32::from(*t))).collect();
        let count = of_item.iter().flatten().max().map_or(0, |most| *most as usize + 1);
        Some(Self { kind: "planted theme", of_item, count })
    }

    fn name(&self, label: usize) -> String {
        format!("{} {}", self.kind, label + 1)
    }

    fn table(&self, themes: usize, routed: &[(usize, u32)]) -> Contingency {
        let both = routed.iter().filter_map(|(t, item)| Some((*t, self.of_item[*item as usize]? as usize)));
        Contingency::new(themes, self.count, both)
    }
}

/// Where a session goes on, and where the next one begins: pairs, and those with one theme.
#[derive(Default)]
struct Neighbours {
    inside: (u64, u64),
    border: (u64, u64),
}

impl Neighbours {
    fn of(&mut self, batch: &Batch, themes: &[u16]) {
        for history in batch.offsets.windows(2) {
            for at in history[0] + 1..history[1] {
                let (before, after) = (themes[at - 1], themes[at]);
                if before == NO_THEME || after == NO_THEME {
                    continue;
                }
                let same_session = batch.sessions[at - 1] == batch.sessions[at];
                let (pairs, same) = if same_session { &mut self.inside } else { &mut self.border };
                *pairs += 1;
                *same += u64::from(before == after);
            }
        }
    }
}

fn share((all, some): (u64, u64)) -> Option<f64> {
    (all > 0).then(|| some as f64 / all as f64)
}

/// Routes the history of each user of `test` with a trained model; `None` for models without themes.
///
/// # Errors
/// Those of the encoder.
pub fn record(
    trial: &Trial<'_>,
    model: &CtrModel,
    (encoder, mixture, seed): (&str, &str, u64),
    test: &[Sample],
) -> anyhow::Result<Option<RoutingRecord>> {
    let (data, max_length) = (trial.data, trial.experiment.max_length);
    let histories = last_of_each(test);
    // A model without themes has none for the first history.
    let mut routes = false;
    trial.each_batch(&histories[..histories.len().min(1)], |batch, _| {
        routes = model.themes(&batch)?.is_some();
        Ok(())
    })?;
    if !routes {
        return Ok(None);
    }
    let example = typical(data, &histories)?;
    let (mut themes, mut unrouted, mut neighbours) = (0, 0, Neighbours::default());
    let mut routed: Vec<(usize, u32)> = Vec::new();
    let mut shown = None;
    trial.each_batch(&histories, |batch, chunk| {
        let Some(of) = model.themes(&batch)? else { return Ok(()) };
        themes = of.count;
        neighbours.of(&batch, &of.of_rows);
        for (theme, item) in of.of_rows.iter().zip(&batch.items) {
            if *theme == NO_THEME { unrouted += 1 } else { routed.push((usize::from(*theme), *item)) }
        }
        if let Some(at) = chunk.iter().position(|s| Some(s) == example.as_ref()) {
            let rows = batch.offsets[at]..batch.offsets[at + 1];
            let rows = rows.map(|r| (batch.times[r], batch.sessions[r], of.of_rows[r], batch.items[r]));
            shown = Some((data.user_ids[chunk[at].user as usize].clone(), rows.collect::<Vec<_>>()));
        }
        Ok(())
    })?;
    let mut counts = vec![0; themes];
    routed.iter().for_each(|(theme, _)| counts[*theme] += 1);
    let all = routed.len() as f64;
    let load: Vec<f64> = counts.iter().map(|n| *n as f64 / all.max(1.0)).collect();
    let (categories, planted) = (Labels::categories(&data.catalog), Labels::planted(&data.catalog));
    let table = |labels: &Option<Labels>| labels.as_ref().map(|l| l.table(themes, &routed));
    let (by_category, by_planted) = (table(&categories), table(&planted));
    let labels = categories.as_ref().zip(by_category.as_ref()).or(planted.as_ref().zip(by_planted.as_ref()));
    let (user, rows) = shown.unwrap_or_default();
    let events = rows.into_iter().map(|(time, session, theme, item)| ExampleEvent {
        time,
        session,
        theme: (theme != NO_THEME).then_some(usize::from(theme)),
        category: labels.and_then(|(l, _)| Some(l.name(l.of_item[item as usize]? as usize))),
    });
    Ok(Some(RoutingRecord {
        encoder: encoder.into(),
        mixture: mixture.into(),
        seed,
        max_length,
        unrouted: unrouted as f64 / (all + unrouted as f64).max(1.0),
        entropy: entropy(&counts),
        nmi: by_category.as_ref().and_then(Contingency::nmi),
        purity: by_category.as_ref().and_then(Contingency::purity),
        planted_nmi: by_planted.as_ref().and_then(Contingency::nmi),
        planted_purity: by_planted.as_ref().and_then(Contingency::purity),
        session_stability: share(neighbours.inside),
        border_stability: share(neighbours.border),
        chance_stability: (all > 0.0).then(|| load.iter().map(|p| p * p).sum()),
        load,
        heat: labels.map(|(labels, table)| Heat::new(labels, table)).unwrap_or_default(),
        example: Example { user, events: events.collect() },
    }))
}

impl Heat {
    fn new(labels: &Labels, table: &Contingency) -> Self {
        let largest = |counts: Vec<u64>, most: usize| {
            let mut order: Vec<usize> = (0..counts.len()).collect();
            order.sort_by_key(|i| (std::cmp::Reverse(counts[*i]), *i));
            order.truncate(most);
            order.sort_unstable();
            order
        };
        let themes = largest(table.of_rows(), SHOWN);
        let cut = labels.count > SHOWN;
        let kept = largest(table.of_columns(), if cut { SHOWN - 1 } else { SHOWN });
        let row = |theme: &usize| {
            let all = &table.counts()[*theme];
            let mut row: Vec<u64> = kept.iter().map(|c| all[*c]).collect();
            if cut {
                row.push(all.iter().sum::<u64>() - row.iter().sum::<u64>());
            }
            row
        };
        let counts = themes.iter().map(row).collect();
        let mut categories: Vec<String> = kept.iter().map(|c| labels.name(*c)).collect();
        if cut {
            categories.push("other".into());
        }
        Self { of: labels.kind.into(), themes, categories, counts }
    }
}

/// The last sample of each user, users in order.
fn last_of_each(test: &[Sample]) -> Vec<Sample> {
    let mut last: BTreeMap<u32, Sample> = BTreeMap::new();
    for sample in test {
        let entry = last.entry(sample.user).or_insert(*sample);
        if sample.end > entry.end {
            *entry = *sample;
        }
    }
    last.into_values().filter(|s| s.end > 0).collect()
}

/// Of the histories that with the median number of sessions, the first of several.
fn typical(data: &Dataset<Feed>, histories: &[Sample]) -> mos_data::Result<Option<Sample>> {
    // The last behaviour alone says how many sessions there were.
    let mut order = Vec::with_capacity(histories.len());
    data.users.each_batch(histories, 4096, 1, |batch, of| -> mos_data::Result<()> {
        order.extend(batch.sessions.iter().copied().zip(of.iter().copied()));
        Ok(())
    })?;
    order.sort_by_key(|(sessions, s)| (*sessions, s.user));
    let Some((median, _)) = order.get(order.len() / 2) else { return Ok(None) };
    Ok(order.iter().find(|(sessions, _)| sessions == median).map(|(_, s)| *s))
}

/// Reads `routing.json`.
///
/// # Errors
/// A file that cannot be read or holds something else.
pub fn read(path: &Path) -> anyhow::Result<Vec<RoutingRecord>> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("{}: a run writes it where a mixture gives behaviours themes, as mos does", path.display())
    })?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
