//! Every documented command line of this crate works, in the order in which it is read.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use assert_cmd::Command;

#[test]
fn every_documented_command_works() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let book = std::fs::read_dir(here.join("../../docs/src")).unwrap().map(|f| f.unwrap().path());
    let pages =
        book.chain([here.join("README.md"), here.join("half-life.toml"), here.join("../../README.md")]);
    let mut found = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        // Each page stands for itself: its commands find no folder but those that it has made.
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("examples/external-baseline");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(here.join("half-life.toml"), place.join("half-life.toml")).unwrap();
        let lines = text.lines().map(|l| l.trim_start_matches("# "));
        for line in lines.filter_map(|l| l.strip_prefix("cargo run -p external-baseline")) {
            let args: Vec<&str> = line.strip_prefix(" -- ").unwrap_or("").split_whitespace().collect();
            let mut command = Command::new(env!("CARGO_BIN_EXE_external-baseline"));
            command.current_dir(folder.path()).args(&args);
            if args.first() == Some(&"run") {
                for smaller in ["data.generator.users=40", "seeds=[1,2]", "epochs=1"] {
                    command.args(["--set", smaller]);
                }
            }
            command.assert().success();
            found += 1;
        }
    }
    assert!(found >= 8, "only {found} commands found");
}
