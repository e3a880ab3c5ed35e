//! Throughput of training against length, a panel for each model.

use maud::html;

use super::{
    STYLE,
    svg::{self, Chart, Ink, Mark, Scale},
};
use crate::speed::{Peer, SpeedRecord};

/// Size of a panel, and panels in a row.
const PANEL: (f64, f64) = (svg::NARROW, 240.0);
const COLUMNS: usize = 3;

/// A line of a panel: name, points, colour, shape of the points.
type Line = (String, Vec<(f64, f64)>, Mark);

/// A file: samples that are trained on in a second, ours and the peer's in each of its setups.
pub(crate) fn drawing(records: &[SpeedRecord], peer: Option<&Peer>) -> String {
    let mut models: Vec<(&str, &str)> = Vec::new();
    for record in records {
        let model = (record.encoder.as_str(), record.mixture.as_str());
        if !models.contains(&model) {
            models.push(model);
        }
    }
    let panels: Vec<(String, Vec<Line>)> = models
        .iter()
        .map(|model| {
            let mine = records.iter().filter(|r| (r.encoder.as_str(), r.mixture.as_str()) == *model);
            let name = if model.1 == "none" { model.0.into() } else { format!("{} × {}", model.0, model.1) };
            (name, lines(&mine.collect::<Vec<_>>(), peer))
        })
        .collect();
    let points = || panels.iter().flat_map(|(_, lines)| lines).flat_map(|(_, points, _)| points);
    let (x, y) = (Scale::log(points().map(|p| p.0)), Scale::log(points().map(|p| p.1)));
    let charts = panels.iter().enumerate().map(|(i, (name, lines))| {
        let mut chart = Chart::new(
            &format!("Throughput of {name}"),
            PANEL,
            ("behaviours", x),
            (&format!("{name}, samples/s in training"), y),
            lines.iter().map(|(name, ..)| svg::text_width(name)).fold(0.0, f64::max) + 16.0,
        );
        for (line, points, mark) in lines {
            chart.line(mark.ink, *line != "ours", points, line);
            points.iter().for_each(|at| chart.point(*mark, *at, None, &format!("{line}: {:.0}", at.1)));
        }
        let end = |(name, points, mark): &Line| points.last().map(|p| (p.1, name.clone(), mark.ink));
        chart.ends(&lines.iter().filter_map(end).collect::<Vec<_>>());
        let place = ((i % COLUMNS) as f64 * (PANEL.0 + 16.0), (i / COLUMNS) as f64 * (PANEL.1 + 16.0));
        html! { svg x=(place.0) y=(place.1) width=(PANEL.0) height=(PANEL.1) { (chart.finish()) } }
    });
    let charts: Vec<_> = charts.collect();
    let columns = charts.len().min(COLUMNS) as f64;
    let size =
        (columns * (PANEL.0 + 16.0) - 16.0, charts.len().div_ceil(COLUMNS) as f64 * (PANEL.1 + 16.0) - 16.0);
    let body = html! { @for chart in &charts { (chart) } };
    svg::file(STYLE, svg::drawing("Throughput of training by length", size.0.max(1.0), size.1.max(1.0), body))
}

fn lines(mine: &[&SpeedRecord], peer: Option<&Peer>) -> Vec<Line> {
    let ours = mine.iter().map(|r| (r.length as f64, r.per_second(r.train_ms))).collect();
    let mut lines: Vec<Line> = vec![("ours".into(), ours, Mark { ink: Ink::Series(0), shape: 0 })];
    let setups = peer.iter().flat_map(|peer| peer.setups()).enumerate();
    for (i, setup) in setups {
        let cases = mine.iter().filter_map(|r| {
            let case = peer?.beside(r).find(|c| c.setup == setup)?;
            Some((r.length as f64, 1000.0 * case.batch as f64 / case.train_ms.median))
        });
        let points: Vec<_> = cases.collect();
        if !points.is_empty() {
            lines.push((setup.to_owned(), points, Mark { ink: Ink::Series(i + 1), shape: i + 1 }));
        }
    }
    lines
}
