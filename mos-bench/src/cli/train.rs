//! `mos-bench train`: one model of an experiment, to be used.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use mos_baselines::Registry;

use super::say;
use crate::{
    config::Experiment,
    model_folder,
    progress::Progress,
    results::RunRecord,
    train::{Trial, View},
};

#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// The experiment (default: that of the quick tour).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Encoder.
    #[arg(long, default_value = "twin")]
    encoder: String,
    /// Mixture around it, or one of the experiment's variants.
    #[arg(long, default_value = "mos")]
    mixture: String,
    /// Seed (default: the experiment's first).
    #[arg(long)]
    seed: Option<u64>,
    /// Model folder to be written; one that stands there is replaced when the training has ended.
    #[arg(long)]
    out: PathBuf,
    /// Put a part of a configuration over it, as `mos-bench tune` writes one; can be given again.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Change a setting, as in `--set train.adam.lr=0.003`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn work(args: &TrainArgs, registry: &Registry) -> anyhow::Result<()> {
    let read = Experiment::read(args.config.as_deref(), &args.with, &args.set)?;
    let mut experiment = read.only(&args.encoder, &args.mixture, read.max_length);
    experiment.seeds.splice(.., args.seed.or(read.seeds.first().copied()));
    experiment.controls = false;
    experiment.check(registry)?;
    let Some(row) = experiment.rows()?.pop() else { bail!("there is nothing to train") };
    mos_core::model_folder::check_model(&row.experiment.model)?;
    mos_core::model_folder::check_place(&args.out)?;
    let (data, held_out) = experiment.load()?;
    eprint!("{}", data.card);
    let (spec, own) = (row.spec, row.experiment);
    let trial = Trial { experiment: own, registry, data: &data, spec, view: View::Full };
    let progress = Progress::new("training", trial.validations(), false);
    let tick = || {
        progress.add(1);
        true
    };
    let fitted = trial.fit(experiment.seeds[0], &tick)?.context("the training was stopped")?;
    progress.finish();
    if let Some(trouble) = fitted.trouble() {
        eprintln!("warning: {trouble}; the best weights until then are kept");
    }
    model_folder::keep(&args.out, &trial, &fitted)?;
    let (record, _) = trial.test(fitted, &held_out)?;
    let figure = |name: &str, value: Option<f64>| value.map_or(String::new(), |x| format!(", {name} {x:.4}"));
    say(&format!(
        "{}: {} x {}, seed {}{}{}; {:.0} s, {}\n",
        args.out.display(),
        args.encoder,
        args.mixture,
        record.seed,
        figure("test AUC", record.auc),
        figure("gAUC", record.gauc),
        record.seconds,
        RunRecord::waiting([&record])
    ))
}
