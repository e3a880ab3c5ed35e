//! Session hopping: tables, drawings, and the page that holds them.

use maud::{Markup, html};
use mos_data::{
    Sessionizer,
    hopping::{Changes, Estimate, Example, SessionVectors, Study, ThemeSource, Verdict},
};

use super::{
    STYLE, Section, document,
    files::RunFiles,
    rows::plain,
    svg::{self, Bar, Chart, Ink, Scale},
};
use crate::{export::Format, tables::Table};

/// Colours of what is inside sessions, at their borders, and by chance.
const INSIDE: Ink = Ink::Series(0);
const BORDER: Ink = Ink::Series(1);
const CHANCE: Ink = Ink::Series(9);
/// Themes of an example that have a colour of their own; the tenth colour stands for chance.
const COLOURED: u32 = 9;

/// Verdict and tables, for a terminal.
pub(crate) fn terminal(study: &Study) -> String {
    let tables: String = tables(study).iter().map(|t| format!("\n{}", t.render(Format::Terminal))).collect();
    format!("{}\n{tables}", study.verdict.sentence)
}

/// A page that needs nothing else.
pub(crate) fn page(study: &Study) -> String {
    let title = format!("Session hopping in {}", study.data);
    let body = html! {
        main {
            h1 { (title) }
            (findings(study, |title| html! { h2 { (title) } }))
        }
    };
    document(&title, &body) + "\n"
}

/// The part of a run's report, from its hopping.json.
pub(crate) fn section(run: &RunFiles) -> Section {
    let body = match &run.hopping {
        Some(study) => findings(study, |title| html! { h3 { (title) } }),
        None => {
            html! { p.note { "The run folder holds no hopping.json: where no event of the log has a theme there is none." } }
        }
    };
    Section { id: "hopping", title: "Session hopping", body }
}

/// Verdict, figures and tables.
fn findings(study: &Study, heading: fn(&str) -> Markup) -> Markup {
    let [changes, mut decays, returns] = tables(study);
    // The caption of the drawing says it.
    decays.notes.clear();
    html! {
        p.verdict { (study.verdict.sentence) }
        p.note { (Verdict::RULE) }
        (heading("Where themes change"))
        (svg::figure(html! { (RATES) }, |width| rates(study, width)))
        (plain(&changes, 1))
        (heading("How long sessions stay alike"))
        (svg::figure(html! { (decay_caption(study)) }, |width| decay(study, width)))
        (plain(&decays, 1))
        (heading("Whether themes come back"))
        (plain(&returns, 1))
        @if let Some(example) = &study.example {
            (heading("One user"))
            (svg::figure(html! { (heat_caption(study, example)) }, |width| heat(example, width)))
            (svg::figure(html! { (strip_caption(example)) }, |width| strip(example, width)))
        }
    }
}

/// Drawings that stand alone, by the names of their files.
pub(crate) fn drawings(study: &Study) -> Vec<(&'static str, String)> {
    let mut all = vec![("rates.svg", rates(study, 720.0)), ("decay.svg", decay(study, 720.0))];
    if let Some(example) = &study.example {
        all.extend([("sessions.svg", heat(example, 720.0)), ("history.svg", strip(example, 720.0))]);
    }
    all.into_iter().map(|(name, drawing)| (name, svg::file(STYLE, drawing))).collect()
}

/// Changes, decay and returns.
pub(crate) fn tables(study: &Study) -> [Table; 3] {
    let head = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let per = |p: mos_data::hopping::PerOne| format!("{:.1} / {}", p.mean, p.median);
    let row = |c: &Changes| {
        let rates = [c.inside, c.border, c.shuffled, c.kept_inside, c.kept_at_border];
        [name(c.sessions), per(c.sessions_per_user), per(c.events_per_session)]
            .into_iter()
            .chain(rates.map(|r| percent(r, false)))
            .collect()
    };
    let changes = Table {
        title: format!("Changes of theme between neighbouring events in {}", study.data),
        header: head(&[
            "sessions",
            "per user",
            "events each",
            "inside %",
            "at border %",
            "shuffled %",
            "kept inside",
            "kept at border",
        ]),
        rows: in_order(study).into_iter().map(row).collect(),
        wide: Vec::new(),
        notes: vec![
            format!("{} Sessions per user and events of each: mean / median.", measured(study)),
            "shuffled: each user's themes permuted. kept: how many points the rate lies below that of the same users, weighted \
             by their pairs at these places. ±: half of the 95 % interval over users."
                .into(),
        ],
        wide_notes: Vec::new(),
    };
    let shown = [1, 2, 3, 5, 10, 20, 30, 50, 100];
    let decay = study.decay.iter().filter(|d| shown.contains(&d.distance));
    let decay = Table {
        title: format!("Similarity of a user's sessions ({})", name(study.config.sessions[0])),
        header: head(&["distance", "pairs", "cosine %", "permuted %", "above"]),
        rows: decay
            .map(|d| {
                let values =
                    [percent(d.similarity, false), percent(d.permuted, false), percent(d.above, true)];
                [d.distance.to_string(), d.pairs.to_string()].into_iter().chain(values).collect()
            })
            .collect(),
        wide: Vec::new(),
        notes: vec![decay_caption(study)],
        wide_notes: Vec::new(),
    };
    let r = &study.returns;
    let returns = Table {
        title: "The leading theme from session to session".into(),
        header: head(&["", "found %", "permuted %", "above"]),
        rows: vec![
            vec![
                "differs from the session before".into(),
                percent(r.switched, false),
                percent(r.switched_permuted, false),
                percent(r.switched_above, true),
            ],
            vec![
                "has led an earlier session, where it differs".into(),
                percent(r.returned, false),
                percent(r.returned_permuted, false),
                percent(r.above, true),
            ],
        ],
        wide: Vec::new(),
        notes: vec![format!(
            "A session's leading theme is its commonest; of equally common ones the first. permuted: the mean over {} \
             permutations of each user's sessions.",
            study.config.permutations
        )],
        wide_notes: Vec::new(),
    };
    [changes, decay, returns]
}

