//! What a run says in `log.txt`, a line each.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;

/// The log of a run folder; lines of all processes that worked on it follow each other.
#[derive(Debug)]
pub struct Log {
    file: Mutex<File>,
}

impl Log {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: Mutex::new(file.with_context(|| path.display().to_string())?) })
    }

    /// Writes a line, with the time before it. A log that cannot be written (a full disk) stops no training: what matters is
    /// written elsewhere, and fails there.
    pub fn note(&self, text: &str) {
        let now = jiff::Timestamp::now().strftime("%FT%TZ");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = text.trim_end().lines().map(|line| format!("{now} {line}\n")).collect();
        let _ = file.write_all(lines.as_bytes());
    }
}
