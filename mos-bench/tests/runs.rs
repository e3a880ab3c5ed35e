//! Runs as a user meets them: interrupted, resumed, spread over machines, verified; to the bit.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{TINY, bench, root, timeless};
use serde_json::Value;

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Lines of JSON without what a clock wrote.
fn lines(folder: &Path) -> Vec<Value> {
    let mut all: Vec<Value> =
        read(folder.join("metrics.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    all.iter_mut().for_each(|line| drop((line["seconds"].take(), line["waited"].take())));
    all
}

/// Test scores of every training, by file name.
fn scores(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder.join("trainings")).unwrap().map(|f| f.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "f32"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect()
}

/// Two run folders hold the same, apart from what a clock wrote.
fn assert_same(a: &Path, b: &Path) {
    assert_eq!(timeless(a), timeless(b), "results");
    assert_eq!(lines(a), lines(b), "metrics");
    assert_eq!(scores(a), scores(b), "scores");
    for file in ["config.toml", "test.csv", "routing.json", "card.json"] {
        assert_eq!(read(a.join(file)), read(b.join(file)), "{file}");
    }
    for folder in [a, b] {
        let left = std::fs::read_dir(folder.join("checkpoints")).unwrap().count();
        assert_eq!(left, 0, "{}: checkpoints of finished trainings", folder.display());
    }
}

/// Runs a command that has to fail and returns what it said.
fn refused(folder: &Path, args: &[&str], code: i32) -> String {
    let output = bench(folder).args(args).assert().code(code).get_output().clone();
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn resume_and_threads_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], threads: &str| {
        bench(folder.path()).env("RAYON_NUM_THREADS", threads).args(args).assert().success();
    };
    run(&[&["--out", "a"], TINY].concat(), "1");
    run(&[&["--out", "b"], TINY].concat(), "2");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    assert_same(&a, &b);
    for name in ["twin-mos-2.json", "mean-none-1.json", "twin-mos-vq-1.json"] {
        std::fs::remove_file(b.join("trainings").join(name)).unwrap();
    }
    std::fs::remove_file(b.join("results.json")).unwrap();
    std::fs::write(b.join("trainings/twin-mos-2.f32.part"), "half").unwrap();
    run(&["resume", "b"], "2");
    assert_same(&a, &b);
    assert!(!b.join("trainings/twin-mos-2.f32.part").exists());

    let says = |args: &[&str], wanted: &str| {
        let message = refused(folder.path(), args, 2);
        assert!(message.contains(wanted), "{args:?} said: {message}");
    };
    says(&[&["--out", "a"], TINY].concat(), "holds a run already");
    says(&["resume", "c"], "c: holds no run");
    // What was stored is not trusted blindly.
    let (json, scores) = (a.join("trainings/twin-mos-1.json"), a.join("trainings/twin-mos-1.f32"));
    let (record, bytes) = (read(&json), std::fs::read(&scores).unwrap());
    assert_eq!(read(a.join("test.csv")).lines().count(), 1 + bytes.len() / 4);
    std::fs::write(&scores, &bytes[..bytes.len() - 4]).unwrap();
    says(&["resume", "a"], "scores are damaged");
    std::fs::write(&scores, &bytes).unwrap();
    std::fs::write(&json, &record[..40]).unwrap();
    says(&["resume", "a"], "twin-mos-1.json: delete it to train this again");
    std::fs::write(&json, record.replace("\"split_sha256\":\"", "\"split_sha256\":\"0")).unwrap();
    says(&["resume", "a"], "was trained on other data");
    std::fs::write(&json, &record).unwrap();
    let config = read(a.join("config.toml"));
    std::fs::write(a.join("config.toml"), config.replace("batch = 512", "batch = 64")).unwrap();
    says(&["resume", "a"], "was trained by another configuration");
}

/// An experiment on a store, in memory or streamed.
fn on_store(folder: &Path, out: &str, threads: &str, sets: &[&str]) {
    let config = r#"
        name = "stored"
        encoders = ["mean", "twin"]
        mixtures = ["none", "mos"]
        seeds = [1, 2]
        max_length = 32
        batch = 256
        epochs = 2
        validations = 2
        max_scored = 600
        task = { label = { from = "impressions" }, session = { by = "given" }, cuts = { at = "quantile", valid = 0.8, test = 0.9 }, max_train = 1500 }
        [data]
        source = "store"
        path = "synthetic.store"
    "#;
    std::fs::write(folder.join("stored.toml"), config).unwrap();
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    bench(folder)
        .env("RAYON_NUM_THREADS", threads)
        .args(["run", "--quiet", "--config", "stored.toml", "--out", out])
        .args(sets)
        .assert()
        .success();
}

fn synth(folder: &Path, users: &str, events: &str) {
    let args = ["data", "synth", "--out", "synthetic.store", "--users", users, "--events", events];
    bench(folder).args(args).assert().success();
}

#[test]
fn a_streamed_run_whose_window_holds_all_is_the_run_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    synth(folder.path(), "90", "60");
    on_store(folder.path(), "memory", "2", &[]);
    on_store(folder.path(), "streamed", "2", &["data.stream=true"]);
    let (a, b) = (folder.path().join("memory"), folder.path().join("streamed"));
    assert_eq!(lines(&a), lines(&b), "metrics");
    assert_eq!(scores(&a), scores(&b), "scores");
    for file in ["test.csv", "routing.json", "card.json"] {
        assert_eq!(read(a.join(file)), read(b.join(file)), "{file}");
    }
    let hashes = |folder: &Path| {
        serde_json::from_str::<Value>(&read(folder.join("results.json"))).unwrap()["data"].take()
    };
    assert_eq!(hashes(&a), hashes(&b));
    assert!(read(b.join("metrics.jsonl")).contains("\"waited\":"));
    assert!(read(b.join("log.txt")).contains("% of the time waiting for training batches"));
}

