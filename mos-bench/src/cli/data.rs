//! `mos-bench data`: looking at logs.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use mos_data::{prepare, sources::Source};
use serde_json::{Map, Value};

use super::{hopping, say};

#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Read a log and print its card: counts, span, history lengths, sessions, ties, parts, what was left out.
    Card {
        #[command(flatten)]
        source: SourceArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find out whether session hopping is there: whether themes hold inside sessions, change between them, and come back.
    Hopping(hopping::HoppingArgs),
}

/// A source on the command line.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Name of the source; `mos-bench list` shows all.
    source: String,
    /// The file, folder or zip archive (synthetic data has none).
    path: Option<PathBuf>,
    /// Meaning of the columns, for sources of any table.
    #[arg(long)]
    schema: Option<PathBuf>,
    /// An option of the source, as in `--option items=category` or `--option generator.users=500`.
    #[arg(long, value_name = "KEY=VALUE")]
    option: Vec<String>,
}

impl SourceArgs {
    pub(super) fn source(self) -> anyhow::Result<Source> {
        let mut source = Source::new(&self.source, self.path);
        if let Some(schema) = self.schema {
            source = source.with("schema", schema.display().to_string());
        }
        for option in self.option {
            let Some((key, value)) = option.split_once('=') else {
                bail!("--option {option}: needs the form key=value");
            };
            // A bare word is a string.
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            insert(&mut source.options, key, value).with_context(|| format!("--option {option}"))?;
        }
        Ok(source.complete()?)
    }
}

/// Puts a value where a dotted key says.
fn insert(options: &mut Map<String, Value>, key: &str, value: Value) -> anyhow::Result<()> {
    let Some((table, rest)) = key.split_once('.') else {
        options.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = options.entry(table).or_insert_with(|| Map::new().into());
    let inner = inner.as_object_mut().with_context(|| format!("{table} is not a table"))?;
    insert(inner, rest, value)
}

pub(super) fn work(command: DataCommand) -> anyhow::Result<()> {
    let (source, json) = match command {
        DataCommand::Card { source, json } => (source.source()?, json),
        DataCommand::Hopping(args) => return hopping::work(args),
    };
    let card = prepare(source.load()?, &source.task()?)?.card;
    if json { say(&(serde_json::to_string_pretty(&card)? + "\n")) } else { say(&card.to_string()) }
}
