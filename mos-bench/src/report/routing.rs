//! What the router does: load, themes against categories, one user's history.

use maud::{Markup, html};

use super::{
    Section,
    files::{Example, Heat, Routing, RunFiles},
    look::Look,
    svg::{Bar, Cell, Ink, Swatch, bars, figure, heat, legend, strip},
};

/// Routing of every cell that has been looked at; the figures are those of each cell's first seed.
pub(crate) fn section(run: &RunFiles, _: &Look) -> Section {
    let mut first: Vec<&Routing> = Vec::new();
    for r in &run.routing {
        if !first.iter().any(|f| (&f.encoder, &f.mixture) == (&r.encoder, &r.mixture)) {
            first.push(r);
        }
    }
    let body = html! {
        @if run.routing.is_empty() {
            p.note { "The run folder holds no routing.json, so routing is not shown." }
        } @else {
            (measures(&run.routing))
            @for r in first { (cell(r)) }
        }
    };
    Section { id: "routing", title: "Routing", body }
}

fn measures(all: &[Routing]) -> Markup {
    let number = |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{x:.3}"));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Measures of routing" { table {
            thead { tr {
                th scope="col" { "cell" }
                @for head in ["seed", "themes", "entropy of load", "NMI", "purity", "stability"] { th.number scope="col" { (head) } }
            } }
            tbody { @for r in all { tr {
                th scope="row" { (r.encoder) " × " (r.mixture) }
                td.number { (r.seed) } td.number { (r.load.len()) }
                @for x in [r.entropy, r.nmi, r.purity, r.session_stability] { td.number { (number(x)) } }
            } } }
        } }
        p.note {
            "NMI and purity: agreement of themes and item categories. Stability: share of neighbours within a session that have "
            "one theme."
        }
    }
}

fn theme(i: usize) -> String {
    format!("theme {}", i + 1)
}

fn cell(r: &Routing) -> Markup {
    let bar = |(i, share): (usize, &f64)| Bar {
        label: theme(i),
        parts: vec![(*share, Ink::Series(i), format!("{}: {:.1} %", theme(i), 100.0 * share))],
        tick: None,
        text: format!("{:.1} %", 100.0 * share),
        apart: false,
    };
    let load: Vec<Bar> = r.load.iter().enumerate().map(bar).collect();
    let name = format!("{} × {}, seed {}", r.encoder, r.mixture, r.seed);
    html! {
        h3 { (name) }
        @if let Some(example) = &r.example { (history(&name, example)) }
        (figure(html! { "Load: the share of behaviours that each theme takes." },
            |width| bars(&format!("Load of the themes, {name}"), width.min(560.0), &load)))
        @if let Some(heat) = &r.heat { (categories(&name, heat)) }
    }
}

/// One user's history, coloured by theme.
fn history(name: &str, example: &Example) -> Markup {
    let user = plain(&example.user);
    let events: Vec<Cell> = example
        .events
        .iter()
        .enumerate()
        .map(|(i, e)| {
            let category = e.category.as_ref().map_or(String::new(), |c| format!(", category {}", plain(c)));
            Cell {
                ink: Ink::Series(e.theme),
                apart: i > 0 && example.events[i - 1].session != e.session,
                title: format!("{}{category}, session {}, time {}", theme(e.theme), e.session, e.time),
                marked: false,
            }
        })
        .collect();
    let themes = example.events.iter().map(|e| e.theme).max().map_or(0, |m| m + 1);
    let names: Vec<String> = (0..themes).map(theme).collect();
    html! {
        (legend(names.iter().enumerate().map(|(i, n)| (Swatch::Fill(Ink::Series(i)), n.as_str()))))
        (figure(
            html! { "The history of user " (user) ", oldest behaviour first, coloured by theme. A line below joins a session."
                @if themes > 10 { " Colours repeat after ten themes." } },
            |width| strip(&format!("History of user {user} by theme, {name}"), width, &events),
        ))
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Shares of the themes in each category; the most frequent categories.
fn categories(name: &str, table: &Heat) -> Markup {
    const SHOWN: usize = 20;
    let total = |j: usize| table.counts.iter().filter_map(|row| row.get(j)).sum::<f64>();
    let mut order: Vec<usize> = (0..table.categories.len()).collect();
    order.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
    let left_out = order.len().saturating_sub(SHOWN);
    order.truncate(SHOWN);
    let rows: Vec<String> = order.iter().map(|j| table.categories[*j].clone()).collect();
    let columns: Vec<String> = (0..table.counts.len()).map(|i| (i + 1).to_string()).collect();
    let share = |j: usize| {
        let all = total(j).max(f64::MIN_POSITIVE);
        table.counts.iter().map(|row| row.get(j).copied().unwrap_or(0.0) / all).collect::<Vec<f64>>()
    };
    let values: Vec<Vec<f64>> = order.iter().map(|j| share(*j)).collect();
    figure(
        html! {
            "Which theme (column) takes the behaviours of a category (row), in percent of the category, most frequent category "
            "first."
            @if left_out > 0 { " " (left_out) " rarer categories are left out." }
        },
        |width| heat(&format!("Themes by category, {name}"), width, &rows, &columns, &values),
    )
}
