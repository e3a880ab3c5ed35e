//! `mos-bench data`: looking at logs.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use mos_data::{prepare, sources::Source};

use super::say;

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
    /// An option of the source, as in `--option items=category`.
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
            let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
            source = source.with(key, value);
        }
        Ok(source.complete()?)
    }
}

pub(super) fn work(command: DataCommand) -> anyhow::Result<()> {
    let DataCommand::Card { source, json } = command;
    let source = source.source()?;
    let card = prepare(source.load()?, &source.task()?)?.card;
    if json { say(&(serde_json::to_string_pretty(&card)? + "\n")) } else { say(&card.to_string()) }
}