#[test]
fn a_streamed_run_has_the_same_bits_on_any_number_of_threads_and_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    // Six blocks: a long history each.
    synth(folder.path(), "12", "100000");
    let stream =
        ["data.stream=true", "data.window=2", "task.max_train=100", "controls=false", "encoders=[\"twin\"]"];
    on_store(folder.path(), "a", "1", &stream);
    on_store(folder.path(), "b", "2", &stream);
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    assert_same(&a, &b);
    std::fs::remove_file(b.join("trainings/twin-mos-2.json")).unwrap();
    bench(folder.path()).args(["resume", "b"]).assert().success();
    assert_same(&a, &b);
    bench(folder.path()).args(["verify", "a", "--cells", "1"]).assert().success();
}

/// A small grid with everything that a training carries along: a codebook in a buffer, early stopping, falling rates.
#[cfg(unix)]
const CARRIED: &[&str] = &[
    "data.generator.users=100",
    "seeds=[1,2]",
    "epochs=5",
    "validations=4",
    "batch=64",
    "encoders=[\"mean\",\"sdim\"]",
    "mixtures=[\"none\",\"mos-vq\",\"deepseek\"]",
    "patience=9",
    "plateau.factor=0.5",
    "plateau.patience=2",
    "train.embedding_l2=0.01",
    "keep_models=true",
];

