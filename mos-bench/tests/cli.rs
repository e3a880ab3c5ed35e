//! The command as a user meets it: every documented command line, bad input, what results look like.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use std::path::Path;

use common::{TINY, bench, root};
use serde_json::Value;

/// Small logs in the published layouts, where the documented commands look for data.
fn stand_in_data(folder: &Path) {
    let data = folder.join("data");
    std::fs::create_dir_all(data.join("ml-latest-small")).unwrap();
    let (mut taobao, mut ratings, mut shop) = (
        String::new(),
        String::from("userId,movieId,rating,timestamp\r\n"),
        String::from("when;visitor;product;stars\n"),
    );
    for i in 0..1200u64 {
        let (user, item) = (i % 20 + 1, i * i * 31 % 397 + 1);
        let behaviour = ["pv", "pv", "buy"][i as usize % 3];
        taobao += &format!("{user},{item},{},{behaviour},{}\n", item % 97 + 100, 1_511_544_070 + i * 600);
        ratings += &format!("{user},{item},{}.0,{}\r\n", i * 7 % 5 + 1, 900_000_000 + i * 600);
        shop += &format!("{};v{user};p{item};{}\n", (900_000_000 + i * 600) * 1000, i * 7 % 5 + 1);
    }
    std::fs::write(data.join("UserBehavior.csv"), taobao).unwrap();
    std::fs::write(data.join("ml-latest-small/ratings.csv"), ratings).unwrap();
    let films: String = (1..400).map(|i| format!("{i},Film {i},Genre{}|Drama\r\n", i % 4)).collect();
    std::fs::write(data.join("ml-latest-small/movies.csv"), "movieId,title,genres\r\n".to_owned() + &films)
        .unwrap();
    std::fs::write(data.join("shop.csv"), shop).unwrap();
    let page = std::fs::read_to_string(root().join("docs/src/data.md")).unwrap();
    let schema = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    std::fs::write(data.join("shop.toml"), schema).unwrap();
    for (page, file) in [("predicting", "requests.jsonl"), ("first-steps", "taobao-requests.jsonl")] {
        let page = std::fs::read_to_string(root().join(format!("docs/src/{page}.md"))).unwrap();
        let requests = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        std::fs::write(data.join(file), requests).unwrap();
    }
}

