//! `mos-bench speed`: throughput by model and length.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use clap::Args;
use mos_baselines::Registry;
use serde::{Deserialize, Serialize};

use super::say;
use crate::{
    config::Experiment,
    export::Format,
    report,
    speed::{self, Case, Ceiling, Kind, Peer, SpeedRecord},
};

#[derive(Debug, Args)]
pub(super) struct SpeedArgs {
    /// An encoder; can be given again [default: din, twin, sdim].
    #[arg(long)]
    encoder: Vec<String>,
    /// A mixture; can be given again [default: none, mos].
    #[arg(long)]
    mixture: Vec<String>,
    /// Behaviours of each history.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 500, 1000])]
    lengths: Vec<usize>,
    #[command(flatten)]
    kind: Kind,
    /// Samples of a batch.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Items of the vocabulary.
    #[arg(long, default_value_t = 100_000)]
    items: usize,
    /// Timed repetitions.
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// Sizes and options of this experiment instead of the defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Change a setting, as in `--set model.dim=64`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How tables are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Show these measurements (printed with `--json`) instead of measuring.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "case", "encoder", "mixture", "config", "set"])]
    from: Option<PathBuf>,
    /// Put the measurements of PyTorch beside ours, of the same sizes (`--config configs/speed/widths-64.toml --uniform`), as `mos-bench/peer/speed.py` prints them; can be given again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "case"])]
    peer: Vec<PathBuf>,
    /// Draw throughput by length into this file (SVG), with the peer where there is one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "case"])]
    svg: Option<PathBuf>,
    /// Measure the one case that is asked for in this process, and print it as JSON.
    #[arg(long, hide = true)]
    case: bool,
}

pub(super) fn print(args: &SpeedArgs, registry: &Registry) -> anyhow::Result<()> {
    let or = |given: &[String], default: &[&str]| -> Vec<String> {
        if given.is_empty() { default.iter().map(ToString::to_string).collect() } else { given.to_vec() }
    };
    let peer = Peer::read(&args.peer)?;
    if let Some(file) = &args.from {
        return show(args, &read(file)?, peer.as_ref());
    }
    let experiment = Experiment::read(args.config.as_deref(), &[], &args.set)?;
    let mut cases = Vec::new();
    for encoder in or(&args.encoder, &["din", "twin", "sdim"]) {
        for mixture in or(&args.mixture, &["none", "mos"]) {
            for length in &args.lengths {
                cases.push(Case {
                    encoder: encoder.clone(),
                    mixture: mixture.clone(),
                    length: *length,
                    batch: args.batch,
                    items: args.items,
                    kind: args.kind,
                    repeats: args.repeats,
                });
            }
        }
    }
    if args.case {
        let [case] = cases.as_slice() else { bail!("--case: needs one encoder, mixture and length") };
        let record = speed::measure(&experiment, case, registry)?;
        return say(&(serde_json::to_string(&record)? + "\n"));
    }
    if let Some(file) = &args.svg {
        // Nothing is measured in vain.
        let place = || file.display().to_string();
        std::fs::OpenOptions::new().create(true).append(true).open(file).with_context(place)?;
    }
    let mut measured = Measured { ceiling: Ceiling::measure()?, cases: Vec::new() };
    for case in &cases {
        eprintln!("{} x {}, {} behaviours", case.encoder, case.mixture, case.length);
        measured.cases.push(apart(case, args)?);
    }
    if args.json {
        return say(&(serde_json::to_string_pretty(&measured)? + "\n"));
    }
    show(args, &measured, peer.as_ref())
}

/// What `--json` prints and `--from` reads.
#[derive(Serialize, Deserialize)]
struct Measured {
    #[serde(flatten)]
    ceiling: Ceiling,
    cases: Vec<SpeedRecord>,
}

fn read(file: &Path) -> anyhow::Result<Measured> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text)
        .with_context(|| format!("{}: not what `mos-bench speed --json` prints", file.display()))
}

fn show(args: &SpeedArgs, measured: &Measured, peer: Option<&Peer>) -> anyhow::Result<()> {
    let tables = speed::tables(&measured.cases, measured.ceiling, peer)?;
    say(&tables.iter().map(|t| t.render(args.format)).collect::<Vec<_>>().join("\n"))?;
    if let Some(file) = &args.svg {
        let drawing = report::speed::drawing(&measured.cases, peer);
        std::fs::write(file, drawing).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Measures a case in a process of its own, so that no case inherits memory from the one before.
fn apart(case: &Case, args: &SpeedArgs) -> anyhow::Result<SpeedRecord> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["speed", "--case", "--encoder", &case.encoder, "--mixture", &case.mixture]);
    for (name, value) in [
        ("--lengths", case.length),
        ("--batch", case.batch),
        ("--items", case.items),
        ("--repeats", case.repeats),
    ] {
        command.args([name, &value.to_string()]);
    }
    if let Some(config) = &args.config {
        command.arg("--config").arg(config);
    }
    for (name, given) in [("--uniform", args.kind.uniform), ("--varied", args.kind.varied)] {
        if given {
            command.arg(name);
        }
    }
    for change in &args.set {
        command.args(["--set", change]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{}", message.trim().trim_start_matches("error: "));
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} x {}: no measurement came back", case.encoder, case.mixture))
}
