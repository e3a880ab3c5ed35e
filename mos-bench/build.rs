//! Tells the program which commit it is built from, and by which compiler.

use std::{path::Path, process::Command};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Without optional locks git leaves the index alone, which would otherwise make this run again each time.
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("--no-optional-locks").args(args).current_dir(&root).output();
        let text = output
            .ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
    };
    // A source archive inside somebody else's checkout has no commit of its own.
    let own = root.join(".git").exists();
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12"]).filter(|_| own);
    println!("cargo:rustc-env=MOS_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().filter(|o| o.status.success());
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    println!("cargo:rustc-env=MOS_RUSTC={}", version.unwrap_or_else(|| "unknown".into()));
    // Relative paths: a build folder that is shared or copied between checkouts would otherwise watch another one.
    for file in ["logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|p| own && root.join(p).exists()) {
            println!("cargo:rerun-if-changed={}", Path::new("..").join(path).display());
        }
    }
    for sources in
        ["mos-data/src", "mos-core/src", "mos-baselines/src", "mos-bench/src", "mos-bench/build.rs"]
    {
        println!("cargo:rerun-if-changed=../{sources}");
    }
}
