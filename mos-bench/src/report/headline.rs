//! The outcome in a few sentences, for and against.

use super::look::{Look, control, counted, significant};
use crate::{
    results::{Cell, Results},
    stats::{Paired, paired_t},
};

/// What the reader should take away: the first sentence is the verdict, the others what qualifies it.
pub(crate) fn sentences(results: &Results, look: &Look) -> Vec<String> {
    // Where histories are cut to several lengths, the longest ones are spoken of.
    let longest = results.cells.iter().map(|c| c.max_length).max().unwrap_or(0);
    let learned: Vec<&Cell> =
        results.cells.iter().filter(|c| !control(c) && c.max_length == longest).collect();
    let best = |cells: &[&Cell]| -> Option<(String, f64)> {
        let means = cells.iter().filter_map(|c| Some((look.name(c), c.auc?.mean)));
        means.max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let mut out = Vec::new();
    // The planted themes are not for sale.
    let fair: Vec<&Cell> = learned.iter().copied().filter(|c| c.mixture != "oracle_themes").collect();
    let top = best(&fair);
    let plain = differences(&learned, |c| c.delta_auc);
    match (&top, summary(&plain, "plain encoder")) {
        (Some((name, auc)), Some(mos)) => out.push(format!("{mos} {name} has the highest AUC, {auc:.4}.")),
        (Some((name, auc)), None) => out.push(format!("{name} has the highest AUC, {auc:.4}.")),
        (None, _) => out.push("No cell has a defined AUC.".into()),
    }
    if let Some(text) =
        summary(&differences(&learned, |c| c.delta_scales_auc), "same experts without themes (scales)")
    {
        out.push(text);
    }
    if let Some(text) = against_random(&learned) {
        out.push(text);
    }
    let controls: Vec<&Cell> = results.cells.iter().filter(|c| control(c)).collect();
    if let (Some((control, high)), Some((_, auc))) = (best(&controls), &top)
        && high >= *auc
    {
        out.push(format!(
            "The control {control} reaches {high:.4} without reading histories as a model does: on this data that \
             comparison says more about the task than about the models."
        ));
    }
    if results.seeds.len() < 5 {
        let seeds = counted(results.seeds.len(), "seed");
        out.push(format!("{seeds}: enough to look at, too few for a claim (five or more)."));
    }
    let collapsed = results.cells.iter().filter(|c| c.collapsed()).count();
    if collapsed > 0 {
        let rows = counted(collapsed, "row");
        out.push(format!(
            "{rows} (†) with a run that did not learn (AUC below 0.55 or undefined, or training that diverged); shown, and in the means."
        ));
    }
    out
}

/// The differences of the `mos` rows.
fn differences(cells: &[&Cell], of: fn(&Cell) -> Option<Paired>) -> Vec<Paired> {
    cells.iter().filter(|c| c.mixture == "mos").filter_map(|c| of(c)).collect()
}

/// How `mos` compares with a base, over encoders.
fn summary(differences: &[Paired], base: &str) -> Option<String> {
    let n = differences.len();
    if n == 0 {
        return None;
    }
    let mean = differences.iter().map(|d| d.mean).sum::<f64>() / n as f64;
    let beyond = |up: bool| differences.iter().filter(|d| significant(d) && (d.mean > 0.0) == up).count();
    let (above, below) = (beyond(true), beyond(false));
    let untested = differences.iter().all(|d| d.p.is_none());
    let verdict = match (above, below) {
        _ if untested => "without a test".to_owned(),
        (0, 0) => format!("a difference beyond chance around none of {}", counted(n, "encoder")),
        (a, 0) => format!("beyond chance around {a} of {}", counted(n, "encoder")),
        (0, b) => format!("below it beyond chance around {b} of {}", counted(n, "encoder")),
        (a, b) => {
            format!("above it beyond chance around {a}, below it around {b} of {}", counted(n, "encoder"))
        }
    };
    let direction = if mean >= 0.0 { "above" } else { "below" };
    let points = 100.0 * mean.abs();
    Some(format!("MoS is {points:.2} points of AUC {direction} the {base} on average, {verdict}."))
}

/// Whether learned themes are worth more than random ones.
fn against_random(cells: &[&Cell]) -> Option<String> {
    let aucs = |cell: &Cell| cell.runs.iter().map(|r| r.auc).collect::<Option<Vec<f64>>>();
    let differences: Vec<Paired> = cells
        .iter()
        .filter(|c| c.mixture == "mos")
        .filter_map(|mos| {
            let random = cells.iter().find(|c| c.encoder == mos.encoder && c.mixture == "random_themes")?;
            paired_t(&aucs(mos)?, &aucs(random)?)
        })
        .collect();
    let n = differences.len();
    let mean = differences.iter().map(|d| d.mean).sum::<f64>() / n as f64;
    match mean {
        m if n == 0 || m.is_nan() => None,
        m if m > 0.002 => Some(format!(
            "Themes learned by the router are worth {:.2} points more than random ones.",
            100.0 * m
        )),
        m => Some(format!(
            "Random themes do as well ({:+.2} points for the learned ones): what is gained is not the router’s.",
            100.0 * m
        )),
    }
}
