//! A chart: two axes, and lines, bands and points between them, with labels that overlap nothing.

use maud::{Markup, html};

use super::{Anchor, Ink, Mark, Scale, TEXT, drawing, px, straight, text, text_width};

/// A label that wants to stand beside a point.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// The point's values.
    pub(crate) at: (f64, f64),
    /// What is written.
    pub(crate) text: String,
    /// Its colour.
    pub(crate) ink: Ink,
    /// Whether it is written at some distance, with a line to its point, if there is no room beside it; other labels are
    /// left out then.
    pub(crate) needed: bool,
}

/// Points of a line.
pub(crate) type Points = Vec<(f64, f64)>;

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

/// A chart that is being drawn. Coordinates are values of its axes.
#[derive(Debug)]
pub(crate) struct Chart {
    title: String,
    size: (f64, f64),
    /// What the axes enclose.
    frame: Area,
    x: Scale,
    y: Scale,
    axes: Markup,
    layers: Vec<Markup>,
    /// Where no label may stand.
    taken: Vec<Area>,
    labels: Vec<Label>,
}

impl Chart {
    /// Axes of the given scales, named, within `width` × `height`; `right` is room beyond the frame for [`Self::ends`].
    pub(crate) fn new(
        title: &str,
        (width, height): (f64, f64),
        (x_name, x): (&str, Scale),
        (y_name, y): (&str, Scale),
        right: f64,
    ) -> Self {
        let y_ticks = y.ticks((height / 48.0) as usize);
        let left = y_ticks.iter().map(|t| text_width(&t.1)).fold(0.0, f64::max) + 8.0;
        let frame = [left, 24.0, width - 10.0 - right, height - 40.0];
        let x = x.onto(frame[0], frame[2]);
        let y = y.onto(frame[3], frame[1]);
        // A tick whose label would touch the one before, or leave the drawing, has none.
        let mut free = 0.0;
        let mut x_ticks = x.ticks(((frame[2] - frame[0]) / 80.0) as usize);
        x_ticks.retain(|(v, label)| {
            let half = text_width(label) / 2.0;
            let fits = x.at(*v) - half >= free && x.at(*v) + half <= width;
            if fits {
                free = x.at(*v) + half + 6.0;
            }
            fits
        });
        let axes = html! {
            @for (v, label) in &y_ticks {
                (straight((frame[0], y.at(*v)), (frame[2], y.at(*v)), Ink::Rule))
                (text(frame[0] - 6.0, y.at(*v) + 4.0, Anchor::End, Ink::Muted, label))
            }
            @for (v, label) in &x_ticks {
                (straight((x.at(*v), frame[3]), (x.at(*v), frame[3] + 4.0), Ink::Muted))
                (text(x.at(*v), frame[3] + 17.0, Anchor::Middle, Ink::Muted, label))
            }
            (straight((frame[0], frame[3]), (frame[2], frame[3]), Ink::Muted))
            (text(0.0, 12.0, Anchor::Start, Ink::Muted, y_name))
            (text(frame[2], height - 6.0, Anchor::End, Ink::Muted, x_name))
        };
        let size = (width, height);
        Self {
            title: title.to_owned(),
            size,
            frame,
            x,
            y,
            axes,
            layers: vec![],
            taken: vec![],
            labels: vec![],
        }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    fn path(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let written = |p: (f64, f64)| {
            let (x, y) = self.at(p);
            format!("{} {}", px(x), px(y))
        };
        points.into_iter().map(written).collect::<Vec<_>>().join("L")
    }

    /// A line through points; those that are not finite are left out.
    pub(crate) fn line(&mut self, ink: Ink, dashed: bool, points: &[(f64, f64)], title: &str) {
        let points = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        let path = self.path(points);
        if path.is_empty() {
            return;
        }
        self.layers.push(html! {
            path d={ "M" (path) } fill="none" stroke=(ink.css()) stroke-width="2" stroke-linejoin="round"
                stroke-dasharray=[dashed.then_some("4 4")] { title { (title) } }
        });
    }

    /// Upright and level lines through points, step by step, which no label covers.
    pub(crate) fn steps(&mut self, ink: Ink, points: &[(f64, f64)], title: &str) {
        self.line(ink, true, points, title);
        for pair in points.windows(2) {
            let ((a, b), (c, d)) = (self.at(pair[0]), self.at(pair[1]));
            self.taken.push([a.min(c) - 1.0, b.min(d) - 1.0, a.max(c) + 1.0, b.max(d) + 1.0]);
        }
    }

    /// The area between lower and upper values: `(x, lower, upper)`.
    pub(crate) fn band(&mut self, ink: Ink, rows: &[(f64, f64, f64)]) {
        let up = rows.iter().map(|(x, lo, _)| (*x, *lo));
        let back = rows.iter().rev().map(|(x, _, hi)| (*x, *hi));
        let path = self.path(up.chain(back).filter(|(x, y)| x.is_finite() && y.is_finite()));
        if !path.is_empty() {
            self.layers.push(
                html! { path d={ "M" (path) "Z" } fill=(ink.css()) fill-opacity="0.18" stroke="none" {} },
            );
        }
    }

    /// A point, with its interval where there is one.
    pub(crate) fn point(&mut self, mark: Mark, at: (f64, f64), interval: Option<(f64, f64)>, title: &str) {
        if !(at.0.is_finite() && at.1.is_finite()) {
            return;
        }
        let (x, y) = self.at(at);
        let ends = interval.map(|(lo, hi)| (self.y.at(lo), self.y.at(hi)));
        self.layers.push(html! {
            @if let Some((lo, hi)) = ends { g stroke-width="1.5" { (straight((x, lo), (x, hi), mark.ink)) } }
            (mark.at(x, y, title))
        });
        let r = Mark::RADIUS + 1.0;
        self.taken.push([x - r, y - r, x + r, y + r]);
        if let Some((lo, hi)) = ends {
            self.taken.push([x - 1.0, hi, x + 1.0, lo]);
        }
    }

    /// A label beside a point, wherever there is room once everything is drawn; those that come first choose first.
    pub(crate) fn label(&mut self, label: Label) {
        self.labels.push(label);
    }

    /// Names at the ends of lines, to the right of the frame, moved apart: `(value, name, colour)`.
    pub(crate) fn ends(&mut self, ends: &[(f64, String, Ink)]) {
        const ROW: f64 = TEXT + 1.0;
        let mut ends: Vec<(f64, f64, &str, Ink)> =
            ends.iter().map(|(v, name, ink)| (self.y.at(*v), self.y.at(*v), name.as_str(), *ink)).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = ends.len();
        for i in 1..n {
            ends[i].1 = ends[i].1.max(ends[i - 1].1 + ROW);
        }
        let mut below = self.frame[3];
        for end in ends.iter_mut().rev() {
            end.1 = end.1.min(below);
            below = end.1 - ROW;
        }
        let right = self.frame[2];
        self.layers.push(html! {
            @for (y, moved, name, ink) in ends {
                g stroke-opacity="0.6" { (straight((right + 2.0, y), (right + 12.0, moved), ink)) }
                (text(right + 15.0, moved + 4.0, Anchor::Start, Ink::Text, name))
            }
        });
    }

    /// The drawing.
    pub(crate) fn finish(mut self) -> Markup {
        let mut written = Vec::new();
        for label in std::mem::take(&mut self.labels) {
            let (x, y) = self.at(label.at);
            let Some((area, distance)) = self.room(x, y, &label) else { continue };
            let near = (x.clamp(area[0], area[2]), y.clamp(area[1], area[3]));
            written.push(html! {
                @if distance > 0 { g stroke-opacity="0.6" { (straight((x, y), near, label.ink)) } }
                (text(area[0] + 2.0, area[3] - 3.0, Anchor::Start, Ink::Text, &label.text))
            });
            self.taken.push(area);
        }
        let body =
            html! { (self.axes) @for layer in &self.layers { (layer) } @for label in &written { (label) } };
        drawing(&self.title, self.size.0, self.size.1, body)
    }

    /// The nearest free place for a label, and how many rings away from its point it is.
    fn room(&self, x: f64, y: f64, label: &Label) -> Option<(Area, usize)> {
        let (w, h) = (text_width(&label.text) + 4.0, TEXT + 3.0);
        let rings = if label.needed { 9 } else { 1 };
        for ring in 0..rings {
            let gap = Mark::RADIUS + 3.0 + 11.0 * ring as f64;
            let (right, left, middle) = (x + gap, x - gap - w, x - w / 2.0);
            let (above, below, beside) = (y - gap - h, y + gap, y - h / 2.0);
            let near = 0.7 * gap;
            let places = [
                (right, beside),
                (left, beside),
                (middle, above),
                (middle, below),
                (x + near, y - near - h),
                (x + near, y + near),
                (x - near - w, y - near - h),
                (x - near - w, y + near),
            ];
            for (left, top) in places {
                let area = [left, top, left + w, top + h];
                let inside = area[0] >= self.frame[0] + 1.0
                    && area[2] <= self.size.0
                    && area[1] >= 16.0
                    && area[3] <= self.frame[3] - 1.0;
                let free =
                    |t: &Area| area[2] <= t[0] || t[2] <= area[0] || area[3] <= t[1] || t[3] <= area[1];
                if inside && self.taken.iter().all(free) {
                    return Some((area, ring));
                }
            }
        }
        None
    }
}
