//! The command line: one file per command. A crate with plug-ins of its own calls [`main`] with its own registry.

mod compare;
mod data;
mod flops;
mod hopping;
mod list;
mod predict;
mod report;
mod run;
mod speed;
mod study;
mod table;
mod train;
mod tune;

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mos_baselines::Registry;

/// Trains and compares click models on long histories. Without a command: the quick tour on synthetic data.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the experiment of a file.
    Run(run::ConfiguredRun),
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
        None => run::quick(&cli.run, registry),
        Some(Command::Run(args)) => run::configured(&args, registry),
        Some(Command::Train(args)) => train::work(&args, registry),
        Some(Command::Predict(args)) => predict::work(&args, registry),
        Some(Command::Table(args)) => table::print(args, registry),
        Some(Command::Report(args)) => report::write(&args),
        Some(Command::Compare(args)) => compare::print(&args),
        Some(Command::Tune(args)) => tune::work(&args, registry),
        Some(Command::Flops(args)) => flops::print(&args, registry),
        Some(Command::Speed(args)) => speed::print(&args, registry),
        Some(Command::Data(command)) => data::work(command),
        Some(Command::List(args)) => list::print(&args, registry),
    }
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
