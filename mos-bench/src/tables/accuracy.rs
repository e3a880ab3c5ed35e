//! Accuracy of every row.

use mos_data::LabelRule;

use super::{DID_NOT_LEARN, Table, interval, mixture, name, paired, provenance};
use crate::{
    results::{Cell, Results, RunRecord},
    settings::plain,
    stats::{Interval, t_interval},
};

/// Accuracy of every cell, with its differences to the plain encoder and to `scales`.
pub fn accuracy(results: &Results) -> Table {
    let header = [
        "encoder",
        "mixture",
        "AUC",
        "gAUC",
        "log loss",
        "ECE",
        "ΔAUC to plain",
        "same, over users",
        "ΔgAUC to plain",
        "ΔAUC to scales",
        "AUC, new items",
    ];
    let row = |c: &Cell| {
        vec![
            name(c),
            mixture(results, c),
            interval(c.auc),
            interval(c.gauc),
            interval(c.logloss),
            interval(c.ece),
            paired(c.delta_auc),
            match c.delta_auc_users {
                Some(Interval { lo: Some(lo), hi: Some(hi), .. }) => format!("[{lo:+.4}, {hi:+.4}]"),
                _ => String::new(),
            },
            paired(c.delta_gauc),
            paired(c.delta_scales_auc),
            interval(
                c.runs.iter().map(|r| r.auc_new).collect::<Option<Vec<_>>>().and_then(|a| t_interval(&a)),
            ),
        ]
    };
    let data = &results.data;
    let mut notes = vec![
        format!(
            "Test part of {}: {} samples, {} seeds; predicted: {}. ±: 95 % t interval over seeds; * p < 0.05, paired t, Holm \
             over the differences of one column.",
            data.name,
            data.test_samples,
            results.seeds.len(),
            data.label
        ),
        provenance(results),
    ];
    if let Some(bayes) = data.bayes_auc {
        notes.insert(1, format!("The true click probabilities reach AUC {bayes:.4}."));
    }
    for cell in results.cells.iter().filter(|c| !c.settings.is_empty()) {
        let own: Vec<String> = cell.settings.iter().map(|(key, v)| format!("{key} = {}", plain(v))).collect();
        notes.push(format!("{} x {} alone: {}.", cell.encoder, mixture(results, cell), own.join(", ")));
    }
    if results.cells.iter().any(Cell::collapsed) {
        notes.push(DID_NOT_LEARN.into());
    }
    Table {
        title: format!(
            "Accuracy on {}{}",
            data.name,
            if matches!(data.label, LabelRule::Negatives { .. }) { ", sampled negatives" } else { "" }
        ),
        header: header.map(Into::into).into(),
        rows: results.cells.iter().map(row).collect(),
        wide: vec![5, 7, 10],
        notes,
        wide_notes: vec![
            "Same, over users: 95 % percentile interval when users are drawn again, 500 times, mean over seeds.".into(),
            "ECE: expected calibration error, 15 equal-width bins.".into(),
            "AUC, new items: over the test samples whose target training never met, where there are any.".into(),
            "gAUC: users weighted by impressions; the other weightings have a table of their own.".into(),
        ],
    }
}

/// gAUC in its three weightings.
pub fn weightings(results: &Results) -> Table {
    let header = ["encoder", "mixture", "by impressions", "by positives", "unweighted"];
    let over = |c: &Cell, metric: fn(&RunRecord) -> Option<f64>| {
        let mean = t_interval(&c.runs.iter().map(metric).collect::<Option<Vec<_>>>()?);
        mean.map(|m| format!("{:.4}", m.mean))
    };
    let row = |c: &Cell| {
        let metrics: [fn(&RunRecord) -> Option<f64>; 3] =
            [|r| r.gauc, |r| r.gauc_positives, |r| r.gauc_uniform];
        let values = metrics.map(|m| over(c, m).unwrap_or("–".into()));
        [name(c), mixture(results, c)].into_iter().chain(values).collect()
    };
    let run = results.cells.iter().flat_map(|c| &c.runs).next();
    let (users, samples) = run.map_or((0.0, 0.0), |r| (100.0 * r.gauc_users, 100.0 * r.gauc_samples));
    Table {
        title: format!("gAUC over users on {}", results.data.name),
        header: header.map(Into::into).into(),
        rows: results.cells.iter().map(row).collect(),
        wide: Vec::new(),
        notes: vec![format!(
            "Means over seeds of the users' AUC. {users:.1} % of the users have both labels, and {samples:.1} % of the samples \
             are theirs; the others are left out."
        )],
        wide_notes: Vec::new(),
    }
}
