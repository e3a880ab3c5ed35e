//! Figures that others published on the same data, marked as theirs.

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::Table;
use crate::results::{Cell, Results};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    set: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    source: String,
    matches: Vec<String>,
    name: String,
    lengths: Vec<usize>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model: String,
    /// AUC and gAUC in per cent, one pair for each length.
    values: Vec<[f64; 2]>,
}

/// The published rows at the length that is nearest to the run's, each beside our row of the same encoder by itself.
///
/// # Errors
/// Results on data that nobody published these figures for.
pub fn table(results: &Results) -> anyhow::Result<Table> {
    let all: Published = toml::from_str(include_str!("published.toml")).context("published.toml")?;
    let ours = results.data.name.to_lowercase();
    let Some(set) = all.set.iter().find(|s| s.matches.iter().any(|m| ours.contains(m))) else {
        let names: Vec<&str> = all.set.iter().map(|s| s.name.as_str()).collect();
        bail!("--published: there are figures of {}, and none of {}", names.join(", "), results.data.name);
    };
    let longest = results.cells.iter().map(|c| c.max_length).max().unwrap_or_default();
    let at = (0..set.lengths.len()).min_by_key(|i| set.lengths[*i].abs_diff(longest)).unwrap_or_default();
    let percent = |x: f64| format!("{:.4}", x / 100.0);
    let row = |row: &Row| {
        let encoder = row.model.to_lowercase();
        let mine = |c: &&Cell| c.encoder == encoder && c.mixture == "none" && c.max_length == longest;
        let mine = results.cells.iter().find(mine);
        let [auc, gauc] = row.values[at];
        let mean = |i: Option<crate::stats::Interval>| i.map_or(String::new(), |i| format!("{:.4}", i.mean));
        vec![
            row.model.clone(),
            percent(auc),
            percent(gauc),
            mean(mine.and_then(|c| c.auc)),
            mean(mine.and_then(|c| c.gauc)),
        ]
    };
    Ok(Table {
        title: format!("Published on {}, L = {}: theirs", set.name, set.lengths[at]),
        header: ["model", "AUC, theirs", "gAUC, theirs", "AUC, ours", "gAUC, ours"].map(Into::into).into(),
        rows: set.rows.iter().map(row).collect(),
        wide: Vec::new(),
        notes: vec![
            format!("Theirs: {}; their samples and settings, nothing run here.", set.source),
            format!("Ours: the encoder by itself on {}, L = {longest}, mean over seeds.", results.data.name),
        ],
        wide_notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_pair_for_each_length() {
        let all: Published = toml::from_str(include_str!("published.toml")).unwrap();
        assert_eq!(all.set.len(), 5);
        for set in all.set {
            assert!(set.rows.len() >= 10);
            for row in set.rows {
                assert_eq!(row.values.len(), set.lengths.len(), "{} on {}", row.model, set.name);
                assert!(row.values.iter().flatten().all(|x| (60.0..80.0).contains(x)), "{}", row.model);
            }
        }
    }
}
