//! `mos-bench data`: looking at logs.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use mos_data::{
    nearest_name, prepare,
    sources::{SOURCES, Source, synthetic::SyntheticConfig, taobao::TaobaoItems},
};

use super::say;

#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Read a log and print its card: counts, span, history lengths, sessions, ties, parts, what was left out.
    Card {
        /// synthetic, taobao, movielens or csv.
        source: String,
        /// The file, or the folder that holds it (synthetic data has none).
        path: Option<PathBuf>,
        /// Meaning of the columns, for csv.
        #[arg(long)]
        schema: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn work(command: DataCommand) -> anyhow::Result<()> {
    let DataCommand::Card { source, path, schema, json } = command;
    let source = source_of(&source, path, schema)?;
    let card = prepare(source.load()?, &source.task()?)?.card;
    if json { say(&(serde_json::to_string_pretty(&card)? + "\n")) } else { say(&card.to_string()) }
}

fn source_of(name: &str, path: Option<PathBuf>, schema: Option<PathBuf>) -> anyhow::Result<Source> {
    let given = path.is_some();
    let path =
        |what: &str| path.clone().with_context(|| format!("data card {name} needs the path of {what}"));
    if schema.is_some() && name != "csv" {
        bail!("--schema belongs to csv, not to {name}");
    }
    Ok(match name {
        "synthetic" if given => bail!("data card synthetic reads nothing, so it takes no path"),
        "synthetic" => Source::Synthetic { generator: SyntheticConfig::default() },
        "taobao" => Source::Taobao { path: path("UserBehavior.csv")?, items: TaobaoItems::default() },
        "movielens" => Source::Movielens { path: path("the ratings")? },
        "csv" => {
            let schema = schema.context("data card csv needs --schema FILE.toml")?;
            Source::Csv { path: path("the file")?, schema }
        }
        _ => {
            let near = nearest_name(name, SOURCES.map(|(name, _)| name)).unwrap_or_default();
            bail!("{name}: no such source; did you mean {near}?")
        }
    })
}
