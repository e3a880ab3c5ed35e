//! The run folder: what is written where, and what is read back when a run is resumed.
//!
//! It holds `config.toml` (resolved), `card.json` (the data), one record and one file of test scores for each finished training
//! in `trainings/`, `test.csv` (the samples that the scores belong to), `results.json`, `routing.json`, `tables.md` and
//! `report.html`. A training is repeatable to the
//! bit, so an interrupted run only repeats what was unfinished.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use mos_data::Dataset;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Experiment, HeldOut},
    results::RunRecord,
    routing::RoutingRecord,
};

/// A run folder that is known to be writable.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    config_sha256: String,
    /// Whether this run began it, rather than resumed it.
    fresh: bool,
    /// Folders that were made for it, outermost first.
    made: Vec<PathBuf>,
}

/// A finished training, and what it was made from.
#[derive(Debug, Serialize, Deserialize)]
struct Finished {
    commit: String,
    config_sha256: String,
    data_sha256: String,
    split_sha256: String,
    record: RunRecord,
}

/// The commit that this program was built from.
pub const COMMIT: &str = env!("MOS_COMMIT");

impl Folder {
    /// Opens a folder for `experiment`: `out` itself, or the first free `runs/<name>`, `runs/<name>-2`, ...; with
    /// `resume` the last one that holds this experiment.
    ///
    /// # Errors
    /// A folder that cannot be written, holds another experiment, or (without `resume`) is taken; nothing to resume.
    pub fn open(experiment: &Experiment, out: Option<&Path>, resume: bool) -> anyhow::Result<Self> {
        let text = toml::to_string_pretty(experiment)?;
        let path = match (out, resume) {
            (Some(path), _) => path.to_owned(),
            (None, true) => last_of(&experiment.name, &text)?,
            (None, false) => next_of(&experiment.name)?,
        };
        let place = path.display();
        let holds_run = path.join("config.toml").exists();
        if resume && !holds_run {
            bail!("{place}: holds no run to resume; leave --resume out to start one");
        }
        if !resume && holds_run {
            bail!("{place}: holds a run already; add --resume to finish it, or name another --out");
        }
        if resume && std::fs::read_to_string(path.join("config.toml"))? != text {
            bail!("{place}: belongs to another configuration; resume needs the same one");
        }
        for output in ["results.json", "tables.md", "test.csv", "card.json", "report.html"] {
            ensure!(!path.join(output).is_dir(), "{place}/{output}: a folder is in the way");
        }
        let trainings = path.join("trainings");
        let mut made: Vec<PathBuf> = trainings
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .map(Into::into)
            .collect();
        made.reverse();
        if out.is_none() && !resume {
            made.insert(0, path.clone());
        }
        std::fs::create_dir_all(&trainings).with_context(|| place.to_string())?;
        let folder = Self { path, config_sha256: experiment.sha256()?, fresh: !resume, made };
        folder.write("config.toml", text.as_bytes())?;
        Ok(folder)
    }

