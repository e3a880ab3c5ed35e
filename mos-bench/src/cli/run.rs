//! `mos-bench`, `mos-bench run` and `mos-bench resume`: from an experiment to its tables.

use std::{path::PathBuf, time::Instant};

use anyhow::bail;
use clap::Args;
use mos_baselines::Registry;
use mos_data::{
    Dataset, Feed,
    hopping::{HoppingConfig, Study, study},
};

use super::{output::Output, program, say};
use crate::{
    config::{Experiment, HeldOut},
    environment,
    experiment::Grid,
    export::Format,
    folder::{Folder, finish_writing},
    report::{self, RunFiles},
    results::{Results, RunRecord},
    shard::Shard,
    tables, tune,
};

/// Whether there is session hopping in the log of a run.
const HOPPING: &str = "hopping.json";

/// What is known of session hopping in a log.
pub(super) enum Hopping {
    /// What was found.
    Found(Box<Study>),
    /// The run folder has it.
    There,
    /// Nobody looked, or nobody could.
    Unknown(String),
}

/// Where an experiment is run, and what is changed in it.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Run folder [default: the first free of runs/<name>, runs/<name>-2, ...].
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Put a part of a configuration over it, as `mos-bench tune` writes one; can be given again.
    #[arg(long, value_name = "FILE")]
    pub(super) with: Vec<PathBuf>,
    /// Change a setting, as in `--set train.adam.lr=0.003`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Shrink the experiment to seconds: little data, short histories, one epoch, two seeds.
    #[arg(long)]
    pub(super) smoke: bool,
}

#[derive(Debug, Args)]
pub(super) struct WholeRun {
    #[command(flatten)]
    run: RunArgs,
    /// Train only part I of N of the trainings; `merge` joins the parts.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct ConfiguredRun {
    /// The experiment.
    #[arg(long)]
    config: PathBuf,
    #[command(flatten)]
    run: WholeRun,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The run folder; its own config.toml says what is to be done.
    run: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// A run whose trainings are done.
pub(super) struct Finished {
    pub(super) folder: Folder,
    /// Absent where it is a part of a run.
    pub(super) results: Option<Results>,
    /// Where it is and how long it took.
    pub(super) closing: String,
}

/// The quick tour.
pub(super) fn quick(args: &WholeRun, registry: &Registry) -> anyhow::Result<()> {
    whole(Experiment::read(None, &args.run.with, &args.run.set)?, args, registry)
}

/// The experiment of a file.
pub(super) fn configured(args: &ConfiguredRun, registry: &Registry) -> anyhow::Result<()> {
    let RunArgs { with, set, .. } = &args.run.run;
    whole(Experiment::read(Some(&args.config), with, set)?, &args.run, registry)
}

fn whole(experiment: Experiment, args: &WholeRun, registry: &Registry) -> anyhow::Result<()> {
    show(&run(experiment, &args.run, args.shard, args.output, registry)?, args.output)
}

/// An interrupted run, from where it was.
pub(super) fn resume(args: &ResumeArgs, registry: &Registry) -> anyhow::Result<()> {
    if args.run.join(tune::TRIALS).exists() {
        let place = args.run.display();
        bail!("{place}: holds a search; {} tune --resume with its configuration goes on with it", program());
    }
    let (experiment, folder) = Folder::open(&args.run)?;
    experiment.check(registry)?;
    show(&go_on(&experiment, folder, args.output, registry)?, args.output)
}

/// Runs an experiment from its beginning.
pub(super) fn run(
    experiment: Experiment,
    args: &RunArgs,
    shard: Option<Shard>,
    output: Output,
    registry: &Registry,
) -> anyhow::Result<Finished> {
    let experiment = if args.smoke { experiment.smoke()? } else { experiment };
    experiment.check(registry)?;
    let folder = Folder::create(&experiment, args.out.as_deref(), shard)?;
    go_on(&experiment, folder, output, registry)
}

fn go_on(
    experiment: &Experiment,
    folder: Folder,
    output: Output,
    registry: &Registry,
) -> anyhow::Result<Finished> {
    let started = Instant::now();
    let place = folder.path().display().to_string();
    on_interrupt(format!("{} resume {place} goes on from there", program()))?;
    folder.log().note(&format!("{} {}", program(), std::env::args().skip(1).collect::<Vec<_>>().join(" ")));
    let there = folder.path().join(HOPPING).exists();
    let loaded = load(experiment, there).and_then(|(hopping, data, held_out)| {
        Grid::new(experiment, &data, &held_out, registry)?.try_models()?;
        Ok((hopping, data, held_out))
    });
    let (hopping, data, held_out) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    let grid = Grid::new(experiment, &data, &held_out, registry)?;
    describe(&folder, &data, &hopping, output)?;
    if let Err(error) = grid.train(&folder, output.quiet) {
        folder.log().note(&format!("error: {error:#}"));
        return Err(error);
    }
    if let Some(shard) = folder.shard() {
        let closing = format!("{place} holds part {shard}; {} merge joins the parts\n", program());
        return Ok(Finished { folder, results: None, closing });
    }
    conclude(&grid, folder, output, started)
}

/// Ends the process when it is interrupted, as soon as no file is half written.
pub(super) fn on_interrupt(message: String) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || {
        finish_writing();
        eprintln!("\ninterrupted; {message}");
        std::process::exit(130);
    })?)
}

