//! Tables from results, one file each: for the terminal and in Markdown, from the same rows.

mod ablation;
mod accuracy;
mod cost;
mod length;
pub mod published;
mod routing;

use std::fmt::Write as _;

use comfy_table::{LineStyle, TableStyle};

use crate::{
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

impl Table {
    /// For a terminal: without the wide columns, gaps around the rows of each encoder.
    pub fn to_terminal(&self) -> String {
        const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
        let style = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
        let narrow = |row: &[String]| -> Vec<String> {
            row.iter().enumerate().filter(|(i, _)| !self.wide.contains(i)).map(|(_, c)| c.clone()).collect()
        };
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(narrow(&self.header));
        let mut before = 0;
        let encoder = |row: &[String]| row[0].trim_end_matches(MARK).to_owned();
        for group in self.rows.chunk_by(|a, b| encoder(a) == encoder(b)) {
            if before > 1 || (before > 0 && group.len() > 1) {
                table.add_row([""]);
            }
            table.add_rows(group.iter().map(|row| narrow(row)));
            before = group.len();
        }
        let mut out = format!("{}\n{table}\n", self.title);
        self.notes.iter().for_each(|n| out += &format!("{n}\n"));
        out
    }

    /// In Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut out =
            format!("## {}\n\n{}|{}\n", self.title, line(&self.header), " --- |".repeat(self.header.len()));
        self.rows.iter().for_each(|row| out += &line(row));
        self.notes.iter().chain(&self.wide_notes).for_each(|n| {
            let _ = write!(out, "\n{n}\n");
        });
        out
    }
}

/// Mean and half interval; the mean alone after a single run, a dash where it is undefined.
fn interval(i: Option<Interval>) -> String {
    match i {
        Some(Interval { mean, hi: Some(hi), .. }) => format!("{mean:.4} ± {:.4}", hi - mean),
        Some(Interval { mean, .. }) => format!("{mean:.4}"),
        None => "–".into(),
    }
}

fn paired(d: Option<Paired>) -> String {
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
const MARK: &str = " †";

fn name(cell: &Cell) -> String {
    if cell.collapsed() { format!("{}{MARK}", cell.encoder) } else { cell.encoder.clone() }
}

/// The mixture of a row, with its length where rows differ in it.
fn mixture(results: &Results, cell: &Cell) -> String {
    let one = results.cells.iter().all(|c| c.max_length == cell.max_length);
    if one { cell.mixture.clone() } else { format!("{}, L = {}", cell.mixture, cell.max_length) }
}

/// Every table that a run has something for, in Markdown.
pub fn markdown(results: &Results, routed: &[RoutingRecord]) -> String {
    let mut all = vec![accuracy(results), weightings(results), cost(results)];
    if results.cells.iter().any(|c| c.variant.is_some()) {
        all.push(ablation(results));
    }
    if results.cells.iter().any(|c| c.max_length != results.cells[0].max_length) {
        all.push(length(results));
    }
    if !routed.is_empty() {
        all.push(routing(&results.data.name, routed));
    }
    all.iter().map(Table::to_markdown).collect::<Vec<_>>().join("\n")
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_stable() {
        let row = |a: &str| vec![a.to_owned(), "0.7".to_owned()];
        let table = Table {
            title: "T".into(),
            header: row("name"),
            rows: vec![row("x"), row("y"), row("y")],
            wide: vec![1],
            notes: vec!["Note.".into()],
            wide_notes: Vec::new(),
        };
        assert_eq!(
            table.to_markdown(),
            "## T\n\n| name | 0.7 |\n| --- | --- |\n| x | 0.7 |\n| y | 0.7 |\n| y | 0.7 |\n\nNote.\n"
        );
        assert_eq!(
            table.to_terminal(),
            "T\n──────\n name \n──────\n x    \n      \n y    \n y    \n──────\nNote.\n"
        );
    }
}
