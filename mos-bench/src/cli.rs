//! The command line. A crate with plug-ins of its own calls [`main`] with its own registry.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mos_baselines::Registry;
use mos_data::{
    nearest_name, prepare,
    sources::{SOURCES, Source, synthetic::SyntheticConfig, taobao::TaobaoItems},
};

use crate::{config::Experiment, experiment, folder::Folder, results::Results, tables};

/// Trains and compares click models on long histories. Without a command: the quick tour on synthetic data.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
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
    /// Print a table of a finished run, whole or in part.
    Table {
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
        /// Print Markdown, with all columns.
        #[arg(long)]
        markdown: bool,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// AUC, gAUC and log loss, with differences to the encoder by itself and to `scales`.
    Accuracy,
    /// gAUC in its three weightings.
    Weightings,
    /// Multiply-adds, parameters and times.
    Cost,
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
        Some(Command::Table { which, results, encoder, mixture, markdown }) => {
            let results = Results::read(&results)?.only(&encoder, &mixture)?;
            let table = match which {
                Which::Accuracy => tables::accuracy(&results),
                Which::Weightings => tables::weightings(&results),
                Which::Cost => tables::cost(&results),
            };
            say(&if markdown { table.to_markdown() } else { table.to_terminal() })
        }
        Some(Command::Data(DataCommand::Card { source, path, schema, json })) => {
            let source = source_of(&source, path, schema)?;
            let card = prepare(source.load()?, &source.task()?)?.card;
            if json { say(&(serde_json::to_string_pretty(&card)? + "\n")) } else { say(&card.to_string()) }
        }
        Some(Command::List { options }) => {
            let none = serde_json::Value::Null;
            let mut text = String::new();
            for (kind, all) in [
                ("encoders", registry.encoders().collect::<Vec<_>>()),
                ("mixtures", registry.mixtures().collect()),
                ("sources", SOURCES.map(|(name, line)| (name, line, &none)).into()),
            ] {
                text += &format!("{kind}\n");
                for (name, line, defaults) in all {
                    text += &format!("  {name:<15} {line}\n");
                    let defaults = defaults.as_object().filter(|_| options).into_iter().flatten();
                    defaults.for_each(|(key, value)| {
                        text += &format!("  {:<15}   {key} = {}\n", "", plain(value));
                    });
                }
            }
            say(&text)
        }
    }
}

/// A value as its user wrote it: options are f32, whose nearest f64 has many digits.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Number(n) if n.is_f64() => {
            n.as_f64().map_or(n.to_string(), |x| (x as f32).to_string())
        }
        serde_json::Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k} = {}", plain(v))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn source_of(name: &str, path: Option<PathBuf>, schema: Option<PathBuf>) -> anyhow::Result<Source> {
    let given = path.is_some();
    let path =
        |what: &str| path.clone().with_context(|| format!("data card {name} needs the path of {what}"));
    if schema.is_some() && name != "csv" {
        bail!("--schema belongs to csv, not to {name}");
    }
    Ok(match name {
        "synthetic" if given => bail!("data card synthetic reads nothing, so it takes no path"),
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
    let results = experiment::run(experiment, &data, &held_out, registry, &folder)?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let place = folder.path().display();
    let closing =
        format!("{place} in {minutes:.1} minutes (results.json, tables.md, test.csv, config.toml)\n");
    say(&(rendered(&results) + &closing))
}

fn rendered(results: &Results) -> String {
    [tables::accuracy(results), tables::cost(results)].iter().map(|t| t.to_terminal() + "\n").collect()
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