#[cfg(unix)]
#[test]
fn a_run_killed_at_twenty_random_moments_ends_with_the_same_bits() {
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    use rand::RngExt as _;

    let folder = tempfile::tempdir().unwrap();
    let sets: Vec<&str> = CARRIED.iter().flat_map(|set| ["--set", *set]).collect();
    bench(folder.path()).args(["--quiet", "--out", "straight"]).args(&sets).assert().success();
    let (straight, killed) = (folder.path().join("straight"), folder.path().join("killed"));

    // Validations that are on disk: the only clock that says how far a process is, on a fast machine and on a slow one.
    let validations = || -> usize {
        let files = std::fs::read_dir(killed.join("trainings")).into_iter().flatten().flatten();
        let kept = files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
        kept.map(|path| std::fs::read_to_string(path).unwrap_or_default().lines().count()).sum()
    };
    let mut random = mos_data::rng::stream(20, "kills", &[]);
    let mut kills = 0;
    while kills < 20 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if killed.join("config.toml").exists() {
            command.args(["resume", "killed"]);
        } else {
            command.args(["--out", "killed"]).args(&sets);
        }
        let mut child = command.spawn().unwrap();
        // Every fifth process is killed while it begins, the others after some more validations and a moment.
        let more = if kills % 5 == 0 { 0 } else { random.random_range(1..6) };
        let until = validations() + more;
        while more > 0 && validations() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..8000)));
        let ended = child.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "the grid ended with {ended:?} after {kills} kills: too small for this test"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(!killed.join("results.json").exists());
    bench(folder.path()).args(["resume", "killed", "--quiet"]).assert().success();
    assert_same(&straight, &killed);
    let log = read(killed.join("log.txt"));
    assert!(log.contains("goes on after"), "no training was taken up in its middle: {log}");
    assert_eq!(std::fs::read_dir(killed.join("models")).unwrap().count(), 2 * 2 * 3);

    // The grid carried what it was to carry.
    let ended = |folder: &Path| -> Vec<String> {
        let cells = timeless(folder)["cells"].as_array().unwrap().clone();
        let runs = cells.iter().flat_map(|c| c["runs"].as_array().unwrap().clone());
        runs.filter_map(|r| r["stopping"]["ended"].as_str().map(str::to_owned)).collect()
    };
    assert!(ended(&killed).iter().any(|e| e == "patience") && ended(&killed).iter().any(|e| e == "epochs"));
    let rates: Vec<f64> = lines(&killed).iter().map(|line| line["lr"].as_f64().unwrap()).collect();
    assert!(rates.iter().any(|lr| *lr < 0.002), "no rate fell");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_code_130_and_a_word_on_how_to_go_on() {
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let args = [TINY, &["--set", "epochs=3", "--set", "data.generator.users=200"]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mos-bench"))
        .current_dir(folder.path())
        .args(["--out", "cut"])
        .args(&args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || std::fs::read_dir(folder.path().join("cut/checkpoints")).into_iter().flatten().count() > 0;
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be interrupted");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // While a process works on a run, no other does.
    let message = refused(folder.path(), &["resume", "cut"], 2);
    assert!(message.contains("another process works on this run"), "{message}");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("mos-bench resume cut goes on from there"), "{message}");
    assert!(!folder.path().join("cut/results.json").exists());
    bench(folder.path()).args(["resume", "cut"]).assert().success();
}

#[test]
fn parts_of_a_run_merge_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        bench(folder.path()).args(args).args(TINY).assert().success();
    };
    run(&["--out", "whole"]);
    for part in ["1", "2", "3"] {
        run(&["--quiet", "--shard", &format!("{part}/3"), "--out", part]);
        assert!(!folder.path().join(part).join("results.json").exists());
    }
    let says = |args: &[&str], wanted: &str| {
        let message = refused(folder.path(), args, 2);
        assert!(message.contains(wanted), "{args:?} said: {message}");
    };
    says(&["merge", "1", "3", "--out", "m"], "8 of 24 trainings are in none of these folders: mean/none/2, ");
    assert!(!folder.path().join("m").exists());
    says(&["verify", "1"], "1/results.json");

    // A part goes on as that part.
    let lost = folder.path().join("2/trainings/mean-none-2.json");
    std::fs::remove_file(&lost).unwrap();
    bench(folder.path()).args(["resume", "2"]).assert().success();
    assert!(lost.exists());
    let trained = |part: &str| scores(&folder.path().join(part)).len();
    assert_eq!([trained("1"), trained("2"), trained("3")], [8, 8, 8]);

    bench(folder.path()).args(["merge", "1", "2", "3", "--out", "m"]).assert().success();
    assert_same(&folder.path().join("whole"), &folder.path().join("m"));
    bench(folder.path()).args(["verify", "m"]).assert().success();
    says(&["merge", "1", "2", "--out", "m"], "8 of 24 trainings");
    says(&["merge", "1", "2", "3", "--out", "m"], "m: holds a run already");
    run(&["--out", "other", "--set", "train.adam.lr=0.001"]);
    says(&["merge", "1", "other", "--out", "n"], "different experiments: train.adam.lr is 0.006");

    // Two parts that hold a training twice have to agree about it.
    bench(folder.path()).args(["merge", "whole", "1", "--out", "n"]).assert().success();
    let path = folder.path().join("1/trainings/mean-none-1.json");
    let record = read(&path);
    std::fs::write(&path, record.replace("\"best_step\":", "\"best_step\":1")).unwrap();
    says(&["merge", "whole", "1", "--out", "o"], "mean/none/1: whole and 1 hold different results");
}

