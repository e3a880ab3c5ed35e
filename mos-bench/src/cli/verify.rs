//! `mos-bench verify`: does a run hold what its trainings say, and do they say it again?

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use mos_baselines::Registry;
use mos_data::nearest_name;

use super::{output::Output, say};
use crate::{
    experiment::{Grid, Job},
    folder::{COMMIT, Folder},
    progress::Progress,
    verify,
};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The run folder.
    run: PathBuf,
    /// Train so many of the trainings again, drawn at random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cells: usize,
    /// Draw others.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train this one again instead; can be given again.
    #[arg(long, value_name = "ENCODER/MIXTURE/SEED", conflicts_with_all = ["cells", "seed"])]
    cell: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Whether all is as it should be.
pub(super) fn work(args: &VerifyArgs, registry: &Registry) -> anyhow::Result<bool> {
    let (experiment, folder) = Folder::open(&args.run)?;
    experiment.check(registry)?;
    let (data, held_out) = experiment.load()?;
    let grid = Grid::new(&experiment, &data, &held_out, registry)?;
    let chosen = chosen(args, &grid)?;
    let mut found = verify::stored(&grid, &experiment, &folder)?;
    let progress = Progress::new("repeating", chosen.len() as u64, args.output.quiet);
    for job in &chosen {
        progress.at(job.to_string());
        found.extend(verify::repeat(&grid, &folder, *job).with_context(|| job.to_string())?);
        progress.add(1);
    }
    progress.finish();
    if args.output.json {
        say(&(serde_json::to_string_pretty(&found)? + "\n"))?;
        return Ok(found.is_empty());
    }
    let mut text: String = found.iter().map(|difference| format!("{difference}\n")).collect();
    let place = args.run.display();
    let again: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    let again = if again.is_empty() { "none".to_owned() } else { again.join(", ") };
    text += &if found.is_empty() {
        format!(
            "{place}: every result follows from the stored scores; trained again to the same bits: {again}\n"
        )
    } else {
        let count = if found.len() == 1 {
            "1 value differs".into()
        } else {
            format!("{} values differ", found.len())
        };
        format!("{place}: {count}; trained again: {again}; this is commit {COMMIT}\n")
    };
    say(&text)?;
    Ok(found.is_empty())
}

fn chosen<'g>(args: &VerifyArgs, grid: &'g Grid<'_>) -> anyhow::Result<Vec<Job<'g>>> {
    if args.cell.is_empty() {
        return Ok(verify::choice(grid, args.cells, args.seed));
    }
    let names: Vec<String> = grid.jobs().map(|job| job.to_string()).collect();
    let named = |name: &String| {
        grid.jobs().find(|job| job.to_string() == *name).with_context(|| {
            let near = nearest_name(name, names.iter().map(String::as_str)).unwrap_or_default();
            format!("--cell {name}: no such training; did you mean {near}?")
        })
    };
    args.cell.iter().map(named).collect()
}
