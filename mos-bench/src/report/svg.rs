//! Drawings as inline SVG: charts with axes, bars, heat maps, strips, intervals, legends.
//!
//! Units are CSS pixels and text is 12 px high, so a drawing is made for the width at which it is shown: [`figure`] draws
//! once for a desktop and once for a phone, and the style sheet shows one of them. Colours are custom properties of the
//! style sheet, which has them for light and dark. All text is escaped.

mod bars;
mod chart;
mod grids;
mod interval;
mod scale;

use maud::{Markup, PreEscaped, html};

pub(crate) use self::{
    bars::{Bar, bars},
    chart::{Chart, Label, Points},
    grids::{Cell, heat, strip},
    interval::{interval, interval_axis},
    scale::{Scale, compact},
};

/// Width of a drawing on a desktop.
pub(crate) const WIDE: f64 = 1040.0;
/// Width of a drawing on a phone, and of one among several beside each other.
pub(crate) const NARROW: f64 = 340.0;
/// Height of text.
const TEXT: f64 = 12.0;

/// A colour of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Of text.
    Text,
    /// Of what stands back.
    Muted,
    /// Of grids and axes.
    Rule,
    /// Of the page.
    Paper,
    /// Of the quantity of a heat map.
    Heat,
    /// One of ten that differ; they begin again after ten.
    Series(usize),
}

impl Ink {
    /// As a CSS value.
    pub(crate) fn css(self) -> String {
        match self {
            Self::Text => "var(--text)".into(),
            Self::Muted => "var(--muted)".into(),
            Self::Rule => "var(--rule)".into(),
            Self::Paper => "var(--paper)".into(),
            Self::Heat => "var(--heat)".into(),
            Self::Series(i) => format!("var(--c{})", i % 10),
        }
    }
}

/// The sign of a point: colour, and one of twenty shapes (ten, filled and hollow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Colour.
    pub(crate) ink: Ink,
    /// Number of the shape; they begin again after twenty.
    pub(crate) shape: usize,
}

impl Mark {
    /// Half its width.
    pub(crate) const RADIUS: f64 = 4.5;

    /// Drawn around a point.
    pub(crate) fn at(self, x: f64, y: f64, title: &str) -> Markup {
        let r = Self::RADIUS;
        let polygon = |corners: &[(f64, f64)]| {
            let corner = |(dx, dy): &(f64, f64)| format!("{} {}", px(x + r * dx), px(y + r * dy));
            format!("M{}Z", corners.iter().map(corner).collect::<Vec<_>>().join("L"))
        };
        let around = |n: usize, turn: f64, inner: f64| -> String {
            let corner = |i: usize| {
                let angle = std::f64::consts::TAU * (i as f64 / n as f64 + turn);
                let far = if i.is_multiple_of(2) { 1.15 } else { inner };
                (far * angle.sin(), -far * angle.cos())
            };
            polygon(&(0..n).map(corner).collect::<Vec<_>>())
        };
        let path = match self.shape % 10 {
            0 => around(24, 0.0, 1.15),
            1 => polygon(&[(-0.95, -0.95), (0.95, -0.95), (0.95, 0.95), (-0.95, 0.95)]),
            2 => polygon(&[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)]),
            3 => polygon(&[(0.0, -1.35), (1.35, 0.0), (0.0, 1.35), (-1.35, 0.0)]),
            4 => polygon(&[(0.0, 1.2), (1.15, -0.9), (-1.15, -0.9)]),
            5 => around(10, 0.0, 0.55),
            6 => around(6, 0.0, 1.15),
            7 => around(8, 0.0, 0.45),
            8 => polygon(&[(-1.2, 0.0), (0.9, 1.15), (0.9, -1.15)]),
            _ => polygon(&[(1.2, 0.0), (-0.9, 1.15), (-0.9, -1.15)]),
        };
        let hollow = self.shape % 20 >= 10;
        let fill = if hollow { Ink::Paper } else { self.ink };
        let stroke = if hollow { self.ink } else { Ink::Paper };
        html! {
            path d=(path) fill=(fill.css()) stroke=(stroke.css()) stroke-width=(if hollow { "2" } else { "1" }) {
                title { (title) }
            }
        }
    }
}

