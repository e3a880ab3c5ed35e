//! `mos-bench table`: tables from results that are there already, or from a study that is made first.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use mos_baselines::Registry;
use mos_data::hopping::{HoppingConfig, Study, study};

use super::{
    output::Output,
    run::{self, Finished, RunArgs},
    say, study as studies,
};
use crate::{
    config::Experiment,
    export::Format,
    report::{hopping, optional_json},
    results::{Cell, Results},
    routing,
    tables::{self, Table, published},
};

#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// Which one.
    which: Which,
    /// The run's results.json [default: runs/quick/results.json].
    #[arg(conflicts_with_all = ["config", "data"])]
    results: Option<PathBuf>,
    /// Run this experiment first.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Make the table's study on this source first: its name, and its path where it has one.
    #[arg(long, num_args = 1..=2, value_names = ["SOURCE", "PATH"])]
    data: Vec<String>,
    /// Meaning of the columns, for sources of any table.
    #[arg(long, requires = "data")]
    schema: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    /// No data card and no progress, only the table.
    #[arg(long)]
    quiet: bool,
    /// Rows of this encoder only; can be given again.
    #[arg(long)]
    encoder: Vec<String>,
    /// Rows of this mixture only; can be given again.
    #[arg(long)]
    mixture: Vec<String>,
    /// Print published figures on the same data beside ours (accuracy).
    #[arg(long)]
    published: bool,
    /// How it is written; all but the terminal's have all columns.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A table of the paper, or beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// AUC, gAUC and log loss, with differences to the encoder by itself and to `scales`.
    Accuracy,
    /// gAUC in its three weightings.
    Weightings,
    /// Multiply-adds, parameters and times.
    Cost,
    /// Variants of a mixture by what they change: experts, themes, unit, window, fusion, losses.
    Ablation,
    /// Accuracy and cost against the length of the history.
    Length,
    /// Load of themes, their agreement with categories, their stability inside sessions.
    Routing,
    /// Whether themes change inside sessions, between them, and come back: of the log, before anything is trained.
    Hopping,
}

impl Which {
    /// The study that it is a table of, as the file name of its configuration.
    fn study(self) -> &'static str {
        match self {
            // Hopping is of the data alone.
            Self::Accuracy | Self::Weightings | Self::Cost | Self::Hopping => "accuracy",
            Self::Ablation => "ablation",
            Self::Length => "length",
            Self::Routing => "routing",
        }
    }
}

pub(super) fn print(args: TableArgs, registry: &Registry) -> anyhow::Result<()> {
    let which = args.which;
    if args.published && which != Which::Accuracy {
        bail!("--published: published figures are of accuracy");
    }
    let experiment = match (&args.config, args.data.first()) {
        (Some(path), _) => Some(Experiment::read(Some(path), &args.run.with, &args.run.set)?),
        (None, Some(_)) => {
            Some(studies::experiment(which.study(), &args.data, args.schema.as_deref(), &args.run)?)
        }
        (None, None) => None,
    };
    let experiment = match experiment {
        Some(experiment) if which == Which::Hopping => return print_hopping(experiment, &args),
        other => other,
    };
    let (results, folder, closing) = if let Some(experiment) = experiment {
        let output = Output { quiet: args.quiet, json: false };
        let Finished { results, folder, closing } = run::run(experiment, &args.run, None, output, registry)?;
        (results.context("a part of a run has no table")?, folder.path().to_owned(), closing)
    } else {
        let RunArgs { out, with, set, smoke } = &args.run;
        if out.is_some() || *smoke || !with.is_empty() || !set.is_empty() {
            bail!("--out, --smoke, --with and --set belong to a study: add --config FILE or --data SOURCE");
        }
        let path = args.results.clone().unwrap_or_else(|| "runs/quick/results.json".into());
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        (Results::read(&path)?, folder, String::new())
    };
    // What is corrected over all rows is so whatever is shown.
    let every = results.clone();
    let results = results.only(&args.encoder, &args.mixture)?;
    let wanted = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    let shown = |c: &Cell| wanted(&args.encoder, &c.encoder) && wanted(&args.mixture, &c.mixture);
    let mut all = match which {
        Which::Accuracy => vec![tables::accuracy(&results)],
        Which::Weightings => vec![tables::weightings(&results)],
        Which::Cost => vec![tables::cost(&results)],
        Which::Ablation => vec![tables::ablation(&every, &shown)],
        Which::Length => vec![tables::length(&every, &shown)],
        Which::Routing => {
            let mut records = routing::read(&folder.join("routing.json"))?;
            records.retain(|r| {
                results.cells.iter().any(|c| (&c.encoder, &c.mixture) == (&r.encoder, &r.mixture))
            });
            vec![tables::routing(&results.data.name, &records)]
        }
        Which::Hopping => {
            let study = optional_json(&folder.join("hopping.json"))?;
            let study = study.context("the run folder holds no hopping.json")?;
            return say(&hopping_text(&study, args.format));
        }
    };
    if args.published {
        all.push(published::table(&results)?);
    }
    // Where a program reads the table, only the table.
    let closing = if args.format == Format::Terminal { closing } else { String::new() };
    say(&(rendered(&all, args.format) + &closing))
}

/// Hopping in the log of an experiment: nothing is trained.
fn print_hopping(experiment: Experiment, args: &TableArgs) -> anyhow::Result<()> {
    if args.run.out.is_some() {
        bail!("--out: nothing is trained for this table; `data hopping --out DIR` writes its page");
    }
    let experiment = if args.run.smoke { experiment.smoke()? } else { experiment };
    let log = experiment.data.load()?;
    let found = study(&log, &HoppingConfig::over_gaps(&log, experiment.task()?.session))?;
    say(&hopping_text(&found, args.format))
}

fn hopping_text(study: &Study, format: Format) -> String {
    match format {
        Format::Terminal => hopping::terminal(study),
        _ => rendered(&hopping::tables(study), format),
    }
}

fn rendered(tables: &[Table], format: Format) -> String {
    tables.iter().map(|t| t.render(format)).collect::<Vec<_>>().join("\n")
}
