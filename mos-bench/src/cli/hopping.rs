//! `mos-bench data hopping`: is session hopping there?

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use mos_data::{
    Sessionizer,
    hopping::{HoppingConfig, SessionVectors, ThemeSource, study},
};

use super::{data::SourceArgs, report::save, say};
use crate::report::hopping as report;

#[derive(Debug, Args)]
pub(super) struct HoppingArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Themes: category, content, cooccurrence, planted, or the name of an item attribute (of several values the first counts).
    /// Default: categories where the log has them, else cooccurrence.
    #[arg(long, value_name = "NAME")]
    themes: Option<String>,
    /// Number of themes, where they are clusters.
    #[arg(long, default_value_t = 20, value_name = "K")]
    clusters: usize,
    /// A session ends after a gap of this many minutes; can be given again, and the first one serves decay and returns.
    /// Default: the log's own sessions, else 30, then 10, 60, 240 and 1440.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..))]
    gap: Vec<u32>,
    /// What of two sessions is compared.
    #[arg(long, value_enum, default_value_t = Similarity::Histograms)]
    similarity: Similarity,
    /// Largest distance of compared sessions.
    #[arg(long, default_value_t = 30)]
    distances: usize,
    /// Permutations of each user's sessions, for returns.
    #[arg(long, default_value_t = 20)]
    permutations: usize,
    /// Draws of users, for intervals.
    #[arg(long, default_value_t = 1000)]
    draws: usize,
    /// Seed of clusters, permutations and draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write hopping.html, hopping.json and the drawings (SVG) into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Similarity {
    /// How often each theme occurs.
    Histograms,
    /// The mean of the items' vectors.
    Means,
}

pub(super) fn work(args: HoppingArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let source = args.source.source()?;
    let usual = source.task()?.session;
    let log = source.load()?;
    let mut defaults = HoppingConfig::over_gaps(&log, usual);
    if !args.gap.is_empty() {
        let gap = |minutes: &u32| Sessionizer::Gap { seconds: 60 * i64::from(*minutes) };
        defaults.sessions = args.gap.iter().map(gap).collect();
    }
    let config = HoppingConfig {
        themes: args.themes.as_deref().map_or(defaults.themes.clone(), ThemeSource::named),
        clusters: args.clusters,
        similarity: match args.similarity {
            Similarity::Histograms => SessionVectors::Histograms,
            Similarity::Means => SessionVectors::Means,
        },
        distances: args.distances,
        permutations: args.permutations,
        draws: args.draws,
        seed: args.seed,
        ..defaults
    };
    let found = study(&log, &config)?;
    let json = serde_json::to_string_pretty(&found)? + "\n";
    if args.json {
        say(&json)?;
    } else {
        say(&report::terminal(&found))?;
    }
    if let Some(folder) = &args.out {
        let mut names = vec!["hopping.html".to_owned(), "hopping.json".to_owned()];
        save(&folder.join(&names[0]), &report::page(&found))?;
        save(&folder.join(&names[1]), &json)?;
        for (name, drawing) in report::drawings(&found) {
            save(&folder.join(name), &drawing)?;
            names.push(name.to_owned());
        }
        eprintln!("{} in {}", names.join(", "), folder.display());
    }
    Ok(())
}
