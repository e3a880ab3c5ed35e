//! `mos-bench compare`: two runs beside each other.

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::{compare, export::Format, report::RunFiles};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Run folder, or its results.json.
    a: PathBuf,
    /// The other.
    b: PathBuf,
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn print(args: &CompareArgs) -> anyhow::Result<()> {
    let (a, b) = (RunFiles::read(&args.a)?, RunFiles::read(&args.b)?);
    let tables = compare::tables(&a, &b)?;
    say(&tables.iter().map(|t| t.render(args.format)).collect::<Vec<_>>().join("\n"))
}
