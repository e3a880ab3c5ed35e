//! `mos-bench list`: what can stand in a configuration.

use clap::{Args, ValueEnum as _};
use mos_baselines::Registry;
use mos_data::sources::FORMATS;

use super::{say, table::Which};
use crate::settings::plain;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print the default options of encoders and mixtures too.
    #[arg(long)]
    options: bool,
}

pub(super) fn print(args: &ListArgs, registry: &Registry) -> anyhow::Result<()> {
    let none = serde_json::Value::Null;
    let tables: Vec<(String, String)> = Which::value_variants()
        .iter()
        .filter_map(Which::to_possible_value)
        .map(|v| (v.get_name().to_owned(), v.get_help().map(ToString::to_string).unwrap_or_default()))
        .collect();
    let mut text = String::new();
    for (kind, all) in [
        ("encoders", registry.encoders().collect::<Vec<_>>()),
        ("mixtures", registry.mixtures().collect()),
        ("sources", FORMATS.iter().map(|f| (f.name, f.line, &none)).collect()),
        ("tables", tables.iter().map(|(name, line)| (name.as_str(), line.as_str(), &none)).collect()),
    ] {
        text += &format!("{kind}\n");
        for (name, line, defaults) in all {
            text += &format!("  {name:<15} {line}\n");
            let defaults = defaults.as_object().filter(|_| args.options).into_iter().flatten();
            defaults.for_each(|(key, value)| {
                text += &format!("  {:<15}   {key} = {}\n", "", plain(value));
            });
        }
    }
    say(&text)
}
