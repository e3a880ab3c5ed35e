//! `mos-bench data`: looking at logs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use mos_data::{
    Store, nearest_name, prepare,
    sources::{Checked, Source, synthetic::SyntheticConfig},
};
use serde_json::{Map, Value};

use super::{fetch, hopping, say};
use crate::verify::{Difference, differences};

#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Read a log and print its card: counts, span, history lengths, sessions, ties, parts, what was left out.
    Card {
        #[command(flatten)]
        source: SourceArgs,
        /// Print JSON, with the hashes of log and samples.
        #[arg(long)]
        json: bool,
        /// Fail where the log is not what this file says: the card as `--json` prints it, or any of its fields.
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
    },
    /// Read all of a log and say whether it can be read: its card, or what is wrong with it, where, and the likely fix; and
    /// what is legal but seldom meant (unit of time, unsorted input, duplicate rows), with counts and the first place.
    Check {
        #[command(flatten)]
        source: SourceArgs,
        /// Go on after a row that cannot be read, and list the first 50.
        #[arg(long)]
        all: bool,
    },
    /// Download a public set from its publisher, where the terms allow it, or say what to do by hand.
    Fetch(fetch::FetchArgs),
    /// Find out whether session hopping is there: whether themes hold inside sessions, change between them, and come back.
    Hopping(hopping::HoppingArgs),
    /// Read a log and write it as a store: a folder that is opened at once and read user by user.
    Convert {
        #[command(flatten)]
        source: SourceArgs,
        /// The folder; it must not be there yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write a synthetic log as a store, user by user, for any number of users.
    Synth(SynthArgs),
}

/// Rows that `data check --all` lists at most.
const LISTED: usize = 50;

/// The choices of the generator that matter for its size.
#[derive(Debug, Args)]
pub(super) struct SynthArgs {
    /// The folder; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of users.
    #[arg(long, default_value_t = SyntheticConfig::default().users)]
    users: usize,
    /// Behaviours of each user.
    #[arg(long, default_value_t = SyntheticConfig::default().events)]
    events: usize,
    /// Seed of the generator.
    #[arg(long, default_value_t = SyntheticConfig::default().seed)]
    seed: u64,
    /// Give each user one theme only.
    #[arg(long)]
    no_hopping: bool,
}

/// A source on the command line.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Name of the source; `mos-bench list` shows all.
    source: String,
    /// The file, folder or zip archive (synthetic data has none).
    path: Option<PathBuf>,
    /// Meaning of the columns, for sources of any table.
    #[arg(long)]
    schema: Option<PathBuf>,
    /// An option of the source, as in `--option items=category` or `--option generator.users=500`.
    #[arg(long, value_name = "KEY=VALUE")]
    option: Vec<String>,
}

impl SourceArgs {
    pub(super) fn source(self) -> anyhow::Result<Source> {
        let mut source = Source::new(&self.source, self.path);
        if let Some(schema) = self.schema {
            source = source.with("schema", schema.display().to_string());
        }
        for option in self.option {
            let Some((key, value)) = option.split_once('=') else {
                bail!("--option {option}: needs the form key=value");
            };
            // A bare word is a string.
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            insert(&mut source.options, key, value).with_context(|| format!("--option {option}"))?;
        }
        Ok(source.complete()?)
    }
}

/// Puts a value where a dotted key says.
fn insert(options: &mut Map<String, Value>, key: &str, value: Value) -> anyhow::Result<()> {
    let Some((table, rest)) = key.split_once('.') else {
        options.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = options.entry(table).or_insert_with(|| Map::new().into());
    let inner = inner.as_object_mut().with_context(|| format!("{table} is not a table"))?;
    insert(inner, rest, value)
}

pub(super) fn work(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Hopping(args) => hopping::work(args),
        DataCommand::Fetch(args) => fetch::work(args),
        DataCommand::Card { source, json, manifest } => {
            let wanted = manifest.as_deref().map(read_manifest).transpose()?;
            let source = source.source()?;
            let data = source.feed(&source.task()?)?.0;
            let mut found = serde_json::to_value(&data.card)?;
            found["sha256"] = data.sha256.into();
            found["split_sha256"] = data.split_sha256.into();
            if json {
                say(&(serde_json::to_string_pretty(&found)? + "\n"))?;
            } else {
                say(&data.card.to_string())?;
            }
            match (manifest, wanted) {
                (Some(path), Some(wanted)) => hold_against(&path, wanted, &found),
                _ => Ok(()),
            }
        }
        DataCommand::Check { source, all } => {
            let source = source.source()?;
            let Checked { log, errors, notes } = source.check(if all { LISTED } else { 0 })?;
            let notes: String = notes.iter().map(|note| format!("note      {note}\n")).collect();
            if errors.is_empty() {
                // What is odd about the log may be why it carries no task.
                let card = prepare(log, &source.task()?).map(|data| data.card.to_string());
                say(&(card.as_deref().unwrap_or_default().to_owned() + &notes))?;
                return Ok(card.map(|_| ())?);
            }
            errors.iter().for_each(|error| eprintln!("{error}"));
            say(&notes)?;
            let more = if errors.len() == LISTED { " or more" } else { "" };
            bail!("{}{more} rows cannot be read", errors.len())
        }
        DataCommand::Convert { source, out } => {
            source.source()?.convert(&out)?;
            say_store(&out)
        }
        DataCommand::Synth(SynthArgs { out, users, events, seed, no_hopping }) => {
            let hopping = !no_hopping;
            SyntheticConfig { users, events, seed, hopping, ..SyntheticConfig::default() }.write(&out)?;
            say_store(&out)
        }
    }
}

fn read_manifest(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(place)?;
    serde_json::from_str(&text).with_context(place)
}

/// Compares a card with what a manifest says of it.
fn hold_against(path: &Path, wanted: Map<String, Value>, found: &Value) -> anyhow::Result<()> {
    let place = path.display();
    let known = |key: &str| found.get(key).is_some();
    if let Some(key) = wanted.keys().find(|key| !known(key)) {
        let keys = found.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        bail!("{place}: a card has no {key}; did you mean {}?", nearest_name(key, keys).unwrap_or_default());
    }
    let found: Map<String, Value> =
        wanted.keys().map(|key| (key.clone(), found[key.as_str()].clone())).collect();
    let wrong = differences(&place.to_string(), &wanted.into(), &found.into());
    for Difference { field, stored, found, .. } in &wrong {
        eprintln!("{field}: {place} says {stored}, the log has {found}");
    }
    if wrong.is_empty() { Ok(()) } else { bail!("the log is not what {place} says") }
}

/// Opens a store that was just written, and says what it holds.
fn say_store(folder: &Path) -> anyhow::Result<()> {
    let store = Store::open(folder)?;
    let (name, users, events, blocks) = (store.name(), store.users(), store.events(), store.blocks().len());
    let folder = folder.display();
    say(&format!(
        "{folder}: {name}, {events} events of {users} users in {blocks} block(s), sha256 {}\n",
        store.log_sha256()
    ))?;
    let dropped: String = store.dropped().iter().map(|(why, n)| format!("dropped   {n}: {why}\n")).collect();
    say(&dropped)
}
