//! What a store says of itself.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{ContextField, Error, Result, TaskConfig, rng::hex};

/// Names the files of a store.
pub(super) const FORMAT: &str = "mos-store";
/// Of the form of a store; another is not read.
pub(super) const VERSION: u64 = 1;
pub(super) const FILE: &str = "manifest.json";
const CONVERT: &str = "`mos-bench data convert SOURCE PATH --out FOLDER` makes a store";

/// All that is not in columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools)] // one for each optional column
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) version: u64,
    pub(super) name: String,
    /// Hash of the log.
    pub(super) log_sha256: String,
    /// What is predicted, where nothing else is asked for.
    pub(super) task: TaskConfig,
    pub(super) users: usize,
    pub(super) items: usize,
    pub(super) events: u64,
    pub(super) impressions: Option<u64>,
    pub(super) ticks_per_second: i64,
    pub(super) ratings: bool,
    pub(super) sessions: bool,
    pub(super) published: bool,
    pub(super) bayes: bool,
    /// Whether the impressions lie in the order of the log.
    pub(super) impressions_in_order: bool,
    pub(super) behaviour_names: Vec<String>,
    pub(super) user_fields: usize,
    pub(super) contexts: Vec<(String, usize)>,
    pub(super) categories: Option<usize>,
    pub(super) content: Option<usize>,
    pub(super) themes: bool,
    pub(super) features: Vec<Feature>,
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) blocks: Vec<BlockEntry>,
    /// Every file that is read as a whole, with its hash.
    pub(super) files: BTreeMap<String, String>,
    /// Sizes of the files that are read by block.
    pub(super) sizes: BTreeMap<String, u64>,
}

/// An attribute of the items; its values are in a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) kind: FeatureKind,
    /// Number of values, or width.
    pub(super) count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FeatureKind {
    One,
    Many,
    Dense,
}

/// Users side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BlockEntry {
    pub(super) first_user: u32,
    pub(super) users: u32,
    pub(super) events: u64,
    pub(super) impressions: u64,
    /// Hash of its columns.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn context_fields(&self) -> Vec<ContextField> {
        self.contexts.iter().map(|(name, count)| ContextField { name: name.clone(), count: *count }).collect()
    }

    /// Text with its own hash.
    pub(super) fn text(&self) -> Result<String> {
        let fail = |e| Error::config("store", FILE, e);
        let mut value = serde_json::to_value(self).map_err(fail)?;
        value["sha256"] = hash(&value).into();
        Ok(serde_json::to_string_pretty(&value).map_err(fail)? + "\n")
    }

    /// Reads and checks the manifest of the store at `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        if !file.exists() {
            let what = if folder.exists() { "is no store: it has no manifest.json" } else { "is not there" };
            return Err(Error::file(folder, what, CONVERT));
        }
        let text =
            std::fs::read_to_string(&file).map_err(|e| Error::file(&file, e, "check its permissions"))?;
        let damaged = "the manifest is damaged: copy the store again, or convert the source again";
        let mut value: Value = serde_json::from_str(&text).map_err(|e| Error::file(&file, e, damaged))?;
        if value["format"] != FORMAT {
            return Err(Error::file(folder, "is no store: its manifest is of something else", CONVERT));
        }
        if value["version"] != VERSION {
            let message =
                format!("is a store of version {}, this program reads version {VERSION}", value["version"]);
            let newer = value["version"].as_u64().is_some_and(|v| v > VERSION);
            let hint = if newer {
                "use a newer program, or convert the source again"
            } else {
                "convert the source again"
            };
            return Err(Error::file(folder, message, hint));
        }
        let stated = value.as_object_mut().and_then(|all| all.remove("sha256"));
        if stated.is_none_or(|stated| stated != hash(&value)) {
            return Err(Error::file(&file, "does not have the checksum that it states", damaged));
        }
        let all: Self = serde_json::from_value(value).map_err(|e| Error::file(&file, e, damaged))?;
        all.check().map_err(|what| Error::file(&file, what, damaged))?;
        Ok(all)
    }

    /// Whether its numbers fit each other, as those that were written do.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let mut next = 0u32;
        for block in &self.blocks {
            if block.first_user != next {
                return Err("names blocks whose users do not follow each other");
            }
            next = next.checked_add(block.users).ok_or("names more users than can be numbered")?;
        }
        if next as usize != self.users {
            return Err("names other users than its blocks hold");
        }
        if self.user_fields > self.contexts.len() {
            return Err("names more fields of users than fields");
        }
        if self.ticks_per_second < 1 || self.items == 0 {
            return Err("names no unit of time, or no items");
        }
        Ok(())
    }
}

/// Keys are in order, so equal values have equal text.
fn hash(value: &Value) -> String {
    hex(Sha256::new_with_prefix(value.to_string()))
}
