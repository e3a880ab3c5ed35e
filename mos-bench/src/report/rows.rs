//! Tables with a small plot in their rows: one row for each cell, grouped by encoder.

use maud::{Markup, html};

use super::{
    look::{Look, control, paired_ends, significant},
    svg::{Ink, Scale, Swatch, interval, interval_axis, swatch},
};
use crate::{
    results::Cell,
    stats::{Interval, Paired},
    tables::Table,
};

/// Width of a plot in a row.
const PLOT: f64 = 160.0;

/// A mean and its ends, where there are some.
pub(crate) type Ends = Option<(f64, Option<(f64, f64)>)>;

/// A column of such a table.
pub(crate) enum Column {
    /// A point and its interval, on one scale for all rows, and the same in figures.
    Plot { name: &'static str, zero: Option<f64>, of: fn(&Cell) -> Ends, text: fn(&Cell) -> Markup },
    /// Text.
    Text { name: &'static str, of: fn(&Cell) -> Markup },
}

/// A row: a cell, and the run it is of where a table holds several.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) cell: &'a Cell,
    pub(crate) run: Option<String>,
}

/// Rows of one run.
pub(crate) fn rows<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Vec<Row<'a>> {
    cells.into_iter().map(|cell| Row { cell, run: None }).collect()
}

/// The table. Groups are rows of one encoder; controls come last, together. It scrolls by itself where it is wider than
/// the page.
pub(crate) fn table(label: &str, look: &Look, rows: &[Row<'_>], columns: &[Column]) -> Markup {
    let scales: Vec<Option<Scale>> = columns
        .iter()
        .map(|column| match column {
            Column::Text { .. } => None,
            Column::Plot { zero, of, .. } => {
                let values = rows.iter().filter_map(|r| of(r.cell)).flat_map(|(mean, ends)| {
                    let (lo, hi) = ends.unwrap_or((mean, mean));
                    [lo, mean, hi]
                });
                Some(Scale::linear(values.chain(*zero)))
            }
        })
        .collect();
    let (controls, others): (Vec<&Row<'_>>, Vec<&Row<'_>>) = rows.iter().partition(|r| control(r.cell));
    let mut groups: Vec<(&str, Ink, Vec<&Row<'_>>)> = Vec::new();
    for row in others {
        let encoder = &row.cell.encoder;
        match groups.iter_mut().find(|g| g.0 == encoder) {
            Some(group) => group.2.push(row),
            None => groups.push((encoder, look.encoder(encoder), vec![row])),
        }
    }
    if !controls.is_empty() {
        groups.push(("controls", Ink::Muted, controls));
    }
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    th scope="col" { "mixture" }
                    @for (column, scale) in columns.iter().zip(&scales) {
                        @match (column, scale) {
                            (Column::Plot { name, .. }, Some(scale)) =>
                                th scope="col" colspan="2" { (name) (interval_axis(name, PLOT, *scale)) },
                            (Column::Plot { name, .. } | Column::Text { name, .. }, _) => th.number scope="col" { (name) },
                        }
                    }
                } }
                @for (group, ink, rows) in &groups {
                    tbody {
                        tr.group { th scope="rowgroup" colspan="1" { (swatch(Swatch::Fill(*ink), group)) (group) }
                            th colspan=(2 * columns.len()) {} }
                        @for Row { cell, run } in rows { tr {
                            th scope="row" {
                                @if control(cell) { (cell.encoder) } @else { (look.with_length(&cell.mixture, cell.max_length)) }
                                @if let Some(run) = run { span.quiet { " · " (run) } }
                                @if cell.collapsed() { span.warning title="a run that did not learn" { " †" } }
                            }
                            @for (column, scale) in columns.iter().zip(&scales) {
                                @match (column, scale) {
                                    (Column::Plot { name, zero, of, text }, Some(scale)) => {
                                        td.plot { (plot(name, *scale, *zero, of(cell), look, cell)) }
                                        td.number { (text(cell)) }
                                    },
                                    (Column::Plot { text, .. } | Column::Text { of: text, .. }, _) => td.number { (text(cell)) },
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// Any table, with its notes; the first `names` columns are names.
pub(crate) fn plain(table: &Table, names: usize) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(table.title) { table {
            thead { tr {
                @for (i, head) in table.header.iter().enumerate() { th.number[i >= names] scope="col" { (head) } }
            } }
            tbody { @for row in &table.rows { tr {
                @for (i, cell) in row.iter().enumerate() {
                    @if i == 0 { th scope="row" { (cell) } } @else { td.number[i >= names] { (cell) } }
                }
            } } }
        } }
        @for note in table.notes.iter().chain(&table.wide_notes) { p.note { (note) } }
    }
}

fn plot(name: &str, scale: Scale, zero: Option<f64>, value: Ends, look: &Look, cell: &Cell) -> Markup {
    let said = match value {
        Some((mean, Some((lo, hi)))) => format!("{name} {mean:.4}, from {lo:.4} to {hi:.4}"),
        Some((mean, None)) => format!("{name} {mean:.4}"),
        None => format!("{name}: none"),
    };
    interval(PLOT, scale, value, zero, look.mark(cell), &said)
}

/// `0.7551 ± 0.0045`, a dash where it is undefined.
pub(crate) fn value(i: Option<Interval>) -> Markup {
    html! {
        @match i {
            Some(Interval { mean, hi, .. }) => {
                (format!("{mean:.4}"))
                @if let Some(hi) = hi { span.quiet { " ± " (format!("{:.4}", hi - mean)) } }
            },
            None => span.quiet { "–" },
        }
    }
}

/// A difference, with a star where it is beyond chance.
pub(crate) fn difference(d: Option<Paired>) -> Markup {
    html! {
        @if let Some((mean, ends)) = paired_ends(d) {
            (format!("{mean:+.4}"))
            @if let Some((_, hi)) = ends { span.quiet { " ± " (format!("{:.4}", hi - mean)) } }
            span.star { @if d.as_ref().is_some_and(significant) { " *" } @else { "\u{a0}\u{a0}" } }
        }
    }
}