/// What was measured, in a sentence.
fn measured(study: &Study) -> String {
    let themes = match &study.config.themes {
        ThemeSource::Category => "categories".to_owned(),
        ThemeSource::Content => "clusters of content vectors".into(),
        ThemeSource::Cooccurrence => {
            format!("clusters by co-occurrence, learned on the sessions of {} other users", study.learners)
        }
        ThemeSource::Planted => "planted themes".into(),
        ThemeSource::Attribute(name) => format!("by {name}"),
    };
    let mut text =
        format!("{} users, {} events, {} themes ({themes})", study.users, study.events, study.themes);
    if study.without_theme > 0 {
        text += &format!("; {} events without a theme are left out", study.without_theme);
    }
    if study.users_without_theme > 0 {
        text += &format!("; {} users without any theme are left out", study.users_without_theme);
    }
    study.dropped.iter().for_each(|(why, n)| text += &format!("; left out by the source, {n}: {why}"));
    text + "."
}

/// The ways to find sessions, gaps rising.
fn in_order(study: &Study) -> Vec<&Changes> {
    let mut all: Vec<&Changes> = study.changes.iter().collect();
    all.sort_by_key(|c| match c.sessions {
        Sessionizer::Gap { seconds } => seconds,
        _ => 0,
    });
    all
}

fn name(sessions: Sessionizer) -> String {
    match sessions {
        Sessionizer::Gap { seconds } if seconds % 86_400 == 0 => format!("gap {} d", seconds / 86_400),
        Sessionizer::Gap { seconds } if seconds % 3600 == 0 => format!("gap {} h", seconds / 3600),
        Sessionizer::Gap { seconds } if seconds % 60 == 0 => format!("gap {} min", seconds / 60),
        Sessionizer::Gap { seconds } => format!("gap {seconds} s"),
        Sessionizer::Fixed { events } => format!("of {events} events"),
        Sessionizer::Day { .. } => "days".into(),
        Sessionizer::Given {} => "as given".into(),
    }
}

/// A share in percent, with half of its interval.
fn percent(value: Option<Estimate>, signed: bool) -> String {
    let written = |v: f64| if signed { format!("{:+.1}", 100.0 * v) } else { format!("{:.1}", 100.0 * v) };
    match value {
        Some(Estimate { value, lo: Some(lo), hi: Some(hi) }) => {
            format!("{} ± {:.1}", written(value), 50.0 * (hi - lo))
        }
        Some(Estimate { value, .. }) => written(value),
        None => "–".into(),
    }
}

const RATES: &str = "How often neighbouring events of a user differ in theme, by how sessions are found: both events inside one \
     session, on both sides of a border, and after each user's themes are permuted.";

fn rates(study: &Study, width: f64) -> Markup {
    let bars: Vec<Bar> = in_order(study)
        .into_iter()
        .flat_map(|c| {
            let kinds = [
                ("inside", c.inside, INSIDE),
                ("at border", c.border, BORDER),
                ("shuffled", c.shuffled, CHANCE),
            ];
            kinds.into_iter().enumerate().filter_map(move |(n, (kind, rate, ink))| {
                let label = format!("{}, {kind}", name(c.sessions));
                let text = format!("{} %", percent(rate, false));
                let value = rate?.value;
                let parts = vec![(value, ink, format!("{label}: {text}"))];
                Some(Bar { label, parts, tick: None, text, apart: n == 0 })
            })
        })
        .collect();
    svg::bars("How often the theme changes", width, &bars)
}

fn decay_caption(study: &Study) -> String {
    let what = match study.config.similarity {
        SessionVectors::Histograms => "counts of themes",
        SessionVectors::Means => "mean item vectors",
    };
    format!(
        "Cosine of two sessions' {what}, by their distance in sessions (1 = neighbours). permuted: the sessions of the \
         same users in random order. Sessions by: {}. Bands and ±: 95 % interval over users.",
        name(study.config.sessions[0])
    )
}

