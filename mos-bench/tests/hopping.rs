//! `mos-bench data hopping` as its user meets it.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use assert_cmd::Command;
use mos_data::hopping::{Outcome, Study};

fn hopping(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
    command.current_dir(folder).args(["data", "hopping"]).args(args);
    command
}

const TINY: [&str; 5] = ["synthetic", "--option", "generator.users=60", "--draws", "50"];

#[test]
fn the_verdict_is_printed_and_everything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (option, wanted, sentence) in [
        ("generator.hopping=true", Outcome::Hopping, "Session hopping is present"),
        ("generator.hopping=false", Outcome::Unrelated, "There is no session hopping"),
    ] {
        let args = [&TINY[..], &["--option", option, "--themes", "planted", "--out", "a/b"]].concat();
        let output = hopping(folder.path(), &args).assert().success().get_output().clone();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with(sentence) && said.contains("as given"), "{said}");
        let read = |name: &str| std::fs::read_to_string(folder.path().join("a/b").join(name)).unwrap();
        let study: Study = serde_json::from_str(&read("hopping.json")).unwrap();
        assert_eq!((study.verdict.outcome, study.users), (wanted, 60));
        assert!(read("hopping.html").contains(&study.verdict.sentence));
        for name in ["rates.svg", "decay.svg", "sessions.svg", "history.svg"] {
            assert!(read(name).starts_with("<svg xmlns="), "{name}");
        }
    }
}

#[test]
fn gaps_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        &TINY[..],
        &["--gap", "90", "--gap", "30", "--json", "--themes", "content", "--similarity", "means"],
    ];
    let output = hopping(folder.path(), &args.concat()).assert().success().get_output().clone();
    let study: Study = serde_json::from_slice(&output.stdout).unwrap();
    let sessions: Vec<f64> = study.changes.iter().map(|c| c.sessions_per_user.mean).collect();
    // One event an hour: a gap of 90 minutes ends no session, and one of 30 ends each.
    assert_eq!(sessions, [1.0, 200.0]);
    assert_eq!(study.verdict.outcome, Outcome::TooFew);
    assert!(study.decay.is_empty() && study.example.is_none());
}

#[test]
fn bad_input_ends_with_a_message_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (args, wanted) in [
        (&["--themes", "category"][..], "this log has no categories; it has content, planted, cooccurrence"),
        (&["--similarity", "means", "--themes", "planted"], "needs themes that are clusters of vectors"),
        (&["--gap", "0"], "0 is not in 1.."),
        (&["--permutations", "0"], "hopping.permutations = 0: must lie between 1 and 10000"),
        (&["--out", "file/below"], "file/below"),
        (&["--option", "generator=3", "--option", "generator.users=9"], "generator is not a table"),
    ] {
        let args =
            if args[0] == "--option" { [&["synthetic"], args].concat() } else { [&TINY[..], args].concat() };
        let output = hopping(folder.path(), &args).assert().code(2).get_output().clone();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(wanted), "{args:?} said: {message}");
    }
}

/// The table of a log, and the same of the run that was made from it.
#[test]
fn a_run_holds_the_table_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
        let output =
            command.current_dir(folder.path()).args(args).assert().success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    };
    let of_log = ["table", "hopping", "--data", "synthetic", "--format", "markdown", "--smoke"];
    let log = output(&of_log);
    assert!(log.contains("| as given |") && log.contains("has led an earlier session"), "{log}");
    let one = [
        "--smoke",
        "--quiet",
        "--set",
        "encoders=[\"mean\"]",
        "--set",
        "mixtures=[\"none\"]",
        "--out",
        "run",
    ];
    output(&one);
    let of_run = output(&["table", "hopping", "run/results.json", "--format", "markdown"]);
    // The quick tour's generator is that of the accuracy study.
    assert_eq!(log, of_run);
}
