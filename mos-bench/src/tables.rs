//! Tables from results; [`crate::export`] writes them.

use mos_data::LabelRule;

use crate::{
    export::Format,
    results::{Cell, Results, RunRecord},
    stats::{Interval, Paired, t_interval},
};

/// A titled table with notes below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Title.
    pub title: String,
    /// Column names.
    pub header: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
    /// Columns that a terminal has no room for.
    pub wide: Vec<usize>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// The same of the wide columns.
    pub wide_notes: Vec<String>,
}

/// Mean and half interval; the mean alone after a single run, a dash where it is undefined.
pub(crate) fn interval(i: Option<Interval>) -> String {
    match i {
        Some(Interval { mean, hi: Some(hi), .. }) => format!("{mean:.4} ± {:.4}", hi - mean),
        Some(Interval { mean, .. }) => format!("{mean:.4}"),
        None => "–".into(),
    }
}

pub(crate) fn paired(d: Option<Paired>) -> String {
    match d {
        Some(Paired { mean, hi: Some(hi), p, .. }) => {
            let star = if p.is_some_and(|p| p < 0.05) { " *" } else { "" };
            format!("{mean:+.4} ± {:.4}{star}", hi - mean)
        }
        Some(Paired { mean, .. }) => format!("{mean:+.4}"),
        None => String::new(),
    }
}

/// Follows the name of a row with a run that did not learn.
pub(crate) const MARK: &str = " †";

fn name(cell: &Cell) -> String {
    if cell.collapsed() { format!("{}{MARK}", cell.encoder) } else { cell.encoder.clone() }
}

/// Every table of a run, in Markdown.
pub fn markdown(results: &Results) -> String {
    [accuracy(results), weightings(results), cost(results)].map(|t| t.render(Format::Markdown)).join("\n")
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
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
        [name(c), c.mixture.clone()].into_iter().chain(values).collect()
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
            c.mixture.clone(),
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
        format!(
            "data {}, split {}, configuration {}, commit {}",
            short(&data.sha256),
            short(&data.split_sha256),
            short(&results.config_sha256),
            results.commit
        ),
    ];
    if let Some(bayes) = data.bayes_auc {
        notes.insert(1, format!("The true click probabilities reach AUC {bayes:.4}."));
    }
    if results.cells.iter().any(Cell::collapsed) {
        notes.push("† a run with AUC below 0.55 or undefined: it did not learn.".into());
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

/// Cost of every cell.
pub fn cost(results: &Results) -> Table {
    let header = [
        "encoder",
        "mixture",
        "encoder MACs",
        "router MACs",
        "head MACs",
        "MACs",
        "FLOPs",
        "MACs as published",
        "embedding params",
        "dense params",
        "train ms/1000",
        "score ms/1000",
    ];
    let row = |c: &Cell| {
        let m = c.macs_per_sample;
        let speed = |of: fn(&crate::results::Speed) -> f64| {
            c.ms_per_1000.map_or("–".into(), |s| format!("{:.1}", of(&s)))
        };
        let numbers = [m.encoder, m.router, m.head, m.total, 2 * m.total, m.published].map(|n| n.to_string());
        let mut row = vec![c.encoder.clone(), c.mixture.clone()];
        row.extend(numbers);
        row.extend([
            c.params.embedding.to_string(),
            c.params.dense.to_string(),
            speed(|s| s.train),
            speed(|s| s.score),
        ]);
        row
    };
    Table {
        title: format!("Cost on {}", results.data.name),
        header: header.map(Into::into).into(),
        rows: results.cells.iter().filter(|c| c.params.dense > 0).map(row).collect(),
        wide: vec![2, 3, 4],
        wide_notes: vec![
            "MACs as published: with every encoder in the form of its paper, before the algebra that leaves the function \
             unchanged and saves work (attention folded around the history, a last layer that computes what is read)."
                .into(),
        ],
        notes: vec![
            "MACs: multiply-adds executed to score one test sample at its own history length, no padding; 1 MAC = 2 FLOPs. \
             Softmax, norms, element-wise operations, pooling sums and look-ups are not counted. Times: one batch with fresh \
             weights, all threads, median of three."
                .into(),
        ],
    }
}
