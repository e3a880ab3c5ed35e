//! What the numbers come from, and how to get them again.

use maud::{Markup, html};
use mos_data::Card;

use super::{Section, files::RunFiles};

/// The data card.
pub(crate) fn data(run: &RunFiles) -> Section {
    let d = &run.results.data;
    let body = html! {
        @match &run.card {
            Some(card) => (card_table(card)),
            None => {
                (pairs([
                    ("data", html! { (d.name) }),
                    ("users", html! { (d.users) }),
                    ("items", html! { (d.items) }),
                    ("predicted", html! { (d.label.to_string()) }),
                    ("samples", html! { (d.train_samples) " training, " (d.valid_samples) " validation, " (d.test_samples) " test" }),
                ]))
                p.note { "The run folder holds no card.json, so there is no more to say of the data." }
            },
        }
    };
    Section { id: "data", title: "Data", body }
}

fn card_table(card: &Card) -> Markup {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let [mean, p50, p90, p99, most] = card.history;
    let parts = card.parts.iter().map(|(part, (samples, positive))| {
        // A digit in front orders them.
        let name = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        html! { div { (name) ": " (samples) " samples, " (percent(*positive)) " positive" } }
    });
    pairs([
        ("data", html! { (card.name) }),
        ("users", html! { (card.users) }),
        ("items", html! { (card.items) }),
        ("behaviours", html! { (card.events) }),
        ("time", html! { (card.span[0]) " to " (card.span[1]) " (unix seconds)" }),
        (
            "history",
            html! { "mean " (format!("{mean:.1}")) ", median " (p50) ", 90 % " (p90) ", 99 % " (p99) ", most " (most) },
        ),
        (
            "sessions",
            html! { (format!("{:.1} per user, {:.1} behaviours each", card.sessions[0], card.sessions[1])) },
        ),
        ("equal times", html! { (percent(card.tie_rate)) " of neighbouring behaviours" }),
        ("predicted", html! { (card.label.to_string()) }),
        ("parts", html! { @for part in parts { (part) } }),
        (
            "new targets",
            html! { (percent(card.unknown_targets)) " of later targets were never seen in training" },
        ),
        (
            "left out",
            html! {
                @if card.dropped.is_empty() { "nothing" }
                @for (reason, count) in &card.dropped { div { (count) ": " (reason) } }
            },
        ),
    ])
}

/// Configuration, hashes, commit, environment.
pub(crate) fn made_from(run: &RunFiles) -> Section {
    let r = &run.results;
    let code = |text: &str| html! { code { (text) } };
    let body = html! {
        (pairs([
            ("data, SHA-256", code(&r.data.sha256)),
            ("split, SHA-256", code(&r.data.split_sha256)),
            ("configuration, SHA-256", code(&r.config_sha256)),
            ("commit", code(&r.commit)),
            ("seeds", html! { (r.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) }),
        ]))
        h3 { "Environment" }
        (pairs(r.environment.iter().map(|(k, v)| (k.as_str(), html! { (v) }))))
        @match &run.config {
            Some(config) => details { summary { "Configuration" } pre tabindex="0" { (config) } },
            None => p.note { "The run folder holds no config.toml." },
        }
    };
    Section { id: "provenance", title: "Configuration and environment", body }
}

/// The command that trains each cell again and compares.
pub(crate) fn repeat(run: &RunFiles) -> Section {
    let place = quoted(&run.place());
    let trained = run.results.cells.iter().filter(|c| c.params.dense > 0);
    let command = |cell: &str| format!("cargo run -p mos-bench -- verify {place} --cell {}", quoted(cell));
    let rows: Vec<(String, Markup)> = trained
        .flat_map(|c| c.runs.iter().map(|r| format!("{}/{}/{}", c.encoder, run.mixture(c), r.seed)))
        .map(|cell| (cell.clone(), html! { code { (command(&cell)) } }))
        .collect();
    let body = html! {
        p { "A cell is trained again and compared to the bit by" }
        @if let Some((_, first)) = rows.first() { pre tabindex="0" { (first) } }
        details {
            summary { "The command of each cell and seed" }
            div.scroll tabindex="0" role="region" aria-label="Commands" { table { tbody {
                @for (cell, command) in &rows { tr { th scope="row" { (cell) } td { (command) } } }
            } } }
        }
    };
    Section { id: "repeat", title: "Repeat it", body }
}

/// As a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./@:,+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A table of names and what they stand for; lines break.
pub(crate) fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        table.wrap { tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } } }
    }
}
