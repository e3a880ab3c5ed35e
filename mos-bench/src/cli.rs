//! The command line. A crate with plug-ins of its own calls [`main`] with its own registry.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use mos_baselines::Registry;
use mos_data::{
    nearest_name, prepare,
    sources::{SOURCES, Source, synthetic::SyntheticConfig, taobao::TaobaoItems},
};

use crate::{
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
    /// Look at data.
    #[command(subcommand)]
    Data(DataCommand),
    /// List encoders, mixtures and sources.
    List {
        /// Print the default options of encoders and mixtures too.
        #[arg(long)]
        options: bool,
    },
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Read a log and print its card: counts, span, history lengths, sessions, ties, parts, what was left out.
    Card {
        /// synthetic, taobao, movielens or csv.
        source: String,
        /// The file, or the folder that holds it (synthetic data has none).
        path: Option<PathBuf>,
        /// Meaning of the columns, for csv.
        #[arg(long)]
        schema: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command that the process was called with. Exit code 2 = usage or data, 130 = interrupted.
pub fn main(registry: &Registry) -> ExitCode {
    match work(Cli::parse(), registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn work(cli: Cli, registry: &Registry) -> anyhow::Result<()> {
    match cli.command {
        None => run(&Experiment::read(None, &cli.run.set)?, &cli.run, registry),
        Some(Command::Run { config, run: args }) => {
            run(&Experiment::read(Some(&config), &args.set)?, &args, registry)
        }
        Some(Command::Table { results }) => {
            print(&Results::read(&results)?);
            Ok(())
        }
        Some(Command::Data(DataCommand::Card { source, path, schema, json })) => {
            let source = source_of(&source, path, schema)?;
            let card = prepare(source.load()?, &source.task()?)?.card;
            if json {
                println!("{}", serde_json::to_string_pretty(&card)?);
            } else {
                print!("{card}");
            }
            Ok(())
        }
        Some(Command::List { options }) => {
            let none = serde_json::Value::Null;
            for (kind, all) in [
                ("encoders", registry.encoders().collect::<Vec<_>>()),
                ("mixtures", registry.mixtures().collect()),
                ("sources", SOURCES.map(|(name, line)| (name, line, &none)).into()),
            ] {
                println!("{kind}");
                for (name, line, defaults) in all {
                    println!("  {name:<15} {line}");
                    let defaults = defaults.as_object().filter(|_| options).into_iter().flatten();
                    defaults.for_each(|(key, value)| println!("  {:<15}   {key} = {value}", ""));
                }
            }
            Ok(())
        }
    }
}

fn source_of(name: &str, path: Option<PathBuf>, schema: Option<PathBuf>) -> anyhow::Result<Source> {
    let path =
        |what: &str| path.clone().with_context(|| format!("data card {name} needs the path of {what}"));
    if schema.is_some() && name != "csv" {
        bail!("--schema belongs to csv, not to {name}");
    }
    Ok(match name {
        "synthetic" => Source::Synthetic { generator: SyntheticConfig::default() },
        "taobao" => Source::Taobao { path: path("UserBehavior.csv")?, items: TaobaoItems::default() },
        "movielens" => Source::Movielens { path: path("the ratings")? },
        "csv" => {
            let schema = schema.context("data card csv needs --schema FILE.toml")?;
            Source::Csv { path: path("the file")?, schema }
        }
        _ => {
            let near = nearest_name(name, SOURCES.map(|(name, _)| name)).unwrap_or_default();
            bail!("{name}: no such source; did you mean {near}?")
        }
    })
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
    let loaded = experiment.load().and_then(|data| {
        eprint!("{}", data.card);
        experiment::try_models(experiment, &data, registry)?;
        Ok(data)
    });
    let data = match loaded {
        Ok(data) => data,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    let results = experiment::run(experiment, &data, registry, &folder)?;
    print(&results);
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("{} in {minutes:.1} minutes (results.json, tables.md, config.toml)", folder.path().display());
    Ok(())
}

fn print(results: &Results) {
    println!("{}\n{}", tables::accuracy(results).to_terminal(), tables::cost(results).to_terminal());
}
