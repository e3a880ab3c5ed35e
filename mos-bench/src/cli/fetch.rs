//! `mos-bench data fetch`: a public set from its publisher, or what to do by hand.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::Args;
use mos_data::{
    nearest_name,
    sources::sets::{Access, PublicSet, SETS},
};

use super::say;
use crate::fetch::{Fetched, fetch};

#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Name of the set; without one, every set with its terms.
    name: Option<String>,
    /// The folder for its files; default: data/NAME.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another place than the publisher's: the address of the folder that has the files, under the same names.
    #[arg(long, requires = "name")]
    url: Option<String>,
    /// Print nothing while it lasts.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn work(args: FetchArgs) -> anyhow::Result<()> {
    let Some(name) = args.name else { return say(&list()) };
    let set = SETS.iter().find(|set| set.name == name).ok_or_else(|| {
        let near = nearest_name(&name, SETS.iter().map(|set| set.name)).unwrap_or_default();
        anyhow!("{name}: no such set; did you mean {near}? `data fetch` without a name lists all")
    })?;
    let out = args.out.unwrap_or_else(|| PathBuf::from("data").join(set.name));
    let PublicSet { name, source, page, licence, access } = set;
    let then = format!("mos-bench data check {source} {}", out.display());
    say(&format!("{name}: {page}\nterms: {licence}\n"))?;
    let (files, left) = match access {
        Access::Files { files, then } => (files, then),
        Access::ByHand(what) => {
            say(&format!("by hand:\n  1. open {page}\n  2. {what}\n  3. {then}\n"))?;
            bail!("{name} cannot be fetched without a person: see above");
        }
    };
    for file in *files {
        let url = match &args.url {
            Some(folder) => format!("{}/{}", folder.trim_end_matches('/'), file.name()),
            None => file.url.to_owned(),
        };
        let Fetched { path, size, sha256, here, checked } = fetch(file, &url, &out, args.quiet)?;
        let here = if here { "was here already, " } else { "" };
        let checked = match checked {
            Some(who) => format!("as {who} says"),
            None => "no hash is known; this one is kept beside the file for the next time".into(),
        };
        say(&format!("{}: {here}{size} bytes, sha256 {sha256}: {checked}\n", path.display()))?;
    }
    say(&format!("next: {}{then}\n", left.map_or(String::new(), |left| format!("{left}; "))))
}

fn list() -> String {
    let row = |set: &PublicSet| {
        let how = match set.access {
            Access::Files { files, .. } if files.iter().any(|f| f.digest.is_some() || f.md5_beside) => {
                "checked"
            }
            Access::Files { .. } => "fetched",
            Access::ByHand(_) => "by hand",
        };
        format!("{:<25}{:<14}{how:<9}{}\n", set.name, set.source, set.licence)
    };
    let rows: String = SETS.iter().map(row).collect();
    format!(
        "{:<25}{:<14}{:<9}terms\n{rows}checked = fetched, and held against a published hash\n",
        "set", "source", "how"
    )
}