fn decay(study: &Study, width: f64) -> Markup {
    let line = |of: fn(&mos_data::hopping::AtDistance) -> Option<Estimate>| {
        let at = move |d: &mos_data::hopping::AtDistance| of(d).map(|e| (d.distance as f64, e));
        study.decay.iter().filter_map(at).collect::<Vec<_>>()
    };
    let lines = [("found", line(|d| d.similarity), INSIDE), ("permuted", line(|d| d.permuted), CHANCE)];
    let tops = lines.iter().flat_map(|(_, l, _)| l.iter().map(|(_, e)| e.hi.unwrap_or(e.value)));
    let y = Scale::from_zero(tops.map(|v| 1.05 * v));
    let last = study.decay.last().map_or(2, |d| d.distance) as f64;
    let x = ("distance in sessions", Scale::between(1.0, last));
    let room = lines.iter().map(|(name, ..)| svg::text_width(name)).fold(0.0, f64::max) + 16.0;
    let mut chart = Chart::new(
        "Similarity of sessions by distance",
        (width, (0.5 * width).clamp(260.0, 360.0)),
        x,
        ("cosine", y),
        room,
    );
    for (name, line, ink) in &lines {
        let band: Vec<_> = line.iter().filter_map(|(x, e)| Some((*x, e.lo?, e.hi?))).collect();
        chart.band(*ink, &band);
        let points: Vec<_> = line.iter().map(|(x, e)| (*x, e.value)).collect();
        chart.line(*ink, *name == "permuted", &points, name);
    }
    let end = |(name, line, ink): &(&str, Vec<(f64, Estimate)>, Ink)| {
        line.last().map(|(_, e)| (e.value, (*name).to_owned(), *ink))
    };
    chart.ends(&lines.iter().filter_map(end).collect::<Vec<_>>());
    chart.finish()
}

fn heat_caption(study: &Study, example: &Example) -> String {
    let left_out = match example.left_out {
        0 => String::new(),
        n => format!(" The {n} sessions before these are left out."),
    };
    format!(
        "Cosine of every pair of sessions of one user: the one with the median number of sessions among the {} users with at \
         least {}. Sessions by: {}.{left_out}",
        example.among,
        example.at_least,
        name(study.config.sessions[0])
    )
}

fn heat(example: &Example, width: f64) -> Markup {
    let names: Vec<String> =
        (1..=example.sessions.len()).map(|n| (example.left_out + n).to_string()).collect();
    // Square cells, where there is room for them.
    let square = 20.0 * names.len() as f64 + svg::text_width(names.last().map_or("", String::as_str)) + 8.0;
    svg::heat("Similarity of sessions", width.min(square), &names, &names, &example.similarity)
}

fn strip_caption(example: &Example) -> String {
    let themes = example.sessions.iter().flatten().max().map_or(0, |most| most + 1);
    let rest = if themes > COLOURED { ", the others are grey" } else { "" };
    format!(
        "The events of the same user in order, coloured by theme and underlined by session. The commonest {} of {themes} themes \
         have a colour{rest}.",
        themes.min(COLOURED)
    )
}

fn strip(example: &Example, width: f64) -> Markup {
    let cells = example.sessions.iter().enumerate().flat_map(|(n, session)| {
        session.iter().enumerate().map(move |(at, theme)| svg::Cell {
            ink: if *theme < COLOURED { Ink::Series(*theme as usize) } else { Ink::Rule },
            apart: at == 0,
            title: format!("session {}, theme {}", example.left_out + n + 1, theme + 1),
            marked: false,
        })
    });
    svg::strip("History by theme", width, &cells.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mos_data::{
        hopping::{HoppingConfig, study},
        sources::synthetic::SyntheticConfig,
    };

    #[test]
    fn drawings_are_whole_and_need_nothing_else() {
        let log = SyntheticConfig { users: 40, ..SyntheticConfig::default() }.generate().unwrap();
        let sessions = vec![Sessionizer::Given {}, Sessionizer::Gap { seconds: 86_400 }];
        let config =
            HoppingConfig { themes: ThemeSource::Planted, draws: 20, ..HoppingConfig::new(&log, sessions) };
        let found = study(&log, &config).unwrap();
        let all = drawings(&found);
        assert_eq!(all.len(), 4);
        let page = page(&found);
        for text in all.iter().map(|(_, text)| text).chain([&page]) {
            assert!(
                !text.contains("NaN") && text.matches("://").count() == text.matches("xmlns=").count(),
                "{text}"
            );
            let (open, close) = (text.matches("<svg").count(), text.matches("</svg>").count());
            assert!(open == close && open > 0);
        }
        assert!(page.contains(&found.verdict.sentence));
        let example = found.example.unwrap();
        let cells: usize = example.sessions.iter().map(Vec::len).sum();
        assert_eq!(all[3].1.matches("<title>session").count(), cells);
        assert_eq!(all[2].1.matches("<title>").count(), example.sessions.len().pow(2));
    }
}
