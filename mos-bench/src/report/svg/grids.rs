//! Drawings made of cells: heat maps, and strips of coloured events.

use maud::{Markup, html};

use super::{Anchor, Ink, Mark, TEXT, drawing, fitted, px, straight, text, text_width};

/// A heat map: a row for each name, a column for each short name, values from 0 (the page) to 1 (full colour). Values beyond
/// are cut; where a cell is wide enough its value is written into it, in percent.
pub(crate) fn heat(
    title: &str,
    width: f64,
    rows: &[String],
    columns: &[String],
    values: &[Vec<f64>],
) -> Markup {
    const ROW: f64 = 20.0;
    let names = rows.iter().map(|r| text_width(r)).fold(0.0, f64::max).min((0.35 * width).min(220.0));
    let left = names + 8.0;
    let cell = ((width - left) / columns.len().max(1) as f64).min(56.0);
    // Names of columns that would touch are left out.
    let widest = columns.iter().map(|c| text_width(c)).fold(1.0, f64::max);
    let every = ((widest + 4.0) / cell).ceil().max(1.0) as usize;
    let top = TEXT + 8.0;
    let body = html! {
        @for (j, name) in columns.iter().enumerate().filter(|(j, _)| j.is_multiple_of(every)) {
            (text(left + (j as f64 + 0.5) * cell, TEXT, Anchor::Middle, Ink::Muted, name))
        }
        @for (i, name) in rows.iter().enumerate() {
            @let y = top + i as f64 * ROW;
            (text(left - 8.0, y + 14.0, Anchor::End, Ink::Text, &fitted(name, names)))
            @for (j, value) in values.get(i).into_iter().flatten().enumerate().take(columns.len()) {
                @let x = left + j as f64 * cell;
                @let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
                rect x=(px(x + 0.5)) y=(px(y + 0.5)) width=(px(cell - 1.0)) height=(px(ROW - 1.0)) fill=(Ink::Heat.css())
                    fill-opacity=(format!("{:.2}", 0.03 + 0.97 * value)) {
                    title { (name) ", " (columns[j]) ": " (format!("{:.1} %", 100.0 * value)) }
                }
                @if cell >= 26.0 && value >= 0.005 {
                    @let ink = if value > 0.55 { Ink::Paper } else { Ink::Text };
                    (text(x + cell / 2.0, y + 14.0, Anchor::Middle, ink, &format!("{:.0}", 100.0 * value)))
                }
            }
        }
    };
    drawing(title, width, top + rows.len() as f64 * ROW + 2.0, body)
}

/// One event of a strip.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// Colour.
    pub(crate) ink: Ink,
    /// Whether it begins a new group (a session): there is a gap before it.
    pub(crate) apart: bool,
    /// What is said of it.
    pub(crate) title: String,
    /// Whether it carries a sign.
    pub(crate) marked: bool,
}

/// Events in their order, coloured, groups apart and underlined; it goes on in the next line where it is full.
pub(crate) fn strip(title: &str, width: f64, cells: &[Cell]) -> Markup {
    const WIDE: f64 = 9.0;
    const HIGH: f64 = 18.0;
    const GAP: f64 = 7.0;
    const LINE: f64 = 30.0;
    let (mut x, mut y) = (0.0, 0.0);
    let mut from = 0.0;
    // Where each event stands, and where a group's line under it begins and ends.
    let (mut places, mut under) = (Vec::new(), Vec::new());
    for (i, cell) in cells.iter().enumerate() {
        let apart = cell.apart && i > 0;
        let full = x + WIDE + if apart { GAP } else { 0.0 } > width;
        if i > 0 && (apart || full) {
            under.push((from, x, y));
        }
        match (full, apart) {
            (true, _) => (x, y) = (0.0, y + LINE),
            (false, true) => x += GAP,
            (false, false) => {}
        }
        if full || apart {
            from = x;
        }
        places.push((x, y));
        x += WIDE;
    }
    under.push((from, x, y));
    let body = html! {
        @for (cell, (x, y)) in cells.iter().zip(&places) {
            rect x=(px(x + 0.5)) y=(px(y + 1.0)) width=(px(WIDE - 1.0)) height=(px(HIGH)) rx="1.5" fill=(cell.ink.css()) {
                title { (cell.title) }
            }
            @if cell.marked { (Mark { ink: Ink::Text, shape: 10 }.at(x + WIDE / 2.0, y + 1.0 + HIGH / 2.0, &cell.title)) }
        }
        @for (from, to, y) in under.iter().filter(|(from, to, _)| to > from) {
            (straight((from + 0.5, y + HIGH + 4.5), (to - 0.5, y + HIGH + 4.5), Ink::Muted))
        }
    };
    drawing(title, width, y + HIGH + 8.0, body)
}
