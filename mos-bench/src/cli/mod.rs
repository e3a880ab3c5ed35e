//! The command line: one file per command. A crate with plug-ins of its own calls [`main`] with its own registry.

mod compare;
mod data;
mod fetch;
mod flops;
mod hopping;
mod list;
mod merge;
mod output;
mod predict;
mod report;
mod run;
mod shell;
mod speed;
mod study;
mod suggest;
mod table;
mod train;
mod tune;
mod verify;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mos_baselines::Registry;

const EXIT_CODES: &str = "\
Exit codes: 0 = done, 1 = verify found a difference, 2 = usage, data or files, 130 = interrupted (resume goes on).";

/// Trains and compares click models on long histories. Without a command: the quick tour on synthetic data.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::WholeRun,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the experiment of a file.
    Run(run::ConfiguredRun),
    /// Finish an interrupted run, to the same bits as if it had not been interrupted.
    Resume(run::ResumeArgs),
    /// Join the parts of a run that were trained with `--shard`.
    Merge(merge::MergeArgs),
    /// Derive the results of a run again from its scores, and repeat some of its trainings.
    Verify(verify::VerifyArgs),
    /// Train one model of an experiment and write it to a folder, to be used.
    Train(train::TrainArgs),
    /// Score raw ids with a trained model: a JSON object a line in, one out.
    Predict(predict::PredictArgs),
    /// Print a table of a finished run, or make a study and print its table.
    Table(table::TableArgs),
    /// Write the report of one run or of several.
    Report(report::ReportArgs),
    /// Set two runs beside each other.
    Compare(compare::CompareArgs),
    /// Search settings with one budget of trials for every model, by validation alone.
    Tune(tune::TuneArgs),
    /// Print what scoring costs, part by part.
    Flops(flops::FlopsArgs),
    /// Measure training and scoring by model and length.
    Speed(speed::SpeedArgs),
    /// Look at data.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// List encoders, mixtures, sources and tables.
    List(list::ListArgs),
    /// Print a script that completes commands in a shell.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(shell::ManArgs),
}

/// Runs the command that the process was called with. Exit code 1 = `verify` found a difference, 2 = usage, data or files,
/// 130 = interrupted.
pub fn main(registry: &Registry) -> ExitCode {
    match work(Cli::parse(), registry) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", suggest::with_nearest(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found to be wrong.
fn work(cli: Cli, registry: &Registry) -> anyhow::Result<bool> {
    match cli.command {
        Some(Command::Verify(args)) => return verify::work(&args, registry),
        None => run::quick(&cli.run, registry),
        Some(Command::Run(args)) => run::configured(&args, registry),
        Some(Command::Train(args)) => train::work(&args, registry),
        Some(Command::Predict(args)) => predict::work(&args, registry),
        Some(Command::Resume(args)) => run::resume(&args, registry),
        Some(Command::Merge(args)) => merge::work(&args, registry),
        Some(Command::Table(args)) => table::print(args, registry),
        Some(Command::Report(args)) => report::write(&args),
        Some(Command::Compare(args)) => compare::print(&args),
        Some(Command::Tune(args)) => tune::work(&args, registry),
        Some(Command::Flops(args)) => flops::print(&args, registry),
        Some(Command::Speed(args)) => speed::print(&args, registry),
        Some(Command::Data(command)) => data::work(command),
        Some(Command::List(args)) => list::print(&args, registry),
        Some(Command::Completions(args)) => shell::completions(&args),
        Some(Command::Man(args)) => shell::man(&args),
    }?;
    Ok(true)
}

/// The name that this program was called by.
fn program() -> String {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
