//! What the tests of the command line share.

#![allow(dead_code, unreachable_pub)] // each test file takes what it needs

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// Overrides that make the quick tour last a second.
pub const TINY: &[&str] = &[
    "--set",
    "data.generator.users=40",
    "--set",
    "seeds=[1,2]",
    "--set",
    "epochs=1",
    "--set",
    "encoders=[\"mean\",\"twin\"]",
    "--set",
    "mixtures=[\"none\",\"scales\",\"gshard\",\"mos\",\"mos-vq\"]",
];

/// The command, in a folder.
pub fn bench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
    command.current_dir(folder);
    command
}

/// Results without what a clock wrote.
pub fn timeless(folder: &Path) -> Value {
    let mut results: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    results["environment"]["threads"].take();
    for cell in results["cells"].as_array_mut().unwrap() {
        cell["ms_per_1000"].take();
        for run in cell["runs"].as_array_mut().unwrap() {
            drop((run["seconds"].take(), run["waited"].take()));
        }
    }
    results
}

/// Root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