#[test]
fn every_documented_command_works() {
    let folder = tempfile::tempdir().unwrap();
    stand_in_data(folder.path());
    for set in std::fs::read_dir(root().join("configs")).unwrap() {
        let set = set.unwrap();
        let to = folder.path().join("configs").join(set.file_name());
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(set.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    for place in ["docs/src/speed", "docs/src/figures"] {
        let to = folder.path().join(place);
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(root().join(place)).unwrap().map(|f| f.unwrap()) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut pages = vec![root().join("README.md")];
    pages.extend(std::fs::read_dir(root().join("docs/src")).unwrap().map(|f| f.unwrap().path()));
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(page).unwrap();
        let commands =
            text.lines().filter_map(|l| l.trim_start_matches("# ").strip_prefix("cargo run -p mos-bench"));
        for line in commands.filter(|l| !l.contains('`')) {
            let args: Vec<String> = line
                .strip_prefix(" -- ")
                .unwrap_or("")
                .split_whitespace()
                .map(|a| a.replace('\'', ""))
                .collect();
            if !seen.insert(args.clone()) {
                continue;
            }
            let mut command = bench(folder.path());
            command.args(&args);
            let study = |a: &String| a == "--config" || a == "--data";
            if args.first().is_none_or(|a| a.starts_with("--") || *a == "train") || args.iter().any(study) {
                command.args(smaller(&args));
            }
            command.assert().success();
        }
    }
    assert!(seen.len() >= 12, "only {} commands found", seen.len());
    assert!(folder.path().join("runs/quick/tables.md").exists());
}

/// Overrides that make an experiment last a second; real logs keep their own mixtures.
fn smaller(args: &[String]) -> Vec<String> {
    let config = args.iter().find(|a| a.starts_with("configs/")).map_or("", String::as_str);
    match args.first().map_or("", String::as_str) {
        "flops" => return Vec::new(),
        "speed" => {
            return ["--lengths", "30", "--batch", "16", "--items", "50", "--repeats", "1"]
                .map(Into::into)
                .into();
        }
        "table" if config.is_empty() => {
            let generated = args.iter().any(|a| a == "synthetic");
            let mut sets = vec!["epochs=1", "seeds=[1,2]", "encoders=[\"twin\"]"];
            sets.extend(generated.then_some("data.generator.users=40"));
            return sets.iter().flat_map(|s| ["--set".into(), (*s).into()]).collect();
        }
        _ => {}
    }
    let mut out: Vec<&str> = match config {
        "configs/synthetic/stream.toml" => vec!["--set", "epochs=1"],
        c if c.starts_with("configs/synthetic") => {
            vec!["--set", "data.generator.users=40", "--set", "epochs=1"]
        }
        "" => TINY.to_vec(),
        _ => vec!["--set", "epochs=1"],
    };
    if !config.is_empty() {
        out.extend(["--set", "seeds=[1,2]", "--set", "encoders=[\"twin\"]"]);
    }
    if args.first().is_some_and(|a| a == "tune") {
        out.extend(["--trials", "2"]);
    }
    out.into_iter().map(Into::into).collect()
}

#[test]
fn a_check_lists_every_row_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |bad: usize| -> String {
        (0..200)
            .map(|i| if i < bad { format!("u{i},,5\n") } else { format!("u{},i{},{i}\n", i % 9, i * 7 % 61) })
            .collect()
    };
    std::fs::write(folder.path().join("schema.toml"), "user = 1\nitem = 2\ntime = 3\nheader = false\n")
        .unwrap();
    let check = |bad: usize, more: &[&str]| {
        std::fs::write(folder.path().join("log.csv"), rows(bad)).unwrap();
        let mut command = bench(folder.path());
        command.args(["data", "check", "csv", "log.csv", "--schema", "schema.toml"]).args(more).assert()
    };
    check(0, &["--all"]).success();
    let said = |assert: assert_cmd::assert::Assert| {
        String::from_utf8_lossy(&assert.code(2).get_output().stderr).into_owned()
    };
    let first = said(check(3, &[]));
    assert!(first.contains("log.csv:1:2:") && !first.contains("log.csv:2:"), "{first}");
    let all = said(check(3, &["--all"]));
    assert!(
        all.contains("log.csv:1:2:") && all.contains("log.csv:3:2:") && all.contains("3 rows cannot"),
        "{all}"
    );
    let many = said(check(80, &["--all"]));
    assert!(many.contains("log.csv:50:2:") && !many.contains("log.csv:51:2:"), "{many}");
}

#[test]
fn bad_input_ends_with_a_message_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    std::fs::write(folder.path().join("cut.csv.gz"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    std::fs::write(folder.path().join("bad.toml"), "name = 'x'\nsorce = 'y'\n").unwrap();
    std::fs::write(folder.path().join("nested.toml"), "name = 'x'\n[train.adam]\nbeta_1 = 0.9\n").unwrap();
    std::fs::write(folder.path().join("kind.toml"), "name = 'x'\nencoders = 'twin'\n").unwrap();
    for (args, wanted) in [
        (vec!["--set", "epoch=3"], "did you mean `epochs`?"),
        (vec!["--set", "train.adam.lrr=3"], "did you mean `lr`?"),
        (vec!["--set", "task.max_trian=3"], "did you mean `max_train`?"),
        (vec!["--set", "data.generator.user=3"], "did you mean `users`?"),
        (vec!["--set", "stop_on=aux"], "did you mean `auc`?"),
        (vec!["--set", "plateau.facto=0.5"], "did you mean `factor`?"),
        (vec!["--set", "plateau.factor=2"], "plateau.factor = 2: must lie in (0, 1]"),
        (vec!["--set", "train.embedding_l2=-1"], "train.embedding_l2 = -1: must be 0 or more"),
        (vec!["--set", "checkpoint_every=0"], "must not be empty or 0"),
        (vec!["--shard", "3/2"], "parts count from 1 to N"),
        (vec!["resume", "nowhere"], "nowhere: holds no run"),
        (vec!["merge", "nowhere", "--out", "whole"], "nowhere: holds no run"),
        (vec!["verify", "nowhere"], "nowhere: holds no run"),
        (vec!["--set", "encoders=[\"twim\"]"], "did you mean `twin`"),
        (vec!["--set", "train.clip=nan"], "train.clip is not a finite number"),
        (vec!["--set", "variants.a/b={ of = 'mos', options = {} }"], "must be the name of a file"),
        (vec!["--set", "epochs=3", "list"], "cannot be used with"),
        (vec!["data", "card", "synthetic", "here"], "is generated, not read"),
        (vec!["data", "card", "store", "."], "is no store: it has no manifest.json"),
        (vec!["data", "synth", "--out", "file"], "is there already"),
        (vec!["data", "synth", "--out", "new", "--events", "3"], "at least 2 users and 20 events"),
        (vec!["--set", "data.generator.events=9223372036854775807"], "at most 100 million users"),
        (vec!["--set", "train.clip=0"], "train.clip = 0: must be positive"),
        (vec!["--set", "train.adam.lr=-0.1"], "train.adam.lr = -0.1: must be positive"),
        (vec!["--set", "model.dim=0"], "model.dim = 0: must be at least 1"),
        (
            vec!["--set", "model.head={dcn={}}"],
            "unknown variant `dcn`, expected one of `mlp`, `dcnv2`, `final_mlp`",
        ),
        (vec!["--set", "model.head={dcnv2={depth=2}}"], "depth"),
        (
            vec!["--set", "model.head={final_mlp={heads=3}}"],
            "model.head.final_mlp.heads = 3: must divide the width 32",
        ),
        (vec!["--set", "epochs=0"], "must not be empty or 0"),
        (vec!["--set", "seeds=[1,1]"], "stands there twice"),
        (vec!["--set", "data.generator.users=1"], "at least 2 users"),
        (vec!["--set", "encoders=[\"twin\",\"twin\"]"], "twin stands there twice"),
        (vec!["--set", "options.moss.codes=3"], "did you mean `mos`"),
        (vec!["--set", "options.mos.code=3"], "mean x mos: mos = {\"code\":3}: unknown field `code`"),
        (vec!["--set", "options.mos.code=3"], "did you mean `codes`?"),
        (vec!["--set", "options.mos.codes=0"], "mean x mos: mos.codes = 0: must lie between 1 and 255"),
        (vec!["run", "--config", "kind.toml"], "kind.toml: TOML parse error at line 2, column 12"),
        (vec!["run", "--config", "absent.toml"], "absent.toml"),
        (vec!["--out", "file/below"], "file/below"),
        (vec!["data", "card", "taobo"], "did you mean taobao?"),
        (vec!["data", "card", "taobao"], "this source reads files"),
        (vec!["data", "card", "taobao", "cut.csv.gz"], "cut.csv.gz:"),
        (vec!["data", "card", "csv", "cut.csv.gz"], "missing field `schema`"),
        (vec!["run", "--config", "bad.toml"], "unknown field `sorce`"),
        (vec!["run", "--config", "nested.toml"], "did you mean `beta1`?"),
    ] {
        let output = bench(folder.path()).args(&args).assert().code(2).get_output().clone();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(wanted), "{args:?} said: {message}");
    }
    let left = std::fs::read_dir(folder.path().join("runs")).into_iter().flatten().count();
    assert_eq!(left, 0, "a run that never began leaves a folder");
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    for (out, stays) in [("a/b/c", "a"), ("mine", "mine")] {
        let args = ["--out", out, "--set", "data.generator.users=1"];
        bench(folder.path()).args(args).assert().code(2);
        assert_eq!(folder.path().join(stays).exists(), stays == "mine", "{out}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("mine")).unwrap().count(), 0);
}

/// `results.json` is read by other programs: what stands where does not change unnoticed.
#[test]
fn results_keep_their_contract() {
    let folder = tempfile::tempdir().unwrap();
    for (seeds, interval) in [("seeds=[1]", false), ("seeds=[1,2]", true)] {
        let out = folder.path().join(seeds);
        bench(folder.path()).args(TINY).args(["--set", seeds, "--out"]).arg(&out).assert().success();
        let all: Value =
            serde_json::from_str(&std::fs::read_to_string(out.join("results.json")).unwrap()).unwrap();
        for text in ["/data/name", "/data/sha256", "/data/split_sha256", "/config_sha256", "/commit"] {
            assert!(all.pointer(text).unwrap().as_str().is_some_and(|s| !s.is_empty()), "{text}");
        }
        for count in ["users", "items", "train_samples", "valid_samples", "test_samples"] {
            assert!(all["data"][count].as_u64() > Some(0), "data.{count}");
        }
        assert!(all["seeds"].as_array().is_some_and(|s| !s.is_empty()) && all["environment"].is_object());
        let cells = all["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 2 * 5 + 4);
        for cell in cells {
            let name = (cell["encoder"].as_str().unwrap(), cell["mixture"].as_str().unwrap());
            let learned = !["popularity", "repetition"].contains(&name.0);
            for run in cell["runs"].as_array().unwrap() {
                assert!(run["seed"].is_u64() && run["best_step"].is_u64() && run["seconds"].is_f64());
                assert!(run["auc"].as_f64().is_some_and(|a| (0.0..1.0).contains(&a)), "{name:?}: a fraction");
                assert!(run["gauc"].is_f64() && (run["logloss"].is_f64() || !learned));
            }
            let is_interval = |value: &Value| {
                value["mean"].is_f64()
                    && ["lo", "hi"]
                        .iter()
                        .all(|end| value.get(end).is_some_and(|v| v.is_f64() == (interval && learned)))
            };
            assert!(is_interval(&cell["auc"]) && is_interval(&cell["gauc"]), "{name:?}");
            assert!(is_interval(&cell["logloss"]) || !learned, "{name:?}");
            for delta in ["delta_auc", "delta_gauc"] {
                let (value, compared) =
                    (&cell[delta], ["mean", "twin"].contains(&name.0) && name.1 != "none");
                assert_eq!(is_interval(value), compared, "{name:?}: {delta}");
                assert_eq!(value["p"].is_f64(), compared && interval, "{name:?}: {delta}");
                assert!(compared || value.is_null());
            }
            let macs = |part: &str| cell["macs_per_sample"][part].as_u64().unwrap();
            assert_eq!(macs("encoder") + macs("router") + macs("head"), macs("total"));
            assert!(cell["params"]["embedding"].is_u64() && cell["params"]["dense"].is_u64());
            let timed = |way: &str| cell["ms_per_1000"][way].is_f64();
            assert_eq!((timed("train"), timed("score")), (learned, learned));
        }
    }
}
