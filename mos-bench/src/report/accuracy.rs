//! Accuracy, gAUC weightings and calibration.

use maud::{Markup, html};
use mos_data::LabelRule;

use super::{
    Section,
    files::RunFiles,
    look::{Look, control, counted, ends, paired_ends},
    rows::{Column, Row, difference, rows, table, value},
    svg::{Chart, Ink, NARROW, Points, Scale, compact, multiples},
};
use crate::{
    results::{Cell, RunRecord},
    stats::{Interval, t_interval},
};

/// Over the seeds of a cell; `None` if a run has none.
fn over(cell: &Cell, metric: fn(&RunRecord) -> Option<f64>) -> Option<Interval> {
    t_interval(&cell.runs.iter().map(metric).collect::<Option<Vec<_>>>()?)
}

/// AUC of every cell, with its differences.
pub(crate) fn section(run: &RunFiles, look: &Look) -> Section {
    let results = &run.results;
    let cells = &results.cells;
    let mut columns =
        vec![Column::Plot { name: "AUC", zero: None, of: |c| ends(c.auc), text: |c| value(c.auc) }];
    if cells.iter().any(|c| c.delta_auc.is_some()) {
        columns.push(Column::Plot {
            name: "ΔAUC to plain",
            zero: Some(0.0),
            of: |c| paired_ends(c.delta_auc),
            text: |c| difference(c.delta_auc),
        });
    }
    if cells.iter().any(|c| c.delta_auc_users.is_some()) {
        let users = |c: &Cell| {
            let span = c.delta_auc_users.and_then(|i| i.lo.zip(i.hi));
            html! { @if let Some((lo, hi)) = span { "[" (format!("{lo:+.4}")) ", " (format!("{hi:+.4}")) "]" } }
        };
        columns.push(Column::Text { name: "same, over users", of: users });
    }
    if cells.iter().any(|c| c.delta_scales_auc.is_some()) {
        columns.push(Column::Text { name: "ΔAUC to scales", of: |c| difference(c.delta_scales_auc) });
    }
    columns.push(Column::Text { name: "gAUC", of: |c| value(c.gauc) });
    if cells.iter().any(|c| c.delta_gauc.is_some()) {
        columns.push(Column::Text { name: "ΔgAUC to plain", of: |c| difference(c.delta_gauc) });
    }
    columns.push(Column::Text { name: "log loss", of: |c| value(c.logloss) });
    if cells.iter().any(|c| over(c, |r| r.auc_new).is_some()) {
        columns.push(Column::Text { name: "AUC, new items", of: |c| value(over(c, |r| r.auc_new)) });
    }
    let data = &results.data;
    let sampled = matches!(data.label, LabelRule::Negatives { .. });
    let body = html! {
        (table("Accuracy", look, &rows(cells), &columns))
        p.note {
            "Test part of " (data.name) ": " (data.test_samples) " samples, " (counted(results.seeds.len(), "seed"))
            "; predicted: " (data.label.to_string()) ". "
            @if sampled { "The negatives are sampled. " }
            @if results.seeds.len() > 1 {
                "±: 95 % t interval over seeds. * p < 0.05: paired t over seeds, Holm over the differences of one column. "
                "Over users: 95 % interval when users are drawn again, 500 times. "
            } @else { "With one seed there are no intervals and no tests. " }
            @if let Some(bayes) = data.bayes_auc { "The true click probabilities reach AUC " (format!("{bayes:.4}")) ". " }
            @if results.cells.iter().any(Cell::collapsed) {
                span.warning { "† a run with AUC below 0.55 or undefined, or one that diverged: it did not learn; it is in the means." }
            }
        }
    };
    Section { id: "accuracy", title: "Accuracy", body }
}

/// gAUC, weighted in three ways.
pub(crate) fn weightings(run: &RunFiles, look: &Look) -> Section {
    let results = &run.results;
    let cells = &results.cells;
    let columns = [
        Column::Plot { name: "by impressions", zero: None, of: |c| ends(c.gauc), text: |c| value(c.gauc) },
        Column::Text { name: "by positives", of: |c| value(over(c, |r| r.gauc_positives)) },
        Column::Text { name: "unweighted", of: |c| value(over(c, |r| r.gauc_uniform)) },
    ];
    let first = results.cells.iter().flat_map(|c| &c.runs).next();
    let body = html! {
        (table("gAUC in three weightings", look, &rows(cells), &columns))
        p.note {
            "The mean of the users’ AUC, each weighted by its samples (FuxiCTR, LongCTR), by its positives (RecBole), or not. "
            @if let Some(r) = first {
                (format!("{:.1}", 100.0 * r.gauc_users)) " % of the users have both labels, and "
                (format!("{:.1}", 100.0 * r.gauc_samples)) " % of the samples are theirs; the others are left out."
            }
        }
    };
    Section { id: "weightings", title: "gAUC in three weightings", body }
}