/// Reads the log, looks for session hopping in it unless that was done before, and makes it into samples.
pub(super) fn load(
    experiment: &Experiment,
    measured: bool,
) -> anyhow::Result<(Hopping, Dataset<Feed>, HeldOut)> {
    let known = if experiment.data.is_streamed()? {
        Some(Hopping::Unknown("the log is streamed (`data hopping` reads all of it)".into()))
    } else {
        measured.then_some(Hopping::There)
    };
    if let Some(known) = known {
        let (data, held_out) = experiment.load()?;
        return Ok((known, data, held_out));
    }
    let log = experiment.data.load()?;
    let hopping = match study(&log, &HoppingConfig::over_gaps(&log, experiment.task()?.session)) {
        Ok(study) => Hopping::Found(study.into()),
        // A log without themes can be trained on.
        Err(error) => Hopping::Unknown(error.to_string()),
    };
    let (data, held_out) = experiment.prepare(log)?;
    Ok((hopping, data, held_out))
}

/// Writes what is known before training.
pub(super) fn describe(
    folder: &Folder,
    data: &Dataset<Feed>,
    hopping: &Hopping,
    output: Output,
) -> anyhow::Result<()> {
    if !output.quiet {
        eprint!("{}", data.card);
    }
    match hopping {
        Hopping::Found(study) => {
            folder.write(HOPPING, (serde_json::to_string_pretty(study)? + "\n").as_bytes())?;
        }
        Hopping::There => {}
        Hopping::Unknown(why) => folder.log().note(&format!("hopping was not measured: {why}")),
    }
    folder.write("card.json", (serde_json::to_string_pretty(&data.card)? + "\n").as_bytes())?;
    let process = environment::process();
    folder.log().note(&format!("commit {}, {} threads", process["commit"], process["threads"]));
    folder.write("env.json", (serde_json::to_string_pretty(&process)? + "\n").as_bytes())
}

/// Writes what a finished grid amounts to.
pub(super) fn conclude(
    grid: &Grid<'_>,
    folder: Folder,
    output: Output,
    started: Instant,
) -> anyhow::Result<Finished> {
    let results = grid.conclude(&folder, output.quiet)?;
    folder.write("report.html", report::page(&[RunFiles::read(folder.path())?]).as_bytes())?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let place = folder.path().display();
    let waiting = RunRecord::waiting(results.cells.iter().flat_map(|cell| &cell.runs));
    let closing = format!(
        "{place} in {minutes:.1} minutes, {waiting} (results.json, metrics.jsonl, tables.md, card.json, test.csv, config.toml)\n\
         report: {}\n",
        folder.path().join("report.html").display()
    );
    Ok(Finished { folder, results: Some(results), closing })
}

/// Prints the tables, or all results.
pub(super) fn show(finished: &Finished, output: Output) -> anyhow::Result<()> {
    let Finished { folder, results, closing } = finished;
    say(&match (results, output.json) {
        (Some(results), true) => serde_json::to_string_pretty(results)? + "\n",
        (Some(results), false) => rendered(results) + closing,
        (None, true) => {
            let shard = folder.shard().map(|shard| shard.to_string());
            serde_json::json!({ "run": folder.path(), "shard": shard }).to_string() + "\n"
        }
        (None, false) => closing.clone(),
    })
}

fn rendered(results: &Results) -> String {
    [tables::accuracy(results), tables::cost(results)]
        .iter()
        .map(|t| t.render(Format::Terminal) + "\n")
        .collect()
}
