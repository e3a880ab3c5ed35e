//! A store that `data convert` or `data synth` wrote.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Format, Reading};
use crate::{Error, Log, Result, Store, TaskConfig};

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Stored {
    /// Train on it without having it in memory: users are read from disk in every epoch.
    stream: bool,
    /// Blocks among which the samples of a streamed epoch are shuffled.
    window: usize,
}

impl Default for Stored {
    fn default() -> Self {
        Self { stream: false, window: 8 }
    }
}

impl Format for Stored {
    const NAME: &'static str = "store";
    const LINE: &'static str = "a folder that `data convert` wrote";

    fn read(&self, reading: &Reading) -> Result<Log> {
        Store::open(reading.files.root())?.log()
    }

    fn window(&self) -> Option<usize> {
        self.stream.then_some(self.window)
    }

    fn task_at(&self, path: Option<&Path>) -> Result<TaskConfig> {
        let path = path.ok_or_else(|| Error::config("data.path", "", "this source reads files"))?;
        Ok(Store::open(path)?.task().clone())
    }
}
