//! `mos-bench completions` and `mos-bench man`: the command line, for shells and readers.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, program, say};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder, instead of printing the main page.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), program(), &mut script);
    say(&String::from_utf8_lossy(&script))
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let command = Cli::command().name(program());
    let Some(out) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return say(&String::from_utf8_lossy(&page));
    };
    let place = || out.display().to_string();
    std::fs::create_dir_all(out).with_context(place)?;
    clap_mangen::generate_to(command, out).with_context(place)?;
    say(&format!("{}\n", place()))
}