    /// Takes back what [`Self::open`] made, before anything was trained. A run that is resumed keeps what it has.
    pub fn discard(self) {
        if self.fresh {
            let _ = std::fs::remove_file(self.path.join("config.toml"));
        }
        // A folder that is not empty stays: there is something of somebody else's in it.
        for made in self.made.iter().rev() {
            let _ = std::fs::remove_dir(made);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file beside its place and then renames it, so that a reader never sees half of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let part = self.path.join(format!("{name}.part"));
        let written = std::fs::write(&part, content).and_then(|()| std::fs::rename(&part, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written.with_context(|| path.display().to_string())
    }

    /// Writes the test samples in raw ids; line n + 1 belongs to score n of each training.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_test(&self, data: &Dataset, held_out: &HeldOut) -> anyhow::Result<()> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        rows.write_record(["user", "item", "time", "history", "label"])?;
        for s in held_out.samples() {
            let (user, item) = (&data.user_ids[s.user as usize], &data.item_ids[s.item as usize]);
            let numbers = [s.time.to_string(), s.end.to_string(), s.label.to_string()];
            rows.write_record([user, item, &numbers[0], &numbers[1], &numbers[2]])?;
        }
        self.write("test.csv", &rows.into_inner()?)
    }

    /// Keeps a finished training: its test scores (little-endian `f32`, in the order of the test part) and then its record,
    /// which says that both are there.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, name: &str, data: &Dataset, record: &RunRecord, scores: &[f32]) -> anyhow::Result<()> {
        let bytes: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        self.write(&format!("trainings/{name}-{}.f32", record.seed), &bytes)?;
        let finished = Finished {
            commit: COMMIT.into(),
            config_sha256: self.config_sha256.clone(),
            data_sha256: data.sha256.clone(),
            split_sha256: data.split_sha256.clone(),
            record: record.clone(),
        };
        let json = serde_json::to_string(&finished)?;
        self.write(&format!("trainings/{name}-{}.json", record.seed), json.as_bytes())
    }

    /// Keeps what a trained router does; to be called before [`Self::keep`].
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_routing(&self, name: &str, seed: u64, record: Option<&RoutingRecord>) -> anyhow::Result<()> {
        let Some(record) = record else { return Ok(()) };
        self.write(&format!("trainings/{name}-{seed}.routing.json"), &serde_json::to_vec(record)?)
    }

    /// What the router of a finished training does; `None` if it has none.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn routing(&self, name: &str, seed: u64) -> anyhow::Result<Option<RoutingRecord>> {
        let path = self.path.join(format!("trainings/{name}-{seed}.routing.json"));
        if !path.exists() {
            return Ok(None);
        }
        let place = || format!("{}: delete it and {name}-{seed}.json to train this again", path.display());
        serde_json::from_slice(&std::fs::read(&path)?).with_context(place).map(Some)
    }

    /// The record of a finished training and the commit that made it; `None` if it is not finished.
    ///
    /// # Errors
    /// A record that is damaged, or was made from other data.
    pub fn finished(
        &self,
        name: &str,
        seed: u64,
        data: &Dataset,
        samples: usize,
    ) -> anyhow::Result<Option<(RunRecord, String)>> {
        let file = format!("trainings/{name}-{seed}.json");
        if !self.path.join(&file).exists() {
            return Ok(None);
        }
        let place = || format!("{}/{file}: delete it to train this again", self.path.display());
        let Finished { commit, config_sha256, data_sha256, split_sha256, record } =
            serde_json::from_slice(&std::fs::read(self.path.join(&file))?).with_context(place)?;
        ensure!(record.seed == seed, "it holds seed {}: {}", record.seed, place());
        if config_sha256 != self.config_sha256 {
            bail!("{}/{file}: was trained by another configuration; start a new run", self.path.display());
        }
        if (&data_sha256, &split_sha256) != (&data.sha256, &data.split_sha256) {
            bail!("{}/{file}: was trained on other data; start a new run", self.path.display());
        }
        let scores = self.scores(name, seed).with_context(place)?.len();
        ensure!(scores == samples, "its scores are damaged: {}", place());
        Ok(Some((record, commit)))
    }

    /// Test scores of a finished training.
    ///
    /// # Errors
    /// The file system's.
    pub fn scores(&self, name: &str, seed: u64) -> anyhow::Result<Vec<f32>> {
        let path = self.path.join(format!("trainings/{name}-{seed}.f32"));
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(bytes.chunks(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect())
    }
}

/// Makes `runs/<name>`, or the first of `runs/<name>-2`, ... that is free; two starts at one moment get two.
fn next_of(name: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all("runs").context("runs")?;
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    for folder in std::iter::once(name.to_owned()).chain(numbered) {
        let path = Path::new("runs").join(folder);
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path.clone()).with_context(|| path.display().to_string()),
        }
    }
    bail!("runs: no free name for {name}")
}

/// The folder `runs/<name>` or `runs/<name>-n` with the largest n that holds this experiment.
fn last_of(name: &str, config: &str) -> anyhow::Result<PathBuf> {
    let number = |folder: &str| match folder.strip_prefix(name)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse::<u64>().ok(),
    };
    let folders = std::fs::read_dir("runs").into_iter().flatten().flatten();
    let mine = folders.filter_map(|f| Some((number(f.file_name().to_str()?)?, f.path())));
    let same = |(_, path): &(u64, PathBuf)| {
        std::fs::read_to_string(path.join("config.toml")).is_ok_and(|c| c == config)
    };
    let last = mine.filter(same).max().map(|(_, path)| path);
    last.with_context(|| {
        format!("no folder runs/{name}... holds a run of this configuration; leave --resume out to start one")
    })
}
