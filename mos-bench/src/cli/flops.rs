//! `mos-bench flops`: what scoring costs, part by part.

use std::path::PathBuf;

use clap::Args;
use mos_baselines::Registry;

use super::say;
use crate::{config::Experiment, export::Format, flops::breakdown};

#[derive(Debug, Args)]
pub(super) struct FlopsArgs {
    /// An encoder; `mos-bench list` shows all.
    encoder: String,
    /// A mixture or a variant of the configuration; `none` = the encoder by itself.
    mixture: String,
    /// Behaviours of the history.
    #[arg(long)]
    length: usize,
    /// Candidates scored after one history.
    #[arg(long, default_value_t = 1)]
    candidates: usize,
    /// Sizes and options of this experiment instead of the defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Change a setting, as in `--set model.dim=64`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn print(args: &FlopsArgs, registry: &Registry) -> anyhow::Result<()> {
    let experiment = Experiment::read(args.config.as_deref(), &[], &args.set)?;
    let cost =
        breakdown(&experiment, &args.encoder, &args.mixture, (args.length, args.candidates), registry)?;
    if args.json {
        return say(&(serde_json::to_string_pretty(&cost)? + "\n"));
    }
    say(&cost.table().render(Format::Terminal))
}
