//! `mos-bench list`: what can stand in a configuration.

use clap::Args;
use mos_baselines::Registry;
use mos_data::sources::FORMATS;

use super::say;
use crate::settings::plain;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print the default options of encoders and mixtures too.
    #[arg(long)]
    options: bool,
}

pub(super) fn print(args: &ListArgs, registry: &Registry) -> anyhow::Result<()> {
    let none = serde_json::Value::Null;
    let mut text = String::new();
    for (kind, all) in [
        ("encoders", registry.encoders().collect::<Vec<_>>()),
        ("mixtures", registry.mixtures().collect()),
        ("sources", FORMATS.iter().map(|f| (f.name, f.line, &none)).collect()),
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
