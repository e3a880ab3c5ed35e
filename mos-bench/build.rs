//! Tells the program which commit it is built from.

use std::{path::Path, process::Command};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in
        [".git/HEAD", ".git/index", "mos-data/src", "mos-core/src", "mos-baselines/src", "mos-bench/src"]
    {
        let path = root.join(path);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    // Without optional locks git leaves the index alone, which would otherwise make this run again each time.
    let git = Command::new("git")
        .args(["--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(&root)
        .output();
    let commit =
        git.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let commit = commit.filter(|c| !c.is_empty()).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=MOS_COMMIT={commit}");
}
