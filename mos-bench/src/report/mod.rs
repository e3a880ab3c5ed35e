//! The report: one HTML file that needs nothing else, no network, no script.
//!
//! [`page`] makes it of what run folders hold. A part of the page is a function in `PARTS`; each says so itself where its data
//! are not there. Figures are drawn with `svg`, in the colours of `style.css`.

mod accuracy;
mod costs;
mod curves;
mod files;
mod headline;
pub(crate) mod hopping;
mod look;
mod provenance;
mod routing;
mod rows;
pub(crate) mod speed;
mod studies;
pub(crate) mod svg;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::files::RunFiles;
pub(crate) use self::files::optional_json;
use self::look::{Look, counted, short};

/// Of pages and of drawings that stand alone.
const STYLE: &str = include_str!("style.css");

/// A part of the page.
pub(crate) struct Section {
    /// For links.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) body: Markup,
}

/// Makes a part, where the run has anything to do with it.
type Part = fn(&RunFiles, &Look) -> Option<Section>;

/// The parts, in their order.
const PARTS: [Part; 13] = [
    |run, look| Some(accuracy::section(run, look)),
    |run, look| Some(costs::pareto(run, look)),
    studies::ablation,
    studies::length,
    |run, look| Some(curves::section(run, look)),
    |run, look| Some(routing::section(run, look)),
    |run, _| Some(hopping::section(run)),
    |run, look| Some(costs::bars_by_part(run, look)),
    |run, look| Some(accuracy::weightings(run, look)),
    |run, look| Some(accuracy::calibration(run, look)),
    |run, _| Some(provenance::data(run)),
    |run, _| Some(provenance::made_from(run)),
    |run, _| Some(provenance::repeat(run)),
];

/// The report of one run or of several, each with all its parts. Several begin with a table of the cells of all runs on the
/// same data.
pub fn page(runs: &[RunFiles]) -> String {
    let look = Look::of(runs.iter().map(|r| &r.results));
    let title = match runs {
        [run] => run.results.data.name.clone(),
        _ => counted(runs.len(), "run"),
    };
    let sections: Vec<Vec<Section>> =
        runs.iter().map(|run| PARTS.iter().filter_map(|part| part(run, &look)).collect()).collect();
    let body = html! {
        main {
            @if runs.len() > 1 { (together(runs, &look)) }
            @for (i, (run, sections)) in runs.iter().zip(&sections).enumerate() {
                @let prefix = if runs.len() > 1 { format!("run-{}-", i + 1) } else { String::new() };
                (head(i, runs.len(), run, &look))
                nav aria-label="Parts" { ul {
                    @for s in sections { li { a href={ "#" (prefix) (s.id) } { (s.title) } } }
                } }
                @for s in sections { section id={ (prefix) (s.id) } { h2 { (s.title) } (s.body) } }
            }
        }
        footer { p.note { "Written by mos-bench " (env!("CARGO_PKG_VERSION")) " from the files of the run alone." } }
    };
    document(&format!("mos-bench: {title}"), &body)
}

/// A page that needs nothing else.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                // No icon is asked for.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// A run's number and folder.
fn run_name(i: usize, run: &RunFiles) -> String {
    format!("run {}: {}", i + 1, run.place())
}

fn head(i: usize, of: usize, run: &RunFiles, look: &Look) -> Markup {
    let r = &run.results;
    let sentences = headline::sentences(r, look);
    let (verdict, rest) = sentences.split_first().map_or(("", &[][..]), |(v, rest)| (v.as_str(), rest));
    html! {
        header id={ "run-" (i + 1) } {
            @if of > 1 { h1.run { (run_name(i, run)) } } @else { h1 { "Click models on " (r.data.name) } }
            p.verdict { (verdict) }
            @for sentence in rest { p { (sentence) } }
            dl.facts {
                @for (name, value) in [
                    ("users", r.data.users.to_string()),
                    ("items", r.data.items.to_string()),
                    ("test samples", r.data.test_samples.to_string()),
                    ("cells", r.cells.len().to_string()),
                    ("seeds", r.seeds.len().to_string()),
                    ("split", short(&r.data.split_sha256).to_owned()),
                    ("commit", r.commit.clone()),
                ] { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

/// The head of a page of several runs: where they are, and one table for each data set that more than one of them used.
fn together(runs: &[RunFiles], look: &Look) -> Markup {
    let mut groups: Vec<Vec<(String, &RunFiles)>> = Vec::new();
    let key = |r: &RunFiles| (r.results.data.sha256.clone(), r.results.data.split_sha256.clone());
    for (i, run) in runs.iter().enumerate() {
        let entry = (format!("run {}", i + 1), run);
        match groups.iter_mut().find(|g| key(g[0].1) == key(run)) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    html! {
        header {
            h1 { (counted(runs.len(), "run")) }
            ol { @for (i, run) in runs.iter().enumerate() {
                li { a href={ "#run-" (i + 1) } { (run.place()) } " on " (run.results.data.name) }
            } }
        }
        @for group in groups.iter().filter(|g| g.len() > 1) {
            section {
                h2 { "All cells on " (group[0].1.results.data.name) }
                (accuracy::joint(group, look))
                p.note {
                    "Same data and same split (" code { (short(&group[0].1.results.data.split_sha256)) } "). "
                    @if group.windows(2).any(|w| w[0].1.results.config_sha256 != w[1].1.results.config_sha256) {
                        "Configurations differ; " code { "mos-bench compare" } " says in what. "
                    }
                    "Tests are those of each run by itself, below."
                }
            }
        }
        @if groups.len() > 1 {
            p.note { "Runs on different data or splits are not in one table: their numbers cannot be compared." }
        }
    }
}