#[test]
fn verify_finds_what_was_changed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    bench(folder.path()).args(["--out", "run"]).args(TINY).assert().success();
    let run = folder.path().join("run");
    let args = |args: &[&str]| bench(folder.path()).args(["verify", "run"]).args(args).assert();
    args(&["--cell", "twin/mos-vq/2", "--cell", "shuffled_history/none/1"]).success();
    let other = String::from_utf8(args(&["--seed", "1"]).success().get_output().stdout.clone()).unwrap();
    assert!(other.contains("trained again to the same bits"), "{other}");
    let misspelt = refused(folder.path(), &["verify", "run", "--cell", "twin/moss/2"], 2);
    assert!(misspelt.contains("did you mean twin/mos/2?"), "{misspelt}");

    // A change of one value, and what is said about it.
    let changed = |file: &str, change: &dyn Fn(&str) -> String, more: &[&str], wanted: &[&str]| {
        let path = run.join(file);
        let before = std::fs::read(&path).unwrap();
        let text = String::from_utf8(before.clone()).unwrap();
        let after = change(&text);
        assert_ne!(text, after, "{file} was not changed");
        std::fs::write(&path, after).unwrap();
        let message = refused(folder.path(), &[&["verify", "run"], more].concat(), 1);
        for wanted in wanted {
            assert!(message.contains(wanted), "{file}: no {wanted:?} in {message}");
        }
        std::fs::write(&path, before).unwrap();
    };
    let value = |pointer: &'static str, new: Value| {
        move |text: &str| {
            let mut all: Value = serde_json::from_str(text).unwrap();
            *all.pointer_mut(pointer).unwrap() = new.clone();
            serde_json::to_string_pretty(&all).unwrap() + "\n"
        }
    };
    let none = ["--cells", "0"];
    for (pointer, new, wanted) in [
        ("/cells/3/auc/mean", 0.9.into(), "cells[mean x mos].auc.mean: stored 0.9, found 0."),
        ("/cells/3/runs/1/gauc", 0.8.into(), "cells[mean x mos].runs[seed 2].gauc: stored 0.8"),
        ("/cells/8/delta_auc/p", 0.01.into(), "cells[twin x mos].delta_auc.p: stored 0.01"),
        ("/cells/8/delta_auc_users/lo", 0.3.into(), "cells[twin x mos].delta_auc_users.lo: stored 0.3"),
        ("/cells/12/auc/mean", 0.4.into(), "cells[popularity x none].auc.mean: stored 0.4"),
        ("/cells/0/params/dense", 7.into(), "cells[mean x none].params.dense: stored 7"),
        ("/commit", "other".into(), "results.json: commit: stored \"other\""),
        ("/data/test_samples", 1.into(), "data.test_samples: stored 1"),
    ] {
        changed("results.json", &value(pointer, new), &none, &["1 value differs", wanted]);
    }
    let record = "trainings/twin-mos-1.json";
    changed(record, &value("/record/logloss", 0.1.into()), &none, &["twin-mos-1.json: logloss: stored 0.1"]);
    changed(record, &value("/record/best_step", 7.into()), &none, &["twin-mos-1.json: best_step: stored 7"]);
    let lines = |text: &str| text.replacen("\"auc\":0.", "\"auc\":0.9", 1);
    changed("metrics.jsonl", &lines, &none, &["metrics.jsonl: line 1: stored"]);
    changed("test.csv", &|text| text.replacen(",0\n", ",1\n", 1), &none, &["test.csv: line "]);

    changed(
        record,
        &value("/record/stopping/steps", 9.into()),
        &none,
        &["twin-mos-1.json: stopping.steps: stored 9"],
    );
    // What was made up, with all that could contradict it gone.
    let routed = |name: &std::path::Path| name.to_string_lossy().ends_with(".routing.json");
    let files = std::fs::read_dir(run.join("trainings")).unwrap().map(|f| f.unwrap().path());
    let gone: Vec<_> = files.filter(|f| routed(f)).map(|f| (std::fs::read(&f).unwrap(), f)).collect();
    gone.iter().for_each(|(_, file)| std::fs::remove_file(file).unwrap());
    let message = refused(folder.path(), &["verify", "run", "--cells", "0"], 1);
    assert!(message.contains("routing.json"), "{message}");
    gone.iter().for_each(|(bytes, file)| std::fs::write(file, bytes).unwrap());
    // Half a score more.
    let path = run.join("trainings/mean-mos-1.f32");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&bytes[..], &[1, 2]].concat()).unwrap();
    let message = refused(folder.path(), &["verify", "run", "--cells", "0"], 1);
    assert!(message.contains("mean-mos-1.f32: SHA-256 of the scores"), "{message}");
    std::fs::write(&path, &bytes).unwrap();

    // One test score: its hash, the metrics that follow from it, and the training that gives another.
    let path = run.join("trainings/mean-scales-2.f32");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20..24].copy_from_slice(&9.5f32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let message = refused(folder.path(), &["verify", "run", "--cell", "mean/scales/2"], 1);
    for wanted in [
        "mean-scales-2.f32: SHA-256 of the scores",
        "mean-scales-2.json: logloss",
        "cells[mean x scales].runs[seed 2].logloss",
        "mean/scales/2, trained again: test score 6 (line 7 of test.csv; 1 differ): stored 9.5",
    ] {
        assert!(message.contains(wanted), "no {wanted:?} in {message}");
    }
    std::fs::write(&path, &bytes[4..]).unwrap();
    let message = refused(folder.path(), &["verify", "run", "--cells", "0"], 1);
    assert!(message.contains("mean-scales-2.f32: number of scores"), "{message}");
    let json = bench(folder.path()).args(["verify", "run", "--json", "--quiet"]).assert().code(1);
    let found: Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(found[0]["place"], "trainings/mean-scales-2.f32");
}

