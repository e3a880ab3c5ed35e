//! Studies: what single choices are worth, and the length of the history.

use maud::{Markup, html};

use super::{
    Section,
    files::RunFiles,
    look::{Look, control},
    rows::plain,
    svg::{Chart, Mark, NARROW, Points, Scale, multiples, text_width},
};
use crate::{
    results::{Cell, Results},
    tables,
};

/// Variants beside what they vary; nothing without variants.
pub(crate) fn ablation(run: &RunFiles, _: &Look) -> Option<Section> {
    let varied = run.results.cells.iter().any(|c| c.variant.is_some());
    let body = || plain(&tables::ablation(&run.results, &|_| true), 3);
    varied.then(|| Section { id: "ablation", title: "What each choice is worth", body: body() })
}

/// Accuracy and cost against length; nothing where all histories are cut to one.
pub(crate) fn length(run: &RunFiles, look: &Look) -> Option<Section> {
    let results = &run.results;
    let cells = || results.cells.iter().filter(|c| c.params.dense > 0 && !control(c));
    let first = cells().next()?.max_length;
    if cells().all(|c| c.max_length == first) {
        return None;
    }
    let body = html! {
        h3 { "AUC" }
        (panels(results, look, ("AUC", Scale::linear), |c| Some(c.auc?.mean)))
        h3 { "Multiply-adds of one sample" }
        (panels(results, look, ("MACs", Scale::log), |c| Some(c.macs_per_sample.total as f64)))
        details { summary { "All figures" } (plain(&tables::length(results, &|_| true), 2)) }
    };
    Some(Section { id: "length", title: "Length of the history", body })
}

/// A panel for each encoder, a line for each mixture.
fn panels(
    results: &Results,
    look: &Look,
    (name, scale): (&str, fn(Vec<f64>) -> Scale),
    of: fn(&Cell) -> Option<f64>,
) -> Markup {
    let mut lines: Vec<(&str, &str, Points)> = Vec::new();
    for cell in results.cells.iter().filter(|c| c.params.dense > 0 && !control(c)) {
        let Some(value) = of(cell) else { continue };
        let point = (cell.max_length as f64, value);
        match lines.iter_mut().find(|l| (l.0, l.1) == (&cell.encoder, &cell.mixture)) {
            Some(line) => line.2.push(point),
            None => lines.push((&cell.encoder, &cell.mixture, vec![point])),
        }
    }
    lines.iter_mut().for_each(|l| l.2.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let points = || lines.iter().flat_map(|l| &l.2);
    let x = Scale::log(points().map(|p| p.0));
    let y = scale(points().map(|p| p.1).collect());
    let mut encoders: Vec<&str> = lines.iter().map(|l| l.0).collect();
    encoders.dedup();
    let drawn = encoders.into_iter().map(|encoder| {
        let mine: Vec<_> = lines.iter().filter(|l| l.0 == encoder).collect();
        let right = mine.iter().map(|l| text_width(l.1)).fold(0.0, f64::max) + 8.0;
        let height = (mine.len() as f64 * 13.0 + 70.0).max(240.0);
        let title = format!("{name} by length of the history, {encoder}");
        let mut chart = Chart::new(&title, (NARROW, height), ("behaviours kept", x), (name, y), right);
        let mut names = Vec::new();
        for (_, mixture, points) in mine {
            let ink = look.mixture(mixture);
            chart.line(ink, false, points, mixture);
            for (length, value) in points {
                let said = format!("{mixture}, L = {length}: {value}");
                chart.point(Mark { ink, shape: 0 }, (*length, *value), None, &said);
            }
            names.extend(points.last().map(|p| (p.1, (*mixture).to_owned(), ink)));
        }
        chart.ends(&names);
        (encoder.to_owned(), chart.finish())
    });
    multiples(
        html! {
            "Means by the number of most recent behaviours that a history keeps, on a logarithmic axis. Scales are the same in "
            "all panels."
        },
        drawn,
    )
}
