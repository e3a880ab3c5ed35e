//! The run folder: what is written where, and what is read back when a run is resumed, merged or verified.
//!
//! | file | content |
//! | --- | --- |
//! | `config.toml` | the resolved configuration |
//! | `shard.txt` | which part of the trainings it holds, where it is not all of them |
//! | `env.json`, `log.txt` | what the last process ran on; what all of them said |
//! | `card.json`, `hopping.json`, `test.csv` | the data card; whether there is session hopping; the test samples in raw ids |
//! | `checkpoints/` | trainings that have begun |
//! | `trainings/` | of each: `.jsonl` its validations, `.f32` its test scores, `.routing.json` what its router does, `.json` its record, written last |
//! | `models/` | the trained models, where they are kept |
//! | `results.json`, `metrics.jsonl`, `routing.json`, `tables.md`, `report.html` | what came of it |
//!
//! Every file is written beside its place and renamed. A training is repeatable to the bit, so a run that was interrupted
//! at any moment goes on from its checkpoints and ends as if it had not been.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use anyhow::{Context as _, bail, ensure};
use mos_data::{Dataset, Feed, rng::hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    config::{Experiment, HeldOut},
    log::Log,
    model_folder,
    results::RunRecord,
    routing::RoutingRecord,
    shard::Shard,
    train::Trial,
    training::{Fitted, Training},
};

/// A run folder that is known to be writable, and that no other process works on.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    config_sha256: String,
    shard: Option<Shard>,
    log: Log,
    /// Whether this run began it, rather than resumed it.
    fresh: bool,
    /// Folders that were made for it, outermost first.
    made: Vec<PathBuf>,
    /// Held until the process ends, however it ends.
    _lock: File,
}

/// A finished training, and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Commits of the programs that worked on it.
    pub commits: BTreeSet<String>,
    /// Hash of the resolved configuration.
    pub config_sha256: String,
    /// Hash of the log.
    pub data_sha256: String,
    /// Hash of the samples.
    pub split_sha256: String,
    /// Hash of the test scores.
    pub scores_sha256: String,
    /// What it found.
    pub record: RunRecord,
}

/// The commit that this program was built from.
pub const COMMIT: &str = env!("MOS_COMMIT");

/// Name of the resolved configuration.
const CONFIG: &str = "config.toml";

/// Held by whatever writes; see [`finish_writing`].
static WRITES: RwLock<()> = RwLock::new(());

/// Waits until no file is being written and lets nobody begin another, so that the process can end.
pub fn finish_writing() {
    std::mem::forget(WRITES.write().unwrap_or_else(PoisonError::into_inner));
}