#[test]
fn a_training_stops_when_its_metric_no_longer_gets_better() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["encoders=[\"mean\"]", "mixtures=[\"none\"]", "epochs=30", "seeds=[1]", "controls=false"];
    let rule = ["stop_on=logloss", "patience=2", "plateau.factor=0.1", "train.lr_hold=1", "batch=128"];
    let args = sets.iter().chain(&rule).flat_map(|set| ["--set", *set]);
    let smaller = ["--set", "data.generator.users=40", "--out", "run"];
    bench(folder.path()).args(args).args(smaller).assert().success();
    let run = folder.path().join("run");
    let training = &timeless(&run)["cells"][0]["runs"][0];
    let stopping = &training["stopping"];
    assert_eq!((&stopping["metric"], &stopping["ended"]), (&"logloss".into(), &"patience".into()));
    assert_eq!(stopping["patience_validations"], 2);
    let lines = lines(&run);
    let losses: Vec<f64> = lines.iter().map(|l| l["logloss"].as_f64().unwrap()).collect();
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
    assert_eq!(best + 3, losses.len(), "it stops two validations after the best: {losses:?}");
    assert_eq!(training["best_step"], lines[best]["step"]);
    assert_eq!(training["valid"], lines[best]["logloss"]);
    let rates: Vec<f64> = lines.iter().map(|l| l["lr"].as_f64().unwrap()).collect();
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    assert!(
        (last / first - 0.1).abs() < 1e-6,
        "one validation without a better one lowers the rate: {rates:?}"
    );
    let log = read(run.join("log.txt"));
    assert!(
        log.contains("stopped early") && log.contains("patience 2 validations, best by log loss"),
        "{log}"
    );
    let config = read(run.join("config.toml"));
    assert!(config.contains("stop_on = \"logloss\"") && config.contains("patience = 2"), "{config}");
}

