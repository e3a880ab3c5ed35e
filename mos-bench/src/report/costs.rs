//! What a cell costs: accuracy against multiply-adds, and where they go.

use maud::html;

use super::{
    Section,
    files::RunFiles,
    look::{Look, control},
    svg::{Bar, Chart, Ink, Label, Scale, Swatch, bars, compact, figure, legend},
};
use crate::results::{Cell, Results};

/// Cells that nothing else beats in both: no other has a higher AUC at the same multiply-adds or fewer.
fn front(results: &Results) -> Vec<(&Cell, f64, f64)> {
    let mut all = points(results);
    // The planted themes are no model that anybody could take.
    all.retain(|(c, ..)| c.mixture != "oracle_themes");
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)));
    let mut best = f64::NEG_INFINITY;
    all.retain(|(_, _, auc)| {
        let better = *auc > best;
        best = best.max(*auc);
        better
    });
    all
}

/// Cells with a cost and an AUC: multiply-adds, mean AUC.
fn points(results: &Results) -> Vec<(&Cell, f64, f64)> {
    let cells = results.cells.iter().filter(|c| c.macs_per_sample.total > 0);
    cells.filter_map(|c| Some((c, c.macs_per_sample.total as f64, c.auc?.mean))).collect()
}

/// Accuracy against cost.
pub(crate) fn pareto(run: &RunFiles, look: &Look) -> Section {
    let (results, title) = (&run.results, "Accuracy against cost");
    let all = points(results);
    if all.is_empty() {
        return Section {
            id: "pareto",
            title,
            body: html! { p { "No cell has both a cost and a defined AUC." } },
        };
    }
    let front = front(results);
    let draw = |width: f64| {
        let x = Scale::log(all.iter().map(|p| p.1));
        let y = Scale::linear(all.iter().map(|p| p.2));
        let size = (width, if width > 600.0 { 460.0 } else { 400.0 });
        let mut chart = Chart::new(
            "AUC against multiply-adds of one sample",
            size,
            ("MACs of one sample", x),
            ("AUC", y),
            0.0,
        );
        let steps: Vec<(f64, f64)> = front
            .windows(2)
            .flat_map(|w| [(w[0].1, w[0].2), (w[1].1, w[0].2)])
            .chain(front.last().map(|p| (p.1, p.2)))
            .collect();
        chart.steps(Ink::Muted, &steps, "Pareto front");
        // Controls lie below.
        let (below, above): (Vec<_>, Vec<_>) = all.iter().copied().partition(|p| control(p.0));
        for (cell, macs, auc) in below.into_iter().chain(above) {
            let said = format!(
                "{}: AUC {auc:.4}, {} MACs, {} FLOPs",
                look.name(cell),
                compact(macs),
                compact(2.0 * macs)
            );
            chart.point(look.mark(cell), (macs, auc), None, &said);
        }
        let on_front = |cell: &Cell| front.iter().any(|f| std::ptr::eq(f.0, cell));
        let label = |(cell, macs, auc): &(&Cell, f64, f64)| Label {
            at: (*macs, *auc),
            text: look.name(cell),
            ink: look.encoder(&cell.encoder),
            needed: on_front(cell),
        };
        let (first, then): (Vec<_>, Vec<_>) = all.iter().partition(|p| on_front(p.0));
        first.into_iter().chain(then).for_each(|p| chart.label(label(p)));
        chart.finish()
    };
    let caption = html! {
        "Mean test AUC against the multiply-adds executed to score one test sample at its own history length, on a "
        "logarithmic axis; 1 MAC = 2 FLOPs. The dashed line is the Pareto front: no cell on it is beaten at its cost or below. "
        "Cells on the front are named, others where there is room. "
        @if all.iter().any(|p| p.0.mixture == "oracle_themes") { "The planted themes are shown and do not count for the front. " }
        @if all.iter().any(|p| control(p.0)) { "Grey circles are controls." }
    };
    let table = html! {
        details { summary { "The front as a list" } ol {
            @for (cell, macs, auc) in &front {
                li { (look.name(cell)) ": AUC " (format!("{auc:.4}")) ", " (compact(*macs)) " MACs, " (compact(2.0 * macs)) " FLOPs" }
            }
        } }
    };
    Section { id: "pareto", title, body: html! { (look.legend()) (figure(caption, draw)) (table) } }
}

/// Where multiply-adds go, and times.
pub(crate) fn bars_by_part(run: &RunFiles, look: &Look) -> Section {
    let parts = [("encoder", Ink::Series(6)), ("router", Ink::Series(4)), ("head", Ink::Series(9))];
    let cells: Vec<&Cell> = run.results.cells.iter().filter(|c| c.macs_per_sample.total > 0).collect();
    let rows: Vec<Bar> = cells
        .iter()
        .enumerate()
        .map(|(i, cell)| {
            let m = cell.macs_per_sample;
            let lengths = [m.encoder, m.router, m.head];
            let said = |what: &str, macs: u64| format!("{}, {what}: {macs} MACs", look.name(cell));
            let saves = m.published > 0 && m.published != m.total;
            let text = compact(m.total as f64);
            Bar {
                label: look.name(cell),
                parts: parts
                    .iter()
                    .zip(lengths)
                    .map(|((what, ink), l)| (l as f64, *ink, said(what, l)))
                    .collect(),
                tick: (m.published > 0).then_some(m.published as f64),
                text: if saves { format!("{text} ({})", compact(m.published as f64)) } else { text },
                apart: i > 0 && cells[i - 1].encoder != cell.encoder,
            }
        })
        .collect();
    let timed = |c: &Cell| c.ms_per_1000.map(|s| (s.train, s.score));
    let body = html! {
        (legend(parts.iter().map(|(what, ink)| (Swatch::Fill(*ink), *what))))
        (figure(
            html! {
                "MACs executed to score one test sample, by part; 1 MAC = 2 FLOPs. The upright line, and the number in brackets "
                "where it differs: the same with every encoder in the form of its paper, before the algebra that leaves the "
                "function unchanged and saves work. Softmax, norms, element-wise operations, pooling sums and look-ups are not "
                "counted."
            },
            |width| bars("Multiply-adds of one sample by part", width, &rows),
        ))
        details {
            summary { "All figures: MACs, FLOPs, parameters, times" }
            div.scroll tabindex="0" role="region" aria-label="Costs" { table {
                thead { tr {
                    th scope="col" { "cell" }
                    @for head in ["encoder MACs", "router MACs", "head MACs", "MACs", "FLOPs", "as published", "embedding params",
                        "dense params", "train ms/1000", "score ms/1000"] { th.number scope="col" { (head) } }
                } }
                tbody { @for cell in &cells { tr {
                    th scope="row" { (look.name(cell)) }
                    @let m = cell.macs_per_sample;
                    @for n in [m.encoder, m.router, m.head, m.total, 2 * m.total, m.published] { td.number { (n) } }
                    td.number { (cell.params.embedding) } td.number { (cell.params.dense) }
                    @if let Some((train, score)) = timed(cell) {
                        td.number { (format!("{train:.1}")) } td.number { (format!("{score:.1}")) }
                    } @else { td.number { "–" } td.number { "–" } }
                } } }
            } }
            p.note { "Times: one batch with fresh weights, all threads, median of three, per 1,000 samples." }
        }
    };
    Section { id: "costs", title: "Costs by part", body }
}
