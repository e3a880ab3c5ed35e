//! Stacked horizontal bars.

use maud::{Markup, html};

use super::{Anchor, Ink, Scale, TEXT, drawing, px, straight, text, text_width};

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Its name.
    pub(crate) label: String,
    /// Its parts, from the left: length, colour, what is said of it.
    pub(crate) parts: Vec<(f64, Ink, String)>,
    /// A further value, marked by an upright line.
    pub(crate) tick: Option<f64>,
    /// What stands behind it.
    pub(crate) text: String,
    /// Whether it begins a new group.
    pub(crate) apart: bool,
}

/// Bars below each other, on a common scale from 0. Names stand before the bars, or above them where that takes too much
/// room.
pub(crate) fn bars(title: &str, width: f64, rows: &[Bar]) -> Markup {
    const THICK: f64 = 12.0;
    let widest = |of: fn(&Bar) -> &str| rows.iter().map(|r| text_width(of(r))).fold(0.0, f64::max);
    let (names, texts) = (widest(|r| &r.label) + 8.0, widest(|r| &r.text) + 10.0);
    let above = names + texts > 0.55 * width;
    let left = if above { 0.0 } else { names };
    let ends = rows.iter().flat_map(|r| [r.parts.iter().map(|p| p.0).sum(), r.tick.unwrap_or(0.0)]);
    let scale = Scale::from_zero(ends).onto(left, width - texts);
    let row_height = if above { THICK + TEXT + 8.0 } else { THICK + 6.0 };
    let mut top = 0.0;
    let body = html! {
        @for row in rows {
            @let y = { if row.apart && top > 0.0 { top += 8.0; } top += row_height; top - THICK - 3.0 };
            @if above {
                (text(0.0, y - 4.0, Anchor::Start, Ink::Text, &row.label))
            } @else {
                (text(left - 8.0, y + THICK - 2.0, Anchor::End, Ink::Text, &row.label))
            }
            @let mut from = 0.0;
            @for (length, ink, said) in &row.parts {
                @let x = scale.at(from);
                @let wide = { from += length; scale.at(from) - x };
                rect x=(px(x)) y=(px(y)) width=(px(wide.max(0.5))) height=(px(THICK)) fill=(ink.css()) { title { (said) } }
            }
            @let end = scale.at(from.max(row.tick.unwrap_or(0.0)));
            @if let Some(tick) = row.tick.map(|t| scale.at(t)) {
                g stroke-dasharray="2 2" { (straight((scale.at(from), y + THICK / 2.0), (tick, y + THICK / 2.0), Ink::Muted)) }
                g stroke-width="2" { (straight((tick, y - 1.0), (tick, y + THICK + 1.0), Ink::Text)) }
            }
            (text(end + 6.0, y + THICK - 2.0, Anchor::Start, Ink::Muted, &row.text))
        }
    };
    drawing(title, width, top + 4.0, body)
}