#[test]
fn a_training_that_diverges_is_shown_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["settings.mean-scales={ 'train.adam.lr' = 1e30 }", "controls=false", "batch=32"];
    let args = sets.iter().flat_map(|set| ["--set", *set]);
    let output = bench(folder.path()).args(["--out", "run"]).args(TINY).args(args).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(said.contains("warning: mean/scales/1: step "), "{said}");
    let run = folder.path().join("run");
    assert_eq!(timeless(&run)["cells"][1]["runs"][0]["stopping"]["ended"], "diverged");
    let row = |text: &str| text.lines().any(|l| l.starts_with("| mean †") && l.contains("| scales |"));
    assert!(row(&read(run.join("tables.md"))));
    bench(folder.path()).args(["verify", "run", "--cell", "mean/scales/1"]).assert().success();
}

#[test]
fn smoke_shrinks_anything_and_quiet_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = root().join("configs/synthetic/length.toml");
    let args = ["run", "--smoke", "--quiet", "--json", "--set", "encoders=[\"mean\"]", "--config"];
    let output = bench(folder.path()).args(args).arg(config).assert().success().get_output().clone();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results["seeds"].as_array().unwrap().len(), 2);
    let folders: Vec<_> = std::fs::read_dir(folder.path().join("runs")).unwrap().flatten().collect();
    assert!(folders[0].file_name().to_string_lossy().ends_with("-smoke"));

    // A real log: few samples of each part, the same for every run.
    let mut log = String::new();
    for i in 0..9000u64 {
        let behaviour = ["pv", "pv", "buy"][i as usize % 3];
        let item = i * i * 31 % 397;
        log += &format!("{},{item},{},{behaviour},{}\n", i % 90, item + 1000, 1_511_544_070 + i * 60);
    }
    std::fs::write(folder.path().join("UserBehavior.csv"), log).unwrap();
    let config = root().join("configs/taobao/accuracy.toml");
    let sets = ["data.path=UserBehavior.csv", "encoders=[\"mean\"]", "mixtures=[\"none\"]"];
    let args = sets.iter().flat_map(|set| ["--set", *set]);
    let smoke = ["run", "--smoke", "--quiet", "--out", "real", "--config"];
    bench(folder.path()).args(smoke).arg(config).args(args).assert().success();
    let data = &timeless(&folder.path().join("real"))["data"];
    assert_eq!((data["train_samples"].as_u64(), data["test_samples"].as_u64()), (Some(1000), Some(1000)));
    let card: Value = serde_json::from_str(&read(folder.path().join("real/card.json"))).unwrap();
    assert!(card["dropped"]["validation and test samples left out for a quick look"].as_u64() > Some(0));
}

