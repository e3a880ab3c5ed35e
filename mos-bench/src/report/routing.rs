//! What the router does: load, themes against categories, one user's history.

use maud::{Markup, html};

use super::{
    Section,
    files::RunFiles,
    look::Look,
    rows::plain,
    svg::{Bar, Cell, Ink, Swatch, bars, figure, heat, legend, strip},
};
use crate::{
    routing::{Example, Heat, RoutingRecord},
    tables,
};

/// Bars and rows that a figure shows at most.
const SHOWN: usize = 32;

/// Routing of every cell that gives behaviours themes. Figures are of each cell's first seed; those of the first cell, a
/// `mos` where there is one, are open.
pub(crate) fn section(run: &RunFiles, look: &Look) -> Section {
    let key = |r: &RoutingRecord| (r.encoder.clone(), r.mixture.clone(), r.max_length);
    let mut first: Vec<&RoutingRecord> = Vec::new();
    for r in &run.routing {
        if !first.iter().any(|f| key(f) == key(r)) {
            first.push(r);
        }
    }
    first.sort_by_key(|r| r.mixture != "mos");
    let name = |r: &RoutingRecord| {
        format!("{} × {}, seed {}", r.encoder, look.with_length(&r.mixture, r.max_length), r.seed)
    };
    let body = html! {
        @if run.routing.is_empty() {
            p.note { "The run folder holds no routing.json, so routing is not shown." }
        } @else {
            (plain(&tables::routing(&run.results.data.name, &run.routing), 2))
            @for (i, r) in first.into_iter().enumerate() {
                @if i == 0 { h3 { (name(r)) } (figures(&name(r), r)) }
                @else { details { summary { (name(r)) } (figures(&name(r), r)) } }
            }
        }
    };
    Section { id: "routing", title: "Routing", body }
}

fn theme(i: usize) -> String {
    format!("theme {}", i + 1)
}

fn figures(name: &str, r: &RoutingRecord) -> Markup {
    let mut order: Vec<usize> = (0..r.load.len()).collect();
    if order.len() > SHOWN {
        order.sort_by(|a, b| r.load[*b].total_cmp(&r.load[*a]));
        order.truncate(SHOWN);
    }
    let bar = |i: &usize| Bar {
        label: theme(*i),
        parts: vec![(r.load[*i], Ink::Series(*i), format!("{}: {:.1} %", theme(*i), 100.0 * r.load[*i]))],
        tick: None,
        text: format!("{:.1} %", 100.0 * r.load[*i]),
        apart: false,
    };
    let load: Vec<Bar> = order.iter().map(bar).collect();
    html! {
        @if !r.example.events.is_empty() { (history(name, &r.example)) }
        (figure(
            html! {
                "Load: the share of behaviours that each theme takes."
                @if r.load.len() > SHOWN { " The " (SHOWN) " most loaded of " (r.load.len()) "." }
            },
            |width| bars(&format!("Load of the themes, {name}"), width.min(560.0), &load),
        ))
        @if !r.heat.categories.is_empty() { (categories(name, &r.heat)) }
    }
}

/// One user's history, coloured by theme.
fn history(name: &str, example: &Example) -> Markup {
    let events: Vec<Cell> = example
        .events
        .iter()
        .enumerate()
        .map(|(i, e)| {
            let themed = e.theme.map_or("no theme".to_owned(), theme);
            let category = e.category.as_ref().map_or(String::new(), |c| format!(", {c}"));
            Cell {
                ink: e.theme.map_or(Ink::Rule, Ink::Series),
                apart: i > 0 && example.events[i - 1].session != e.session,
                title: format!("{themed}{category}, session {}, time {}", e.session, e.time),
                marked: false,
            }
        })
        .collect();
    let mut themes: Vec<usize> = example.events.iter().filter_map(|e| e.theme).collect();
    themes.sort_unstable();
    themes.dedup();
    let names: Vec<(usize, String)> = themes.into_iter().map(|t| (t, theme(t))).collect();
    let bare = example.events.iter().any(|e| e.theme.is_none());
    let entries = names.iter().map(|(t, n)| (Swatch::Fill(Ink::Series(*t)), n.as_str()));
    html! {
        (legend(entries.chain(bare.then_some((Swatch::Fill(Ink::Rule), "no theme")))))
        (figure(
            html! {
                "The history of user " (example.user) ", oldest behaviour first, coloured by theme. A line below joins a session."
                @if names.iter().any(|(t, _)| *t >= 10) { " Colours repeat after ten themes." }
            },
            |width| strip(&format!("History of user {} by theme, {name}", example.user), width, &events),
        ))
    }
}

/// Shares of the themes in each category.
fn categories(name: &str, table: &Heat) -> Markup {
    let total = |j: usize| table.counts.iter().filter_map(|row| row.get(j)).sum::<u64>();
    let columns: Vec<String> = table.themes.iter().map(|t| (t + 1).to_string()).collect();
    let share = |j: usize| {
        let all = total(j).max(1) as f64;
        table.counts.iter().map(|row| row.get(j).copied().unwrap_or(0) as f64 / all).collect::<Vec<f64>>()
    };
    let values: Vec<Vec<f64>> = (0..table.categories.len()).map(share).collect();
    figure(
        html! { "Which theme (column) takes the behaviours of a " (table.of) " (row), in percent of the row." },
        |width| heat(&format!("Themes by {}, {name}", table.of), width, &table.categories, &columns, &values),
    )
}
