//! Two runs beside each other: what differs in what they were made from, and in what came out.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::{
    report::RunFiles,
    results::{Cell, Metric, Results},
    stats::{Paired, correct, paired_t, t_interval},
    tables::{Table, interval, mixture, paired},
};

/// What the runs were made from, their configurations' differences, the cells that both have, and those that one has.
///
/// # Errors
/// A `config.toml` that is no TOML.
pub fn tables(a: &RunFiles, b: &RunFiles) -> anyhow::Result<Vec<Table>> {
    let mut out = vec![origins(a, b), cells(&a.results, &b.results)];
    out.extend(configurations(a, b)?);
    Ok(out)
}

fn plain(title: &str, header: &[&str], rows: Vec<Vec<String>>, notes: Vec<String>) -> Table {
    Table {
        title: title.into(),
        header: header.iter().map(ToString::to_string).collect(),
        rows,
        wide: Vec::new(),
        notes,
        wide_notes: Vec::new(),
    }
}

/// Why numbers of two runs cannot be compared, if they cannot.
fn obstacle(a: &Results, b: &Results) -> Option<&'static str> {
    if a.data.sha256 != b.data.sha256 {
        Some("the data differ")
    } else if a.data.split_sha256 != b.data.split_sha256 {
        Some("the samples differ (split)")
    } else {
        None
    }
}

fn origins(a: &RunFiles, b: &RunFiles) -> Table {
    let (x, y) = (&a.results, &b.results);
    let seeds = |r: &Results| r.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    let mut rows = vec![
        ["data".into(), x.data.name.clone(), y.data.name.clone()],
        ["data hash".into(), short(&x.data.sha256), short(&y.data.sha256)],
        ["split hash".into(), short(&x.data.split_sha256), short(&y.data.split_sha256)],
        ["configuration hash".into(), short(&x.config_sha256), short(&y.config_sha256)],
        ["commit".into(), x.commit.clone(), y.commit.clone()],
        ["seeds".into(), seeds(x), seeds(y)],
    ];
    let keys: std::collections::BTreeSet<&String> =
        x.environment.keys().chain(y.environment.keys()).collect();
    for key in keys {
        let of = |r: &Results| r.environment.get(key).cloned().unwrap_or_default();
        rows.push([key.clone(), of(x), of(y)]);
    }
    let row = |[name, a, b]: [String; 3]| {
        let same = if a == b { "same" } else { "differs" };
        vec![name, a, b, same.into()]
    };
    let verdict = match obstacle(x, y) {
        Some(why) => format!("NOT COMPARABLE: {why}. Figures stand beside each other, without differences."),
        None => "Same data, same samples: figures can be compared.".into(),
    };
    plain(
        &format!("A = {}, B = {}", a.place(), b.place()),
        &["made from", "A", "B", ""],
        rows.into_iter().map(row).collect(),
        vec![verdict],
    )
}

