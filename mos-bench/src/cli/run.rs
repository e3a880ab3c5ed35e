//! `mos-bench` and `mos-bench run`: from an experiment to its tables.

use std::{path::PathBuf, time::Instant};

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
    out: Option<PathBuf>,
    /// Finish an interrupted run.
    #[arg(long)]
    resume: bool,
    /// Change a setting, as in `--set train.adam.lr=0.003`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
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
    run(&Experiment::read(None, &args.set)?, args, registry)
}

/// The experiment of a file.
pub(super) fn configured(args: &ConfiguredRun, registry: &Registry) -> anyhow::Result<()> {
    run(&Experiment::read(Some(&args.config), &args.run.set)?, &args.run, registry)
}

fn run(experiment: &Experiment, args: &RunArgs, registry: &Registry) -> anyhow::Result<()> {
    let started = Instant::now();
    experiment.check(registry)?;
    let folder = Folder::open(experiment, args.out.as_deref(), args.resume)?;
    // Finished trainings are whole files already, so there is nothing to save.
    let place = folder.path().display().to_string();
    ctrlc::set_handler(move || {
        eprintln!("\ninterrupted; the same command with --resume goes on from {place}");
        std::process::exit(130);
    })?;
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
        "{place} in {minutes:.1} minutes (results.json, tables.md, test.csv, config.toml)\n\
         report: {}\n",
        folder.path().join("report.html").display()
    );
    say(&(rendered(&results) + &closing))
}

fn rendered(results: &Results) -> String {
    [tables::accuracy(results), tables::cost(results)]
        .iter()
        .map(|t| t.render(Format::Terminal) + "\n")
        .collect()
}
