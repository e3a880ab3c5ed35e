//! How cells look in all figures of a report: the colour is the encoder's, the shape the mixture's.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::svg::{Ink, Mark, Swatch, legend};
use crate::{
    results::{Cell, Results},
    stats::{Interval, Paired},
};

/// Names in the order of the results, which number colours and shapes.
#[derive(Debug)]
pub(crate) struct Look {
    encoders: Vec<String>,
    mixtures: Vec<String>,
    /// Whether cells differ in the length of their histories, so that names need it.
    lengths: bool,
}

impl Look {
    pub(crate) fn of<'a>(results: impl IntoIterator<Item = &'a Results>) -> Self {
        let (mut encoders, mut mixtures, mut lengths) = (Vec::new(), Vec::new(), BTreeSet::new());
        for cell in results.into_iter().flat_map(|r| &r.cells) {
            if !encoders.contains(&cell.encoder) && !control(cell) {
                encoders.push(cell.encoder.clone());
            }
            lengths.insert(cell.max_length);
            if !mixtures.contains(&cell.mixture) && !control(cell) {
                mixtures.push(cell.mixture.clone());
            }
        }
        Self { encoders, mixtures, lengths: lengths.len() > 1 }
    }

    /// A mixture's name, with its length where cells differ in it.
    pub(crate) fn with_length(&self, mixture: &str, length: usize) -> String {
        if self.lengths { format!("{mixture}, L = {length}") } else { mixture.to_owned() }
    }

    /// A cell's name in a sentence.
    pub(crate) fn name(&self, cell: &Cell) -> String {
        let plain = cell.mixture == "none" && !self.lengths;
        if plain || control(cell) {
            cell.encoder.clone()
        } else {
            format!("{} × {}", cell.encoder, self.with_length(&cell.mixture, cell.max_length))
        }
    }

    /// Colour of an encoder; controls stand back.
    pub(crate) fn encoder(&self, name: &str) -> Ink {
        self.encoders.iter().position(|e| e == name).map_or(Ink::Muted, Ink::Series)
    }

    /// Where an encoder stands among the others; controls come last.
    pub(crate) fn place(&self, name: &str) -> usize {
        self.encoders.iter().position(|e| e == name).unwrap_or(self.encoders.len())
    }

    /// Colour of a mixture, where all cells have one encoder.
    pub(crate) fn mixture(&self, name: &str) -> Ink {
        self.mixtures.iter().position(|m| m == name).map_or(Ink::Muted, Ink::Series)
    }

    pub(crate) fn mark(&self, cell: &Cell) -> Mark {
        let shape = self.mixtures.iter().position(|m| *m == cell.mixture).unwrap_or(0);
        let control = self.encoder(&cell.encoder) == Ink::Muted;
        Mark { ink: self.encoder(&cell.encoder), shape: if control { 10 } else { shape } }
    }

    /// Colours of mixtures by name.
    pub(crate) fn mixtures_legend(&self) -> Markup {
        let lines = self.mixtures.iter().enumerate();
        legend(lines.map(|(i, m)| (Swatch::Line(Ink::Series(i)), m.as_str())))
    }

    /// Colours and shapes by name.
    pub(crate) fn legend(&self) -> Markup {
        let colours = self.encoders.iter().enumerate();
        let colours = colours.map(|(i, e)| (Swatch::Fill(Ink::Series(i)), e.as_str()));
        let shapes = self.mixtures.iter().enumerate();
        let shapes = shapes.map(|(shape, m)| (Swatch::Point(Mark { ink: Ink::Text, shape }), m.as_str()));
        html! { (legend(colours)) (legend(shapes)) }
    }
}

/// Whether a row is a control without an encoder of its own.
pub(crate) fn control(cell: &Cell) -> bool {
    ["popularity", "repetition", "target_only", "shuffled_history"].contains(&cell.encoder.as_str())
}

/// Mean and ends, for a plot.
pub(crate) fn ends(i: Option<Interval>) -> Option<(f64, Option<(f64, f64)>)> {
    i.map(|i| (i.mean, i.lo.zip(i.hi)))
}

/// The same of a difference.
pub(crate) fn paired_ends(d: Option<Paired>) -> Option<(f64, Option<(f64, f64)>)> {
    d.map(|d| (d.mean, d.lo.zip(d.hi)))
}

/// Whether a difference is beyond chance.
pub(crate) fn significant(d: &Paired) -> bool {
    d.p.is_some_and(|p| p < 0.05)
}

/// A hash, as short as it is told apart.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// `1 seed`, `3 seeds`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