/// AUC and gAUC of every cell in either run; differences B - A over the seeds that both have.
fn cells(a: &Results, b: &Results) -> Table {
    let metrics: [Metric; 2] = [|r| r.auc, |r| r.gauc];
    let find = |r: &'_ Results, cell: &Cell| {
        let key = |c: &Cell| (c.encoder.clone(), c.mixture.clone(), c.max_length);
        r.cells.iter().position(|c| key(c) == key(cell))
    };
    let both: Vec<(&Cell, &Cell)> = a.cells.iter().filter_map(|c| Some((c, &b.cells[find(b, c)?]))).collect();
    let comparable = obstacle(a, b).is_none();
    let differences = metrics.map(|metric| {
        let mut all: Vec<Option<Paired>> = both
            .iter()
            .map(|(x, y)| if comparable { over_common_seeds(x, y, metric) } else { None })
            .collect();
        correct(&mut all);
        all
    });
    let own = |cell: Option<&Cell>, metric: Metric| -> String {
        let Some(cell) = cell else { return String::new() };
        let values = cell.runs.iter().map(metric).collect::<Option<Vec<_>>>();
        interval(values.and_then(|v| t_interval(&v)))
    };
    let row = |x: Option<&Cell>, y: Option<&Cell>, deltas: [Option<Paired>; 2], where_: &str| {
        let named = x.map(|c| (a, c)).or(y.map(|c| (b, c)));
        let mut row = named.map(|(of, c)| vec![c.encoder.clone(), mixture(of, c)]).unwrap_or_default();
        for (metric, delta) in metrics.into_iter().zip(deltas) {
            row.extend([own(x, metric), own(y, metric), paired(delta)]);
        }
        row.push(where_.into());
        row
    };
    let mut rows = Vec::new();
    for (i, (x, y)) in both.iter().enumerate() {
        rows.push(row(Some(x), Some(y), [differences[0][i], differences[1][i]], "A and B"));
    }
    for cell in a.cells.iter().filter(|c| find(b, c).is_none()) {
        rows.push(row(Some(cell), None, [None, None], "A only"));
    }
    for cell in b.cells.iter().filter(|c| find(a, c).is_none()) {
        rows.push(row(None, Some(cell), [None, None], "B only"));
    }
    let common = a.seeds.iter().filter(|s| b.seeds.contains(s)).count();
    let mut notes = Vec::new();
    match obstacle(a, b) {
        Some(why) => notes.push(format!("NOT COMPARABLE: {why}.")),
        None if common == 0 => notes.push("The runs have no seed in common, so there are no differences.".into()),
        None => notes.push(format!(
            "Differences: B - A, paired over {common} common seed{}; ±: 95 % t interval; * p < 0.05, paired t, Holm over the \
             differences of one column.",
            if common == 1 { "" } else { "s" }
        )),
    }
    plain(
        "Cells",
        &["encoder", "mixture", "AUC, A", "AUC, B", "ΔAUC", "gAUC, A", "gAUC, B", "ΔgAUC", "in"],
        rows,
        notes,
    )
}

/// B - A over the seeds that both cells have; `None` without one, or where a value is undefined.
fn over_common_seeds(a: &Cell, b: &Cell, metric: Metric) -> Option<Paired> {
    let pairs = a.runs.iter().filter_map(|x| Some((x, b.runs.iter().find(|y| y.seed == x.seed)?)));
    let values = pairs.map(|(x, y)| Some((metric(x)?, metric(y)?))).collect::<Option<Vec<_>>>()?;
    let (x, y): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
    if x.is_empty() { None } else { paired_t(&y, &x) }
}

/// The settings that differ; `None` where a run has no configuration or nothing differs.
fn configurations(a: &RunFiles, b: &RunFiles) -> anyhow::Result<Option<Table>> {
    let settings = |run: &RunFiles| -> anyhow::Result<Option<BTreeMap<String, String>>> {
        let Some(text) = &run.config else { return Ok(None) };
        let table: toml::Table = text.parse().with_context(|| format!("{}/config.toml", run.place()))?;
        let mut out = BTreeMap::new();
        flatten(&table, "", &mut out);
        Ok(Some(out))
    };
    let (Some(x), Some(y)) = (settings(a)?, settings(b)?) else {
        let note = "A run folder without config.toml: settings are not compared.".into();
        return Ok(Some(plain("Settings that differ", &["setting", "A", "B"], Vec::new(), vec![note])));
    };
    let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
    let rows: Vec<Vec<String>> = keys
        .into_iter()
        .filter(|k| x.get(*k) != y.get(*k))
        .map(|k| {
            let of = |settings: &BTreeMap<String, String>| settings.get(k).cloned().unwrap_or("–".into());
            vec![k.clone(), of(&x), of(&y)]
        })
        .collect();
    let notes = if rows.is_empty() { vec!["None.".into()] } else { Vec::new() };
    Ok(Some(plain("Settings that differ", &["setting", "A", "B"], rows, notes)))
}

/// Settings by dotted name.
fn flatten(table: &toml::Table, at: &str, out: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(inner, &format!("{at}{key}."), out),
            value => drop(out.insert(format!("{at}{key}"), value.to_string())),
        }
    }
}
