//! Tables from results, one file each; [`crate::export`] writes them.

mod ablation;
mod accuracy;
mod cost;
mod length;
pub mod published;
mod routing;

use crate::{
    export::Format,
    results::{Cell, Results},
    routing::RoutingRecord,
    stats::{Interval, Paired},
};

pub use ablation::ablation;
pub use accuracy::{accuracy, weightings};
pub use cost::cost;
pub use length::length;
pub use routing::routing;

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

const DID_NOT_LEARN: &str =
    "† a run with AUC below 0.55 or undefined, or one that diverged: it did not learn.";

/// What the figures of a table were made from.
fn provenance(results: &Results) -> String {
    format!(
        "data {}, split {}, configuration {}, commit {}",
        short(&results.data.sha256),
        short(&results.data.split_sha256),
        short(&results.config_sha256),
        results.commit
    )
}

fn name(cell: &Cell) -> String {
    if cell.collapsed() { format!("{}{MARK}", cell.encoder) } else { cell.encoder.clone() }
}

/// The mixture of a row, with its length where rows differ in it.
pub(crate) fn mixture(results: &Results, cell: &Cell) -> String {
    let one = results.cells.iter().all(|c| c.max_length == cell.max_length);
    if one { cell.mixture.clone() } else { format!("{}, L = {}", cell.mixture, cell.max_length) }
}

/// Every table that a run has something for, by name.
pub fn all(results: &Results, routed: &[RoutingRecord]) -> Vec<(&'static str, Table)> {
    let mut all =
        vec![("accuracy", accuracy(results)), ("weightings", weightings(results)), ("cost", cost(results))];
    if results.cells.iter().any(|c| c.variant.is_some()) {
        all.push(("ablation", ablation(results, &|_| true)));
    }
    if results.cells.iter().any(|c| c.max_length != results.cells[0].max_length) {
        all.push(("length", length(results, &|_| true)));
    }
    if !routed.is_empty() {
        all.push(("routing", routing(&results.data.name, routed)));
    }
    all
}

/// The same in Markdown.
pub fn markdown(results: &Results, routed: &[RoutingRecord]) -> String {
    let all = all(results, routed);
    all.iter().map(|(_, t)| t.render(Format::Markdown)).collect::<Vec<_>>().join("\n")
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
