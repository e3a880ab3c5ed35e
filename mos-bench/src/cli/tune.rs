//! `mos-bench tune`: random search with one budget for every model.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use mos_baselines::Registry;

use super::{run, say};
use crate::{config::Experiment, experiment::Grid, export::Format, folder::Folder, tune};

#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// The experiment, with a [tune] section.
    #[arg(long)]
    config: PathBuf,
    /// Trials of each model, instead of tune.trials.
    #[arg(long)]
    trials: Option<usize>,
    /// Folder of the search (default: runs/<name>-tune below the current folder).
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with a search; more trials than before can be asked for.
    #[arg(long)]
    resume: bool,
    /// Change a setting, as in `--set tune.seeds=[101,102]`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn work(args: &TuneArgs, registry: &Registry) -> anyhow::Result<()> {
    let mut experiment = Experiment::read(Some(&args.config), &[], &args.set)?;
    experiment.name += "-tune";
    let place = || format!("{}: has no [tune] section to search", args.config.display());
    let mut tune = experiment.tune.clone().with_context(place)?;
    tune.trials = args.trials.unwrap_or(tune.trials);
    tune.check(&experiment, registry)?;
    experiment.check(registry)?;
    for name in tune.unused(&experiment) {
        eprintln!("tune.space.{name:?} concerns no row of this experiment");
    }
    // The folder keeps the configuration as it is, so that a search can be enlarged.
    let folder = if args.resume {
        let place = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&experiment.name));
        let (before, folder) = Folder::open(&place)?;
        if before != experiment {
            bail!(
                "{}: belongs to another configuration; a search goes on with the same one",
                place.display()
            );
        }
        folder
    } else {
        let folder = Folder::create(&experiment, args.out.as_deref(), None)?;
        // From the first moment on the folder is that of a search and not of a run.
        folder.write(tune::TRIALS, b"")?;
        folder
    };
    let place = folder.path().display();
    run::on_interrupt(format!("the same command with --resume --out {place} goes on from there"))?;
    let loaded = experiment.load().and_then(|(data, held_out)| {
        eprint!("{}", data.card);
        Grid::new(&experiment, &data, &held_out, registry)?.try_models()?;
        Ok(data)
    });
    let data = match loaded {
        Ok(data) => data,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    let trials = tune::search(&experiment, &tune, &data, registry, &folder)?;
    folder.write("best.toml", tune::best_settings(&experiment, &tune, &trials).as_bytes())?;
    let place = folder.path().display();
    let closing = format!(
        "{place}: {} holds every trial; mos-bench run --config {} --with {place}/best.toml runs the best\n",
        tune::TRIALS,
        args.config.display()
    );
    say(&(tune::table(&experiment, &tune, &trials).render(Format::Terminal) + &closing))
}
