//! `mos-bench table`: tables from results that are there already.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::say;
use crate::{export::Format, results::Results, tables};

#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// Which one.
    which: Which,
    /// The run's results.json.
    #[arg(default_value = "runs/quick/results.json")]
    results: PathBuf,
    /// Rows of this encoder only; can be given again.
    #[arg(long)]
    encoder: Vec<String>,
    /// Rows of this mixture only; can be given again.
    #[arg(long)]
    mixture: Vec<String>,
    /// How it is written; all but the terminal's have all columns.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// AUC, gAUC and log loss, with differences to the encoder by itself and to `scales`.
    Accuracy,
    /// gAUC in its three weightings.
    Weightings,
    /// Multiply-adds, parameters and times.
    Cost,
}

pub(super) fn print(args: TableArgs) -> anyhow::Result<()> {
    let results = Results::read(&args.results)?.only(&args.encoder, &args.mixture)?;
    let table = match args.which {
        Which::Accuracy => tables::accuracy(&results),
        Which::Weightings => tables::weightings(&results),
        Which::Cost => tables::cost(&results),
    };
    say(&table.render(args.format))
}
