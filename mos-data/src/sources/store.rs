//! A store that `data convert` or `data synth` wrote.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Format, Reading};
use crate::{Error, Log, Result, Store, TaskConfig};

/// A store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {}

impl Format for Stored {
    const NAME: &'static str = "store";
    const LINE: &'static str = "a folder that `data convert` wrote";

    fn read(&self, reading: &Reading) -> Result<Log> {
        Store::open(reading.files.root())?.log()
    }

    fn task_at(&self, path: Option<&Path>) -> Result<TaskConfig> {
        let path = path.ok_or_else(|| Error::config("data.path", "", "this source reads files"))?;
        Ok(Store::open(path)?.task().clone())
    }
}
