//! The `mos-bench` command.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, Parser, Subcommand};
use mos_bench::{
    config::Experiment,
    experiment::{self, Folder},
    results::Results,
    tables,
};

/// Trains and compares click models on long histories. Without a command: the quick tour on synthetic data.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the experiment of a file.
    Run {
        /// The experiment.
        #[arg(long)]
        config: PathBuf,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Print the tables of a finished run again.
    Table {
        /// Its results.json.
        results: PathBuf,
    },
    /// Print the data card of an experiment.
    Card {
        /// The experiment (default: the quick tour).
        #[arg(long)]
        config: Option<PathBuf>,
        /// Change a setting.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// List encoders and mixtures.
    List,
}

fn main() -> ExitCode {
    match work(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn work(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => run(&Experiment::read(None, &cli.run.set)?, &cli.run),
        Some(Command::Run { config, run: args }) => run(&Experiment::read(Some(&config), &args.set)?, &args),
        Some(Command::Table { results }) => {
            print(&Results::read(&results)?);
            Ok(())
        }
        Some(Command::Card { config, set }) => {
            print!("{}", Experiment::read(config.as_deref(), &set)?.load()?.card);
            Ok(())
        }
        Some(Command::List) => {
            for (kind, all) in [
                ("encoders", mos_baselines::encoder_names().collect::<Vec<_>>()),
                ("mixtures", mos_baselines::mixture_names().collect()),
            ] {
                println!("{kind}");
                all.iter().for_each(|(name, line)| println!("  {name:<15} {line}"));
            }
            Ok(())
        }
    }
}

fn run(experiment: &Experiment, args: &RunArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let folder = Folder::open(experiment, args.out.as_deref(), args.resume)?;
    let data = experiment.load()?;
    eprint!("{}", data.card);
    let results = experiment::run(experiment, &data, &folder)?;
    print(&results);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("{} in {minutes:.1} minutes (results.json, tables.md, config.toml)", folder.path().display());
    Ok(())
}

fn print(results: &Results) {
    println!("{}\n{}", tables::accuracy(results).to_terminal(), tables::cost(results).to_terminal());
}