/// What a legend shows before a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swatch {
    /// A field.
    Fill(Ink),
    /// A line.
    Line(Ink),
    /// A point.
    Point(Mark),
}

/// A small picture of it; `name` is what it stands for.
pub(crate) fn swatch(swatch: Swatch, name: &str) -> Markup {
    html! {
        svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
            @match swatch {
                Swatch::Fill(ink) => rect x="2" y="2" width="12" height="12" rx="2" fill=(ink.css()) {},
                Swatch::Line(ink) => line x1="1" y1="8" x2="15" y2="8" stroke=(ink.css()) stroke-width="2.5" {},
                Swatch::Point(mark) => (mark.at(8.0, 8.0, name)),
            }
        }
    }
}

/// Names beside what stands for them; it breaks into lines where the page is narrow.
pub(crate) fn legend<'a>(entries: impl IntoIterator<Item = (Swatch, &'a str)>) -> Markup {
    html! {
        ul.legend { @for (sign, name) in entries { li { (swatch(sign, name)) (name) } } }
    }
}

/// The frame of a drawing; `title` is what is read aloud in its place.
pub(crate) fn drawing(title: &str, width: f64, height: f64, body: Markup) -> Markup {
    html! {
        svg.drawing viewBox={ "0 0 " (px(width)) " " (px(height)) } width=(px(width)) height=(px(height)) role="img"
            aria-label=(title) { (body) }
    }
}

/// A drawing as a file of its own, on a page of the style sheet's colour.
pub(crate) fn file(style: &str, drawing: Markup) -> String {
    const EDGE: f64 = 16.0;
    let side = |name: &str| {
        let text = drawing.0.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        text.and_then(|(value, _)| value.parse::<f64>().ok()).unwrap_or(0.0) + 2.0 * EDGE
    };
    let (width, height) = (px(side("width")), px(side("height")));
    let whole = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) {
            style { (PreEscaped(style)) }
            rect width="100%" height="100%" fill=(Ink::Paper.css()) {}
            svg x=(px(EDGE)) y=(px(EDGE)) { (drawing) }
        }
    };
    whole.into_string() + "\n"
}

/// A figure whose drawing is a function of the width it is shown at.
pub(crate) fn figure(caption: Markup, draw: impl Fn(f64) -> Markup) -> Markup {
    html! {
        figure {
            div.wide { (draw(WIDE)) }
            div.narrow { (draw(NARROW)) }
            figcaption { (caption) }
        }
    }
}

/// Small drawings beside each other, as many as there is room for, each of the width [`NARROW`].
pub(crate) fn multiples(caption: Markup, panels: impl IntoIterator<Item = (String, Markup)>) -> Markup {
    html! {
        figure {
            div.multiples {
                @for (name, panel) in panels { div { div.panel { (name) } (panel) } }
            }
            figcaption { (caption) }
        }
    }
}

/// Where text stands in relation to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// Text with its base line at `y`.
fn text(x: f64, y: f64, anchor: Anchor, ink: Ink, content: &str) -> Markup {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    html! { text x=(px(x)) y=(px(y)) text-anchor=(anchor) fill=(ink.css()) { (content) } }
}

fn straight(from: (f64, f64), to: (f64, f64), ink: Ink) -> Markup {
    html! { line x1=(px(from.0)) y1=(px(from.1)) x2=(px(to.0)) y2=(px(to.1)) stroke=(ink.css()) {} }
}

/// Room that a text takes, from above: most fonts are narrower. Signs beyond ASCII may be of full width.
pub(crate) fn text_width(content: &str) -> f64 {
    content
        .chars()
        .map(|c| if c.is_ascii() || ('\u{a0}'..'\u{2e80}').contains(&c) { 0.62 } else { 1.1 })
        .sum::<f64>()
        * TEXT
}

/// `content`, cut so that it takes no more than `width`.
pub(crate) fn fitted(content: &str, width: f64) -> String {
    if text_width(content) <= width {
        return content.to_owned();
    }
    let mut cut = String::new();
    for c in content.chars() {
        if text_width(&cut) + 2.0 * TEXT > width {
            break;
        }
        cut.push(c);
    }
    cut.trim_end().to_owned() + "…"
}

/// A coordinate with as many digits as can be seen.
fn px(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // No negative zero.
    (rounded + 0.0).to_string()
}