#[test]
fn rows_have_files_settings_and_samples_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let collide =
        ["variants.mos-L20={ of = 'mos', options = { codes = 2 } }", "lengths=[20]", "max_length=60"];
    let sets = collide.iter().chain(&["encoders=[\"twin\"]", "mixtures=[\"mos\",\"mos-L20\"]"]);
    let args: Vec<&str> = sets.flat_map(|set| ["--set", *set]).collect();
    let message = refused(folder.path(), &args, 2);
    assert!(message.contains("two rows would have the files twin-mos-L20"), "{message}");

    // What order is worth is asked of the encoder as it is in the table.
    let run = |out: &str, more: &[&str]| {
        let small = ["encoders=[\"twin\"]", "mixtures=[\"none\"]"];
        let sets = small.iter().chain(more).flat_map(|set| ["--set", *set]);
        bench(folder.path()).args(["--out", out]).args(TINY).args(sets).assert().success();
        folder.path().join(out)
    };
    let usual = run("usual", &[]);
    let tuned = run("tuned", &["settings.twin={ 'train.adam.lr' = 0.05 }"]);
    for name in ["twin-none-1.f32", "shuffled_history-none-1.f32"] {
        let of = |run: &Path| std::fs::read(run.join("trainings").join(name)).unwrap();
        assert_ne!(of(&usual), of(&tuned), "{name}");
    }
    // Fewer samples are another split.
    let thinned = run("thinned", &["max_scored=100"]);
    let split = |run: &Path| timeless(run)["data"]["split_sha256"].clone();
    assert_eq!(split(&usual), split(&tuned));
    assert_ne!(split(&usual), split(&thinned));
}

#[test]
fn the_command_line_describes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let printed = |args: &[&str]| {
        let output = bench(folder.path()).args(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("mos-bench") && script.contains("verify"));
    }
    assert!(printed(&["man"]).contains(".TH mos-bench"));
    printed(&["man", "--out", "man"]);
    assert!(read(folder.path().join("man/mos-bench-resume.1")).contains("interrupted"));
    assert!(printed(&["--help"]).contains("130 = interrupted"));
}

/// The scripts of the chapter on clusters as they stand there, with a command that shrinks what it runs.
#[cfg(unix)]
#[test]
fn the_documented_cluster_jobs_work() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_mos-bench");
    let small = r#"--smoke --quiet --set 'encoders=["mean"]' --set 'mixtures=["none","mos"]'"#;
    let command = folder.path().join("bin/mos-bench");
    std::fs::create_dir_all(folder.path().join("bin")).unwrap();
    std::fs::create_dir_all(folder.path().join("configs/synthetic")).unwrap();
    let config = "configs/synthetic/accuracy.toml";
    std::fs::copy(root().join(config), folder.path().join(config)).unwrap();
    let shrinks = format!(
        "#!/bin/sh\nif [ \"$1\" = run ]; then shift; exec {program} run {small} \"$@\"; fi\nexec {program} \"$@\"\n"
    );
    std::fs::write(&command, shrinks).unwrap();
    std::fs::set_permissions(&command, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let sh = |script: &str, index: &str, i: usize| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(folder.path()).env("PATH", &path).env(index, i.to_string()).args(["-c", script]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };

    let page = read(root().join("docs/src/clusters.md"));
    let blocks: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
    let block = |with: &str| *blocks.iter().find(|b| b.contains(with)).unwrap();
    let slurm = block("SBATCH").strip_prefix("sh\n").unwrap();
    let job = block("completionMode").split("            - |\n").nth(1).unwrap();
    let kubernetes: String = job
        .lines()
        .take_while(|l| l.starts_with("              "))
        .map(|l| l.trim().to_owned() + "\n")
        .collect();
    let merges: Vec<&str> = blocks.iter().filter_map(|b| b.strip_prefix("sh\nmos-bench merge")).collect();
    assert_eq!(merges.len(), 2);
    for (script, index, from) in
        [(slurm, "SLURM_ARRAY_TASK_ID", 1), (kubernetes.as_str(), "JOB_COMPLETION_INDEX", 0)]
    {
        // The last one was requeued: its second process goes on from its folder.
        (from..from + 8).chain([from + 7]).for_each(|i| sh(script, index, i));
        sh(&format!("mos-bench merge{}", merges[from]), "NOTHING", 0);
        assert!(folder.path().join("runs/whole/results.json").exists());
        std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    }
}