fn writing<T>(work: impl FnOnce() -> T) -> T {
    let _held = WRITES.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

impl Folder {
    /// Begins a run: in `out`, or in the first free of `runs/<name>`, `runs/<name>-2`, ...
    ///
    /// # Errors
    /// A folder that cannot be written, or holds a run already.
    pub fn create(experiment: &Experiment, out: Option<&Path>, shard: Option<Shard>) -> anyhow::Result<Self> {
        let text = toml::to_string_pretty(experiment)?;
        let path = match (out, shard) {
            (Some(path), _) => path.to_owned(),
            (None, None) => next_of(&experiment.name)?,
            (None, Some(shard)) => {
                next_of(&format!("{}-{}", experiment.name, shard.to_string().replace('/', "of")))?
            }
        };
        let place = path.display();
        if path.join(CONFIG).exists() {
            bail!(
                "{place}: holds a run already; mos-bench resume {place} finishes it, --out names another place"
            );
        }
        for output in ["results.json", "metrics.jsonl", "tables.md", "test.csv"] {
            ensure!(!path.join(output).is_dir(), "{place}/{output}: a folder is in the way");
        }
        let mut made: Vec<PathBuf> = path
            .join("trainings")
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .map(Into::into)
            .collect();
        made.reverse();
        if out.is_none() {
            made.insert(0, path.clone());
        }
        made.push(path.join("checkpoints"));
        let mut folder = Self::at(path, experiment, shard)?;
        (folder.made, folder.fresh) = (made, true);
        if let Some(shard) = shard {
            folder.write("shard.txt", format!("{shard}\n").as_bytes())?;
        }
        folder.write(CONFIG, text.as_bytes())?;
        Ok(folder)
    }

    /// Takes up the run in a folder.
    ///
    /// # Errors
    /// A folder that holds no run, or one that another process works on.
    pub fn open(path: &Path) -> anyhow::Result<(Experiment, Self)> {
        let config = path.join(CONFIG);
        ensure!(config.exists(), "{}: holds no run: there is no {CONFIG} in it", path.display());
        let experiment = Experiment::read(Some(&config), &[], &[])?;
        let shard = path.join("shard.txt");
        let shard = match std::fs::read_to_string(&shard) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            read => Some(
                read.map_err(Into::into)
                    .and_then(|text| text.trim().parse())
                    .with_context(|| shard.display().to_string())?,
            ),
        };
        let folder = Self::at(path.to_owned(), &experiment, shard)?;
        Ok((experiment, folder))
    }

    fn at(path: PathBuf, experiment: &Experiment, shard: Option<Shard>) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        for part in ["trainings", "checkpoints"] {
            std::fs::create_dir_all(path.join(part)).with_context(place)?;
        }
        let lock = File::create(path.join(".lock")).with_context(place)?;
        // A file system that cannot lock is no reason not to run.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            bail!("{}: another process works on this run", path.display());
        }
        for part in ["", "trainings", "checkpoints"] {
            remove_halves(&path.join(part)).with_context(place)?;
        }
        let log = Log::open(&path.join("log.txt"))?;
        let config_sha256 = experiment.sha256()?;
        Ok(Self { path, config_sha256, shard, log, fresh: false, made: Vec::new(), _lock: lock })
    }

    /// Takes back what [`Self::create`] made, before anything was trained. A run that is resumed keeps what it has.
    pub fn discard(self) {
        if self.fresh {
            for file in [CONFIG, "shard.txt", "log.txt", "env.json", "trials.jsonl", ".lock"] {
                let _ = std::fs::remove_file(self.path.join(file));
            }
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

    /// Which part of the trainings it holds, where it is not all of them.
    pub fn shard(&self) -> Option<Shard> {
        self.shard
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes a file beside its place and then renames it, so that a reader never sees half of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let part = self.path.join(format!("{name}.part"));
        let written = writing(|| std::fs::write(&part, content).and_then(|()| std::fs::rename(&part, &path)));
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written.with_context(|| path.display().to_string())
    }

    /// Writes the test samples in raw ids; line n + 1 belongs to score n of each training.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_test(&self, data: &Dataset<Feed>, held_out: &HeldOut) -> anyhow::Result<()> {
        self.write("test.csv", &test_csv(data, held_out)?)
    }

    /// Keeps the validations of a training so far, a line of JSON each.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_validations(&self, name: &str, seed: u64, lines: &str) -> anyhow::Result<()> {
        self.write(&format!("trainings/{name}-{seed}.jsonl"), lines.as_bytes())
    }

    /// The validations of a training, as they were kept.
    ///
    /// # Errors
    /// The file system's.
    pub fn validations(&self, name: &str, seed: u64) -> anyhow::Result<String> {
        let path = self.path.join(format!("trainings/{name}-{seed}.jsonl"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
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

    fn checkpoint(&self, name: &str, seed: u64) -> PathBuf {
        self.path.join(format!("checkpoints/{name}-{seed}.safetensors"))
    }

    /// Keeps all that a training goes on from.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_checkpoint(&self, name: &str, training: &Training<'_>) -> anyhow::Result<()> {
        let path = self.checkpoint(name, training.seed());
        writing(|| training.save(&path)).with_context(|| path.display().to_string())
    }

    /// The training as its checkpoint has it; a new one where there is none.
    ///
    /// # Errors
    /// A checkpoint that is damaged or belongs to another model.
    pub fn begin<'t>(&self, name: &str, trial: &'t Trial<'t>, seed: u64) -> anyhow::Result<Training<'t>> {
        let path = self.checkpoint(name, seed);
        if !path.exists() {
            return Ok(Training::begin(trial, seed)?);
        }
        let training = Training::resume(trial, seed, &path);
        training.with_context(|| format!("{}: delete it to train this from its beginning", path.display()))
    }

    /// Keeps the trained model as a folder that scores raw ids.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep_model(&self, name: &str, trial: &Trial<'_>, fitted: &Fitted) -> anyhow::Result<()> {
        let place = self.path.join(format!("models/{name}-{}", fitted.seed()));
        writing(|| model_folder::keep(&place, trial, fitted))
    }

    /// Keeps a finished training: its test scores (little-endian `f32`, in the order of the test part) and then its record,
    /// which says that all is there. Its checkpoint is no longer needed.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(
        &self,
        name: &str,
        data: &Dataset<Feed>,
        commits: BTreeSet<String>,
        record: &RunRecord,
        scores: &[f32],
    ) -> anyhow::Result<()> {
        let bytes: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
        let seed = record.seed;
        self.write(&format!("trainings/{name}-{seed}.f32"), &bytes)?;
        let finished = Finished {
            commits,
            config_sha256: self.config_sha256.clone(),
            data_sha256: data.sha256.clone(),
            split_sha256: data.split_sha256.clone(),
            scores_sha256: sha256(&bytes),
            record: record.clone(),
        };
        self.write(&format!("trainings/{name}-{seed}.json"), serde_json::to_string(&finished)?.as_bytes())?;
        self.forget_checkpoint(name, seed);
        Ok(())
    }

    fn forget_checkpoint(&self, name: &str, seed: u64) {
        let _ = std::fs::remove_file(self.checkpoint(name, seed));
    }

    /// A finished training; `None` if it is not finished.
    ///
    /// # Errors
    /// A record that is damaged, or was made from other data or by another configuration.
    pub fn finished(&self, name: &str, seed: u64, data: &Dataset<Feed>) -> anyhow::Result<Option<Finished>> {
        let Some(finished) = self.record(name, seed)? else { return Ok(None) };
        let place = format!("{}/trainings/{name}-{seed}.json", self.path.display());
        ensure!(finished.record.seed == seed, "{place}: it holds seed {}", finished.record.seed);
        if finished.config_sha256 != self.config_sha256 {
            bail!("{place}: was trained by another configuration; start a new run");
        }
        if (&finished.data_sha256, &finished.split_sha256) != (&data.sha256, &data.split_sha256) {
            bail!("{place}: was trained on other data; start a new run");
        }
        if sha256(&self.score_bytes(name, seed)?) != finished.scores_sha256 {
            bail!("{place}: its scores are damaged; delete it to train this again");
        }
        // A process that ended between the two.
        self.forget_checkpoint(name, seed);
        Ok(Some(finished))
    }

    /// The record of a finished training as it stands there; `None` if it is not finished.
    ///
    /// # Errors
    /// A record that is damaged.
    pub fn record(&self, name: &str, seed: u64) -> anyhow::Result<Option<Finished>> {
        let path = self.path.join(format!("trainings/{name}-{seed}.json"));
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| path.display().to_string())?,
        };
        let place = || format!("{}: delete it to train this again", path.display());
        serde_json::from_slice(&bytes).with_context(place).map(Some)
    }

    /// Test scores of a finished training.
    ///
    /// # Errors
    /// The file system's.
    pub fn scores(&self, name: &str, seed: u64) -> anyhow::Result<Vec<f32>> {
        let bytes = self.score_bytes(name, seed)?;
        Ok(bytes.chunks(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect())
    }

    /// The same as they lie there.
    ///
    /// # Errors
    /// The file system's.
    pub fn score_bytes(&self, name: &str, seed: u64) -> anyhow::Result<Vec<u8>> {
        let path = self.path.join(format!("trainings/{name}-{seed}.f32"));
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    /// Copies a finished training of another folder, its record last.
    ///
    /// # Errors
    /// The file system's.
    pub fn adopt(&self, from: &Self, name: &str, seed: u64) -> anyhow::Result<()> {
        for kind in ["jsonl", "f32", "routing.json", "json"] {
            let file = format!("trainings/{name}-{seed}.{kind}");
            let path = from.path.join(&file);
            if kind == "routing.json" && !path.exists() {
                continue;
            }
            self.write(&file, &std::fs::read(&path).with_context(|| path.display().to_string())?)?;
        }
        let model = format!("models/{name}-{seed}");
        if from.path.join(&model).is_dir() {
            copy_folder(&from.path.join(&model), &self.path.join(&model)).with_context(|| model)?;
        }
        Ok(())
    }
}

/// The test samples in raw ids.
pub(crate) fn test_csv(data: &Dataset<Feed>, held_out: &HeldOut) -> anyhow::Result<Vec<u8>> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(["user", "item", "time", "history", "label"])?;
    for s in held_out.samples() {
        let (user, item) = (&data.user_ids[s.user as usize], &data.item_ids[s.item as usize]);
        let numbers = [s.time.to_string(), s.end.to_string(), s.label.to_string()];
        rows.write_record([user, item, &numbers[0], &numbers[1], &numbers[2]])?;
    }
    Ok(rows.into_inner()?)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hex(hash)
}

/// Removes what a process that was killed had not finished writing.
fn remove_halves(folder: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // Our own files on their way, and those of the library that writes checkpoints.
        let half = Path::new(&name).extension().is_some_and(|e| e == "part") || name.starts_with(".tmp");
        if half && path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
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