/// How well predicted probabilities are probabilities.
pub(crate) fn calibration(run: &RunFiles, look: &Look) -> Section {
    let cells: Vec<&Cell> =
        run.results.cells.iter().filter(|c| c.logloss.is_some() || c.ece.is_some()).collect();
    let columns = [
        Column::Plot { name: "ECE", zero: None, of: |c| ends(c.ece), text: |c| value(c.ece) },
        Column::Plot { name: "log loss", zero: None, of: |c| ends(c.logloss), text: |c| value(c.logloss) },
    ];
    let body = html! {
        @if cells.is_empty() {
            p { "No cell has a defined log loss." }
        } @else {
            (table("Calibration", look, &rows(cells.iter().copied()), &columns))
            p.note {
                "ECE: expected calibration error, the mean distance between predicted probability and click rate over 15 "
                "equal-width bins, weighted by samples. Log loss in nats."
            }
            (reliability(run, look))
        }
    };
    Section { id: "calibration", title: "Calibration", body }
}

/// Click rate against predicted probability, a panel for each encoder, a line for each mixture.
fn reliability(run: &RunFiles, look: &Look) -> Markup {
    let curve = |c: &Cell| -> Option<(String, Points)> {
        let (labels, seeds) = run.logits(c)?;
        Some((c.mixture.clone(), reliable(labels, seeds)))
    };
    let mut panels: Vec<(&str, Vec<(String, Points)>)> = Vec::new();
    for cell in run.results.cells.iter().filter(|c| !control(c)) {
        let Some(line) = curve(cell) else { continue };
        match panels.iter_mut().find(|p| p.0 == cell.encoder) {
            Some(panel) => panel.1.push(line),
            None => panels.push((&cell.encoder, vec![line])),
        }
    }
    if panels.is_empty() {
        return html! { p.note { "The run folder holds no test scores, so there are no reliability curves." } };
    }
    let most =
        panels.iter().flat_map(|p| &p.1).flat_map(|l| &l.1).flat_map(|p| [p.0, p.1]).fold(0.1, f64::max);
    let drawn = panels.iter().map(|(encoder, lines)| {
        let scale = Scale::between(0.0, (most * 1.05).min(1.0));
        let mut chart = Chart::new(
            &format!("Click rate against predicted probability, {encoder}"),
            (NARROW, 240.0),
            ("predicted", scale),
            ("click rate", scale),
            0.0,
        );
        chart.line(Ink::Muted, true, &[(0.0, 0.0), (most, most)], "perfect");
        for (mixture, points) in lines {
            chart.line(look.mixture(mixture), false, points, mixture);
        }
        ((*encoder).to_owned(), chart.finish())
    });
    let caption = html! {
        "Click rate against predicted probability in 15 bins of equal width, all seeds together; bins with fewer than 20 "
        "samples are left out. On the dashed line a probability is what it says."
    };
    html! { h3 { "Reliability" } (look.mixtures_legend()) (multiples(caption, drawn)) }
}

/// Mean prediction and click rate of each bin with 20 samples or more.
fn reliable(labels: &[f32], seeds: &[Vec<f32>]) -> Points {
    const BINS: usize = 15;
    let mut bins = [(0.0, 0.0, 0u64); BINS];
    for (logit, label) in seeds.iter().flat_map(|s| s.iter().zip(labels)).filter(|(x, _)| !x.is_nan()) {
        let p = 1.0 / (1.0 + (-f64::from(*logit)).exp());
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + p, bin.1 + f64::from(*label), bin.2 + 1);
    }
    bins.iter().filter(|b| b.2 >= 20).map(|(p, y, n)| (p / *n as f64, y / *n as f64)).collect()
}

/// One table of the cells of several runs on the same data, each with the name of its run.
pub(crate) fn joint(runs: &[(String, &RunFiles)], look: &Look) -> Markup {
    let cells = runs
        .iter()
        .flat_map(|(name, run)| run.results.cells.iter().map(|cell| Row { cell, run: Some(name.clone()) }));
    let columns = [
        Column::Plot { name: "AUC", zero: None, of: |c| ends(c.auc), text: |c| value(c.auc) },
        Column::Text { name: "gAUC", of: |c| value(c.gauc) },
        Column::Text { name: "log loss", of: |c| value(c.logloss) },
        Column::Text { name: "MACs", of: |c| html! { (compact(c.macs_per_sample.total as f64)) } },
    ];
    table("Cells of all runs", look, &cells.collect::<Vec<_>>(), &columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_of_reliability() {
        // 30 predictions of 0.5 of which 15 are clicked, and 10 of nearly 1, too few to show.
        let labels: Vec<f32> = (0..40).map(|i| f32::from(i % 2 == 0)).collect();
        let logits: Vec<f32> = (0..40).map(|i| if i < 30 { 0.0 } else { 9.0 }).collect();
        assert_eq!(reliable(&labels, &[logits]), [(0.5, 0.5)]);
    }
}
