//! Learning curves.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    Section,
    files::{RunFiles, Validation},
    look::Look,
    svg::{Chart, NARROW, Scale, multiples, text_width},
};

/// What one curve shows at a step: mean over seeds, least and most.
type Steps = Vec<(f64, f64, f64, f64)>;

/// Validation AUC and training loss by step: a panel for each encoder, a line for each mixture.
pub(crate) fn section(run: &RunFiles, look: &Look) -> Section {
    let all = &run.validations;
    let body = if all.is_empty() {
        html! { p.note { "The run folder holds no metrics.jsonl, so there are no learning curves." } }
    } else {
        html! {
            h3 { "Validation AUC" }
            (panels(all, look, "AUC", |v| v.auc))
            @if all.iter().any(|v| v.loss.is_some()) {
                h3 { "Training loss" }
                (panels(all, look, "loss", |v| v.loss))
            }
        }
    };
    Section { id: "learning", title: "Learning curves", body }
}

/// Values of the seeds at each step.
type BySeed = BTreeMap<u64, Vec<f64>>;

fn panels(all: &[Validation], look: &Look, metric: &str, of: fn(&Validation) -> Option<f64>) -> Markup {
    let mut encoders: Vec<&str> = Vec::new();
    for v in all {
        if !encoders.contains(&v.encoder.as_str()) {
            encoders.push(&v.encoder);
        }
    }
    // In the order of the tables, controls last.
    encoders.sort_by_key(|e| look.place(e));
    let y = Scale::linear(all.iter().filter_map(of));
    let x = Scale::between(0.0, all.iter().map(|v| v.step).max().unwrap_or(1) as f64);
    let drawn = encoders.iter().map(|encoder| {
        let lines = curves(all.iter().filter(|v| v.encoder == *encoder), of);
        let name = |(mixture, length): (&str, usize)| look.with_length(mixture, length);
        let right = lines.iter().map(|l| text_width(&name(l.0))).fold(0.0, f64::max) + 8.0;
        // A row of text for each name.
        let height = (lines.len() as f64 * 13.0 + 60.0).max(210.0);
        let title = format!("{metric} by step, {encoder}");
        let mut chart = Chart::new(&title, (NARROW, height), ("step", x), (metric, y), right);
        let mut ends = Vec::new();
        for (of, steps) in &lines {
            let (ink, name) = (look.mixture(of.0), name(*of));
            if steps.iter().any(|s| s.2 < s.3) {
                chart.band(ink, &steps.iter().map(|s| (s.0, s.2, s.3)).collect::<Vec<_>>());
            }
            chart.line(ink, false, &steps.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(), &name);
            if let Some(last) = steps.last() {
                chart.point(super::svg::Mark { ink, shape: 0 }, (last.0, last.1), None, &name);
                ends.push((last.1, name, ink));
            }
        }
        chart.ends(&ends);
        ((*encoder).to_owned(), chart.finish())
    });
    multiples(
        html! { "Line: mean over seeds. Area: least to most. Scales are the same in all panels." },
        drawn,
    )
}

/// By mixture and length, in the order in which they come.
fn curves<'a>(
    of_encoder: impl Iterator<Item = &'a Validation>,
    of: fn(&Validation) -> Option<f64>,
) -> Vec<((&'a str, usize), Steps)> {
    let mut lines: Vec<((&str, usize), BySeed)> = Vec::new();
    for v in of_encoder {
        let Some(value) = of(v) else { continue };
        let at = lines.iter().position(|l| l.0 == (v.mixture.as_str(), v.max_length)).unwrap_or_else(|| {
            lines.push(((&v.mixture, v.max_length), BTreeMap::new()));
            lines.len() - 1
        });
        lines[at].1.entry(v.step).or_default().push(value);
    }
    let summary = |(step, values): (u64, Vec<f64>)| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (step as f64, mean, least, most)
    };
    lines.into_iter().map(|(m, steps)| (m, steps.into_iter().map(summary).collect())).collect()
}
