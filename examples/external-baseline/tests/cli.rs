//! The encoder of this crate has its row in every table, like one of the workspace.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn printed(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_external-baseline"));
    let output = command.current_dir(folder).args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_is_listed_with_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let list = printed(folder.path(), &["list", "--options"]);
    let rest = list.split("half-life").nth(1).unwrap();
    assert!(rest.trim_start().starts_with("averages that forget at several learned rates\n"), "{rest}");
    assert!(rest.lines().nth(1).unwrap().contains("half_lives = [1.0,4.0,16.0,64.0]"), "{rest}");
}

#[test]
fn it_has_a_row_in_every_table() {
    let folder = tempfile::tempdir().unwrap();
    let mixtures = ["none", "mos"];
    let tiny = [
        "data.generator.users=40",
        "seeds=[1,2]",
        "epochs=1",
        "encoders=[\"mean\",\"half-life\"]",
        "mixtures=[\"none\",\"mos\"]",
    ];
    let args: Vec<&str> = tiny.iter().flat_map(|set| ["--set", set]).chain(["--out", "tiny"]).collect();
    let shown = printed(folder.path(), &args);
    assert!(shown.contains("half-life"), "{shown}");

    let read = |name: &str| std::fs::read_to_string(folder.path().join("tiny").join(name)).unwrap();
    let results: Value = serde_json::from_str(&read("results.json")).unwrap();
    for mixture in mixtures {
        let mut cells = results["cells"].as_array().unwrap().iter();
        let cell = cells.find(|c| c["encoder"] == "half-life" && c["mixture"] == mixture).unwrap();
        assert_eq!(cell["runs"].as_array().unwrap().len(), 2);
        assert!(cell["auc"]["mean"].as_f64().is_some_and(|a| (0.0..1.0).contains(&a)), "{cell}");
        assert!(cell["macs_per_sample"]["encoder"].as_u64() > Some(0), "{cell}");
        // A run this small need not learn; the mark behind the name would say so.
        let rows = read("tables.md");
        let rows =
            rows.lines().filter(|l| l.starts_with("| half-life") && l.contains(&format!("| {mixture} |")));
        let tables = if mixture == "mos" { 4 } else { 3 };
        assert_eq!(rows.count(), tables, "accuracy, weightings, cost, of what routes also routing");
    }
    for which in ["accuracy", "weightings", "cost"] {
        let table = printed(folder.path(), &["table", which, "tiny/results.json", "--encoder", "half-life"]);
        assert!(table.contains("half-life") && !table.contains(" mean "), "{table}");
    }
}

#[test]
fn a_misspelt_name_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_external-baseline"));
    let args = ["--set", "encoders=[\"half-live\"]"];
    let output = command.current_dir(folder.path()).args(args).assert().code(2).get_output().clone();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("did you mean `half-life`?"), "{message}");
}
