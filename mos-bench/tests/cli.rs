//! The command as a user meets it: every documented command line, resume, threads, bad input.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

const TINY: &[&str] = &[
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

fn bench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
    command.current_dir(folder);
    command
}

/// Results without what a clock wrote.
fn timeless(folder: &Path) -> Value {
    let mut results: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    results["environment"]["threads"].take();
    for cell in results["cells"].as_array_mut().unwrap() {
        cell["ms_per_1000"].take();
        cell["runs"].as_array_mut().unwrap().iter_mut().for_each(|run| drop(run["seconds"].take()));
    }
    results
}

#[test]
fn every_documented_command_works() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("configs/synthetic")).unwrap();
    for file in std::fs::read_dir(root.join("configs/synthetic")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join("configs/synthetic").join(file.file_name())).unwrap();
    }
    let mut seen = 0;
    for page in ["README.md", "docs/src/running.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for line in text.lines().filter_map(|l| l.strip_prefix("cargo run -p mos-bench")) {
            let args: Vec<&str> = line.strip_prefix(" -- ").unwrap_or("").split_whitespace().collect();
            let mut command = bench(folder.path());
            command.args(&args);
            if args.first().is_none_or(|a| a.starts_with("--") || *a == "run") {
                command.args(TINY);
            }
            command.assert().success();
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} commands found");
    assert!(folder.path().join("runs/quick/tables.md").exists());
}

#[test]
fn resume_and_threads_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let run = |out: &str, threads: &str, resume: bool| {
        let mut command = bench(folder.path());
        command.env("RAYON_NUM_THREADS", threads).args(["--out", out]).args(TINY);
        if resume {
            command.arg("--resume");
        }
        command.assert().success();
    };
    run("a", "1", false);
    run("b", "2", false);
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    assert_eq!(timeless(&a), timeless(&b), "1 and 2 threads differ");
    for name in ["twin-mos-2.json", "mean-none-1.json", "twin-mos-vq-1.json"] {
        std::fs::remove_file(b.join("trainings").join(name)).unwrap();
    }
    std::fs::remove_file(b.join("results.json")).unwrap();
    run("b", "2", true);
    assert_eq!(timeless(&a), timeless(&b), "a resumed run differs");
    bench(folder.path()).args(["--out", "a"]).args(TINY).assert().code(2);
}

#[test]
fn bad_input_ends_with_a_message_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    for (args, wanted) in [
        (vec!["--set", "epoch=3"], "unknown field `epoch`"),
        (vec!["--set", "encoders=[\"twim\"]"], "did you mean `twin`"),
        (vec!["--set", "epochs=0"], "must not be empty or 0"),
        (vec!["--set", "seeds=[1,1]"], "stands there twice"),
        (vec!["--set", "data.generator.users=1"], "at least 2 users"),
        (vec!["run", "--config", "absent.toml"], "absent.toml"),
        (vec!["--out", "file/below"], "file/below"),
    ] {
        let output = bench(folder.path()).args(&args).assert().code(2).get_output().clone();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(wanted), "{args:?} said: {message}");
    }
}
