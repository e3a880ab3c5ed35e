//! The study behind a table, where only data is named: the configuration of that name for the source, else the one for
//! synthetic data with everything that belongs to that data taken out.

use std::path::Path;

use anyhow::{Context as _, bail};
use mos_data::sources::FORMATS;

use super::run::RunArgs;
use crate::config::Experiment;

/// Source, study and configuration.
const STUDIES: [(&str, &str, &str); 9] = [
    ("synthetic", "accuracy", include_str!("../../../configs/synthetic/accuracy.toml")),
    ("synthetic", "ablation", include_str!("../../../configs/synthetic/ablation.toml")),
    ("synthetic", "length", include_str!("../../../configs/synthetic/length.toml")),
    ("synthetic", "routing", include_str!("../../../configs/synthetic/routing.toml")),
    ("taobao", "accuracy", include_str!("../../../configs/taobao/accuracy.toml")),
    ("taobao", "ablation", include_str!("../../../configs/taobao/ablation.toml")),
    ("taobao", "length", include_str!("../../../configs/taobao/length.toml")),
    ("taobao", "routing", include_str!("../../../configs/taobao/routing.toml")),
    ("movielens", "accuracy", include_str!("../../../configs/movielens/accuracy.toml")),
];

/// Mixtures that need what synthetic data alone has: planted themes, content vectors.
const PLANTED: [&str; 2] = ["oracle_themes", "content_themes"];

/// The study `study` on `data`, a source and its path.
pub(super) fn experiment(
    study: &str,
    data: &[String],
    schema: Option<&Path>,
    args: &RunArgs,
) -> anyhow::Result<Experiment> {
    let source = data[0].as_str();
    let own = STUDIES.iter().find(|(of, name, _)| (*of, *name) == (source, study));
    let general = STUDIES.iter().find(|(of, name, _)| (*of, *name) == ("synthetic", study));
    let (of, _, text) = own.or(general).with_context(|| format!("{study}: no such study"))?;
    let mut table: toml::Table = text.parse()?;
    if *of != source {
        if !FORMATS.iter().any(|f| f.name == source) {
            // As everywhere else: names the nearest.
            mos_data::sources::Source::new(source, None).complete()?;
        }
        table.insert("name".into(), format!("{source}-{study}").into());
        let mut own = toml::Table::new();
        own.insert("source".into(), source.into());
        table.insert("data".into(), own.into());
        let left_out = without_planted(&mut table);
        eprintln!(
            "settings are those of configs/synthetic/{study}.toml, not chosen for {source}{}",
            if left_out.is_empty() { String::new() } else { format!("; left out: {}", left_out.join(", ")) }
        );
    }
    let Some(options) = table.get_mut("data").and_then(toml::Value::as_table_mut) else {
        bail!("configs/{of}/{study}.toml has no [data]");
    };
    match data.get(1) {
        Some(path) => drop(options.insert("path".into(), path.as_str().into())),
        None => drop(options.remove("path")),
    }
    if let Some(schema) = schema {
        options.insert("schema".into(), schema.display().to_string().into());
    }
    if !args.with.is_empty() {
        bail!("--with belongs to --config; with --data there is no configuration to put it over");
    }
    Experiment::of(table, &format!("the {study} study"), &args.set)
}

/// Takes out the mixtures of [`PLANTED`] and what varies them; returns what was there.
fn without_planted(table: &mut toml::Table) -> Vec<String> {
    let variants = table.get("variants").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let planted = |name: &str| {
        let of = variants.get(name).and_then(|v| v.get("of")).and_then(toml::Value::as_str);
        let needs = variants.get(name).is_some_and(|v| v.to_string().contains("content"));
        PLANTED.contains(&of.unwrap_or(name)) || needs
    };
    let mut left_out = Vec::new();
    if let Some(mixtures) = table.get_mut("mixtures").and_then(toml::Value::as_array_mut) {
        mixtures.retain(|m| {
            let gone = m.as_str().is_some_and(planted);
            left_out.extend(m.as_str().filter(|_| gone).map(str::to_owned));
            !gone
        });
    }
    left_out
}
