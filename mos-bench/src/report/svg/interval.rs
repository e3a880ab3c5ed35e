//! A mean with its interval, as small as a table's cell.

use maud::{Markup, html};

use super::{Anchor, Ink, Mark, Scale, TEXT, drawing, straight, text};

const HIGH: f64 = 18.0;
/// Room at both ends, so that a tick's label is within the drawing.
const END: f64 = 17.0;

/// A point and its interval on a scale that all rows of the column share; an upright line at `zero` where there is one.
/// Nothing where the mean is undefined.
pub(crate) fn interval(
    width: f64,
    scale: Scale,
    value: Option<(f64, Option<(f64, f64)>)>,
    zero: Option<f64>,
    mark: Mark,
    title: &str,
) -> Markup {
    let scale = scale.onto(END, width - END);
    let Some((mean, ends)) = value else { return html! {} };
    let body = html! {
        @if let Some(zero) = zero.map(|z| scale.at(z)) { (straight((zero, 0.0), (zero, HIGH), Ink::Muted)) }
        @if let Some((lo, hi)) = ends {
            g stroke-width="2" { (straight((scale.at(lo), HIGH / 2.0), (scale.at(hi), HIGH / 2.0), mark.ink)) }
        }
        (mark.at(scale.at(mean), HIGH / 2.0, title))
    };
    drawing(title, width, HIGH, body)
}

/// The scale of such a column: a few ticks with their values.
pub(crate) fn interval_axis(title: &str, width: f64, scale: Scale) -> Markup {
    let scale = scale.onto(END, width - END);
    // A label that would touch the one before is left out.
    let mut free = 0.0;
    let ticks = scale.ticks(4).into_iter().map(|(v, label)| {
        let (x, half) = (scale.at(v), super::text_width(&label) / 2.0);
        let fits = x - half >= free && x + half <= width;
        if fits {
            free = x + half + 4.0;
        }
        (x, fits.then_some(label))
    });
    let body = html! {
        @for (x, label) in ticks {
            @if let Some(label) = label { (text(x, TEXT, Anchor::Middle, Ink::Muted, &label)) }
            (straight((x, TEXT + 3.0), (x, TEXT + 6.0), Ink::Muted))
        }
    };
    drawing(title, width, TEXT + 6.0, body)
}
