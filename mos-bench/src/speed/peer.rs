//! Measurements of another program, to stand beside ours: what `mos-bench/peer/speed.py` prints.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{Kind, SpeedRecord, Spread};

/// All measurements of one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name and version.
    pub peer: String,
    /// What its matrix products reach, in 10^9 floating-point operations a second.
    pub ceiling_gflops: f64,
    /// One for each model, length and allocator.
    pub cases: Vec<PeerCase>,
}

/// The measurement of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerCase {
    /// Encoder.
    pub encoder: String,
    /// Behaviours of each history, or of the longest.
    pub length: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Items of the vocabulary.
    pub items: usize,
    /// Width of an item.
    pub dim: usize,
    /// Whether lengths vary.
    pub varied: bool,
    /// Threads.
    pub threads: usize,
    /// How the program was set up: `default` as it comes, anything else as its own documentation says.
    pub setup: String,
    /// A training step on a batch that is there.
    pub train_ms: Spread,
    /// Scoring of a batch that is there.
    pub score_ms: Spread,
    /// Most memory that was resident, in bytes.
    pub peak_bytes: u64,
}

impl Peer {
    /// Reads them from several files as one; `None` without a file.
    ///
    /// # Errors
    /// Names the file that cannot be read, holds something else, or is of another program than the first.
    pub fn read(paths: &[PathBuf]) -> anyhow::Result<Option<Self>> {
        let mut all: Option<Self> = None;
        for path in paths {
            let place = path.display();
            let text = std::fs::read_to_string(path).with_context(|| place.to_string())?;
            let read: Self = serde_json::from_str(&text)
                .with_context(|| format!("{place}: not what mos-bench/peer/speed.py prints"))?;
            match &mut all {
                None => all = Some(read),
                Some(all) if all.peer != read.peer => bail!("{place}: of {}, not of {}", read.peer, all.peer),
                Some(all) => {
                    all.ceiling_gflops = all.ceiling_gflops.max(read.ceiling_gflops);
                    all.cases.extend(read.cases);
                }
            }
        }
        Ok(all)
    }

    /// The measurements of the same work as `record`, one for each setup: the encoder by itself, as wide, on histories of the
    /// same kind.
    pub fn beside<'a>(&'a self, record: &'a SpeedRecord) -> impl Iterator<Item = &'a PeerCase> {
        let SpeedRecord { encoder, length, batch, items, dim, kind, threads, .. } = record;
        self.cases.iter().filter(move |c| {
            record.mixture == "none"
                && (encoder, length, batch, items, dim, threads)
                    == (&c.encoder, &c.length, &c.batch, &c.items, &c.dim, &c.threads)
                // Its items are always uniform.
                && *kind == (Kind { uniform: true, varied: c.varied })
        })
    }

    /// All setups, in the order of the file.
    pub fn setups(&self) -> Vec<&str> {
        let mut setups: Vec<&str> = Vec::new();
        for case in &self.cases {
            if !setups.contains(&case.setup.as_str()) {
                setups.push(&case.setup);
            }
        }
        setups
    }
}
