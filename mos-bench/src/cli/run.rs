//! `mos-bench` and `mos-bench run`: from an experiment to its tables.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use mos_baselines::Registry;

use super::say;
use crate::{
    config::Experiment,
    experiment,
    export::Format,
    folder::Folder,
    report::{self, RunFiles},
    results::Results,
    tables,
};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Run folder (default: runs/<name> below the current folder).
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Finish an interrupted run.
    #[arg(long)]
    pub(super) resume: bool,
    /// Put a part of a configuration over it, as `mos-bench tune` writes one; can be given again.
    #[arg(long, value_name = "FILE")]
    pub(super) with: Vec<PathBuf>,
    /// Change a setting, as in `--set train.adam.lr=0.003`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// A finished run.
pub(super) struct Finished {
    pub(super) results: Results,
    pub(super) folder: Folder,
    /// Where it is and how long it took.
    pub(super) closing: String,
}

#[derive(Debug, Args)]
pub(super) struct ConfiguredRun {
    /// The experiment.
    #[arg(long)]
    config: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// The quick tour.
pub(super) fn quick(args: &RunArgs, registry: &Registry) -> anyhow::Result<()> {
    show(&Experiment::read(None, &args.with, &args.set)?, args, registry)
}

/// The experiment of a file.
pub(super) fn configured(args: &ConfiguredRun, registry: &Registry) -> anyhow::Result<()> {
    show(&Experiment::read(Some(&args.config), &args.run.with, &args.run.set)?, &args.run, registry)
}

fn show(experiment: &Experiment, args: &RunArgs, registry: &Registry) -> anyhow::Result<()> {
    let Finished { results, closing, .. } = run(experiment, args, registry)?;
    say(&(rendered(&results) + &closing))
}

/// Trains whatever is not finished.
pub(super) fn run(experiment: &Experiment, args: &RunArgs, registry: &Registry) -> anyhow::Result<Finished> {
    let started = Instant::now();
    experiment.check(registry)?;
    let folder = opened(experiment, args.out.as_deref(), args.resume)?;
    let loaded = experiment.load().and_then(|(data, held_out)| {
        eprint!("{}", data.card);
        experiment::try_models(experiment, &data, registry)?;
        Ok((data, held_out))
    });
    let (data, held_out) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    folder.write("card.json", (serde_json::to_string_pretty(&data.card)? + "\n").as_bytes())?;
    let results = experiment::run(experiment, &data, &held_out, registry, &folder)?;
    folder.write("report.html", report::page(&[RunFiles::read(folder.path())?]).as_bytes())?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let place = folder.path().display();
    let closing = format!(
        "{place} in {minutes:.1} minutes (results.json, tables.md, card.json, test.csv, config.toml)\n\
         report: {}\n",
        folder.path().join("report.html").display()
    );
    Ok(Finished { results, folder, closing })
}

/// The folder of a run; an interrupt then says how to go on.
pub(super) fn opened(experiment: &Experiment, out: Option<&Path>, resume: bool) -> anyhow::Result<Folder> {
    let folder = Folder::open(experiment, out, resume)?;
    // Finished trainings are whole files already, so there is nothing to save.
    let place = folder.path().display().to_string();
    ctrlc::set_handler(move || {
        eprintln!("\ninterrupted; the same command with --resume goes on from {place}");
        std::process::exit(130);
    })?;
    Ok(folder)
}

fn rendered(results: &Results) -> String {
    [tables::accuracy(results), tables::cost(results)]
        .iter()
        .map(|t| t.render(Format::Terminal) + "\n")
        .collect()
}
