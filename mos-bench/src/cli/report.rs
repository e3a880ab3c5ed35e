//! `mos-bench report`: the page, and the tables as files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::say;
use crate::{
    export::Format,
    report::{RunFiles, page},
    tables,
};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Run folders, or their results.json; several come into one report.
    #[arg(default_value = "runs/quick")]
    runs: Vec<PathBuf>,
    /// Where it is written (default: report.html in the run's folder; of several runs, in the current folder).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the tables there too, as Markdown, CSV, LaTeX and JSON; with several runs a folder for each.
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

pub(super) fn write(args: &ReportArgs) -> anyhow::Result<()> {
    let runs = args.runs.iter().map(|r| RunFiles::read(r)).collect::<anyhow::Result<Vec<_>>>()?;
    let out = match (&args.out, &runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.folder().join("report.html"),
        (None, _) => "report.html".into(),
    };
    save(&out, &page(&runs))?;
    say(&format!("{}\n", out.display()))?;
    let Some(export) = &args.export else { return Ok(()) };
    for (i, run) in runs.iter().enumerate() {
        let folder = if runs.len() > 1 { export.join(format!("run-{}", i + 1)) } else { export.clone() };
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, table) in tables::all(run.results(), run.routing()) {
            for (format, extension) in Format::FILES {
                let file = folder.join(name).with_extension(extension);
                save(&file, &table.render(format))?;
                say(&format!("{}\n", file.display()))?;
            }
        }
    }
    Ok(())
}

/// Writes beside the place and renames, so that a reader never sees half a file.
pub(super) fn save(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, content)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| path.display().to_string())
}
