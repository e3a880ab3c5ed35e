//! `mos-bench merge`: one run from its parts.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use mos_baselines::Registry;

use super::{
    output::Output,
    run::{conclude, describe, load, show},
};
use crate::{experiment::Grid, merge::Parts};

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The run folders of the parts.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Folder of the whole run.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(super) fn work(args: &MergeArgs, registry: &Registry) -> anyhow::Result<()> {
    let started = Instant::now();
    let (experiment, parts) = Parts::open(&args.runs)?;
    experiment.check(registry)?;
    let (hopping, data, held_out) = load(&experiment, false)?;
    let grid = Grid::new(&experiment, &data, &held_out, registry)?;
    let folder = parts.join(&grid, &experiment, &args.out)?;
    describe(&folder, &data, &hopping, args.output)?;
    folder.keep_test(&data, &held_out)?;
    show(&conclude(&grid, folder, args.output, started)?, args.output)
}
