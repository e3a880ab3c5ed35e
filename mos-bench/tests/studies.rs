//! Studies as a user makes them: tables with their own runs, settings of single rows, tuning, cost, speed.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// A study of everything at once: variants, lengths, themes that are learned, random and none.
const STUDY: &str = r#"
name = "study"
encoders = ["twin"]
mixtures = ["none", "mos", "few", "whole", "mos-vq", "random_themes"]
controls = false
seeds = [1, 2]
max_length = 60
lengths = [20]
batch = 256
epochs = 1
validations = 1

[variants]
few = { of = "mos", options = { codes = 2 } }
whole = { of = "mos", options = { global = "full" } }

[data]
source = "synthetic"
generator = { users = 40 }
"#;

fn bench(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
    command.current_dir(folder).args(args);
    command
}

fn printed(folder: &Path, args: &[&str]) -> String {
    String::from_utf8(bench(folder, args).assert().success().get_output().stdout.clone()).unwrap()
}

fn refused(folder: &Path, args: &[&str], wanted: &str) {
    let output = bench(folder, args).assert().code(2).get_output().clone();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(wanted), "{args:?} said: {message}");
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_study_is_run_and_every_table_of_it_printed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("study.toml"), STUDY).unwrap();
    let table =
        printed(at, &["table", "ablation", "--config", "study.toml", "--out", "a", "--format", "markdown"]);
    let row = |what: &str| -> Vec<&str> {
        let line = table.lines().find(|l| l.contains(what)).unwrap_or_else(|| panic!("no {what} in {table}"));
        line.split('|').map(|c| c.trim().trim_end_matches(" †")).collect()
    };
    assert_eq!(row("| codes |")[2], "2, L = 20");
    assert_eq!(row("| global |")[2], "\"full\", L = 20");
    assert!(row("| mos | as it stands, L = 20")[5].is_empty() && row("| codes |")[5].starts_with(['+', '-']));
    assert_eq!(table.matches("| codes |").count(), 2, "one row for each length");

    let table = printed(at, &["table", "length", "a/results.json", "--format", "markdown"]);
    let of = |l: &&str, mixture: &str| {
        l.starts_with("| twin") && [" |", ","].iter().any(|end| l.contains(&format!("| {mixture}{end}")))
    };
    let lengths = |mixture: &str| table.lines().filter(|l| of(l, mixture)).count();
    assert_eq!((lengths("none"), lengths("mos"), lengths("few")), (2, 2, 2));
    let results = json(&at.join("a/results.json"));
    let macs = |mixture: &str, length: u64| {
        let of = |c: &&Value| c["mixture"] == mixture && c["max_length"] == length;
        let cells: Vec<&Value> = results["cells"].as_array().unwrap().iter().filter(of).collect();
        assert_eq!(cells.len(), 1);
        let run = &cells[0]["runs"][0];
        assert_eq!(cells[0]["variant"].is_null(), mixture != "few" && mixture != "whole");
        assert!(cells[0]["delta_auc"].is_null() == (mixture == "none"), "compared at its own length");
        ["encoder", "router", "head"].map(|part| run["macs_full"][part].as_u64().unwrap())
    };
    assert!(macs("none", 60)[0] > macs("none", 20)[0], "a plain encoder costs by the length");
    assert_eq!(macs("mos-vq", 60)[2], macs("mos-vq", 20)[2], "a head does not");

    let records = json(&at.join("a/routing.json"));
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 5 * 2 * 2, "each model with themes, length and seed");
    for r in records {
        let load: Vec<f64> = r["load"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert!((load.iter().sum::<f64>() - 1.0).abs() < 1e-9 && r["seed"].is_u64());
        assert_eq!(load.len(), if r["mixture"] == "few" { 2 } else { 8 });
        let share = |field: &str| r[field].as_f64().filter(|x| (0.0..=1.0).contains(x));
        for field in
            ["planted_nmi", "planted_purity", "session_stability", "border_stability", "chance_stability"]
        {
            assert!(share(field).is_some(), "{field}: {}", r[field]);
        }
        assert!(r["nmi"].is_null(), "this log has no categories");
        if r["mixture"] == "mos-vq" {
            assert_eq!(share("session_stability"), Some(1.0), "routed by session");
        }
        let heat = &r["heat"];
        let counts = heat["counts"].as_array().unwrap();
        assert_eq!(counts.len(), heat["themes"].as_array().unwrap().len());
        assert!(
            counts
                .iter()
                .all(|c| c.as_array().unwrap().len() == heat["categories"].as_array().unwrap().len())
        );
        let events = r["example"]["events"].as_array().unwrap();
        assert_eq!(events.len() as u64, r["max_length"].as_u64().unwrap());
        assert!(
            events.iter().all(|e| e["time"].is_i64() && e["session"].is_u64() && e["category"].is_string())
        );
    }
    let learned = |field: &str| {
        let of = |mixture: &str| {
            let all = records.iter().filter(|r| r["mixture"] == mixture).map(|r| r[field].as_f64().unwrap());
            all.fold((0.0, 0.0), |(sum, n), x| (sum + x, n + 1.0))
        };
        let mean = |(sum, n): (f64, f64)| sum / n;
        (mean(of("mos")), mean(of("random_themes")))
    };
    let (mos, random) = learned("planted_nmi");
    assert!(
        mos > 0.5 && random < 0.1,
        "themes that start at clusters of content agree with planted ones: {mos}, {random}"
    );
    let (mos, random) = learned("session_stability");
    assert!(mos > random + 0.2, "{mos}, {random}");
    let table = printed(at, &["table", "routing", "a/results.json", "--mixture", "mos", "--mixture", "few"]);
    assert_eq!(table.matches("twin").count(), 4);

    // What was finished is not routed again, and what is trained again routes as before.
    let before = std::fs::read(at.join("a/routing.json")).unwrap();
    for name in ["twin-mos-2.json", "twin-few-L20-1.json", "twin-few-L20-1.routing.json"] {
        std::fs::remove_file(at.join("a/trainings").join(name)).unwrap();
    }
    std::fs::remove_file(at.join("a/routing.json")).unwrap();
    printed(at, &["resume", "a"]);
    assert!(before == std::fs::read(at.join("a/routing.json")).unwrap(), "a resumed run routes differently");
    for (args, wanted) in [
        (vec!["table", "length", "--set", "epochs=1"], "add --config FILE or --data SOURCE"),
        (vec!["table", "cost", "--config", "study.toml", "--published"], "published figures are of accuracy"),
        (vec!["table", "accuracy", "a/results.json", "--published"], "and none of synthetic-101"),
        (vec!["table", "routing", "b/results.json"], "a finished run writes it"),
        (vec!["table", "length", "--data", "taobo"], "did you mean taobao?"),
        (
            vec!["table", "length", "--config", "study.toml", "--set", "lengths=[61]"],
            "between 1 and max_length = 60",
        ),
        (vec!["table", "length", "--config", "study.toml", "--set", "lengths=[5,5]"], "5 stands there twice"),
    ] {
        refused(at, &args, wanted);
    }
    // The published rows stand beside ours where the data is theirs.
    let mut results = results;
    results["data"]["name"] = "kuaivideo-x2".into();
    std::fs::write(at.join("theirs.json"), results.to_string()).unwrap();
    let table = printed(at, &["table", "accuracy", "theirs.json", "--published", "--format", "markdown"]);
    let twin = table
        .lines()
        .find(|l| l.starts_with("| TWIN | 0.6871 | 0.6665 | 0."))
        .unwrap_or_else(|| panic!("{table}"));
    assert!(
        !twin.ends_with("|  |") && table.contains("Published on kuaivideo_x2, L = 50: theirs"),
        "{table}"
    );
}

#[test]
fn settings_of_a_row_are_its_own_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let base =
        STUDY.replace("lengths = [20]\n", "").replace(r#", "few", "whole", "mos-vq", "random_themes""#, "");
    std::fs::write(at.join("base.toml"), &base).unwrap();
    std::fs::write(
        at.join("slow.toml"),
        "[settings.twin-mos]\n\"train.adam.lr\" = 0.001\n\"options.mos.codes\" = 4\n",
    )
    .unwrap();
    let aucs = |out: &str, more: &[&str]| -> (Vec<Value>, Value) {
        let args = [&["run", "--config", "base.toml", "--out", out], more].concat();
        printed(at, &args);
        let results = json(&at.join(out).join("results.json"));
        let cells = results["cells"].as_array().unwrap().clone();
        (cells.iter().map(|c| c["runs"][0]["auc"].clone()).collect(), cells[1]["settings"].clone())
    };
    let (fast, none) = aucs("fast", &[]);
    let (slow, _) = aucs("slow", &["--set", "train.adam.lr=0.001", "--set", "options.mos.codes=4"]);
    let (mixed, settings) = aucs("mixed", &["--with", "slow.toml"]);
    assert_eq!((&mixed[0], &mixed[1]), (&fast[0], &slow[1]));
    assert!(fast[1] != slow[1] && none == serde_json::json!({}));
    assert_eq!(settings["options.mos.codes"], 4);
    let shown = printed(at, &["table", "accuracy", "mixed/results.json"]);
    assert!(shown.contains("twin x mos alone: options.mos.codes = 4, train.adam.lr = 0.001."), "{shown}");
    for (settings, wanted) in [
        ("[settings.twin-moss]\nbatch = 2", "did you mean twin-mos?"),
        ("[settings.twin-mos]\nepochs = 2", "everything else is the same for all"),
        ("[settings.twin-mos]\n\"train.adam.rate\" = 2", "unknown field `rate`"),
        ("[settings.twin-mos]\n\"train.clip\" = -1.0", "must be positive"),
        ("[settings.twin-mos]\n\"options.mos.code\" = 2", "unknown field `code`"),
    ] {
        std::fs::write(at.join("bad.toml"), settings).unwrap();
        refused(at, &["run", "--config", "base.toml", "--with", "bad.toml"], wanted);
    }
}

#[test]
fn a_search_is_fair_resumable_and_gives_settings_that_a_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tune = "\n[tune]\ntrials = 2\nseeds = [11]\n\n[tune.space]\n\
        \"train.adam.lr\" = { log_uniform = [1e-3, 1e-2] }\n\"model.dropout\" = { choice = [0.0, 0.2] }\n\
        \"options.mos.codes\" = { integer = [2, 16] }\n\"variants.few.options.temperature\" = { uniform = [0.1, 0.5] }\n";
    let base =
        STUDY.replace("lengths = [20]\n", "").replace(r#", "whole", "mos-vq", "random_themes""#, "") + tune;
    std::fs::write(at.join("base.toml"), &base).unwrap();
    let search = |more: &[&str]| {
        printed(at, &[&["tune", "--config", "base.toml", "--out", "t"], more].concat());
        std::fs::read_to_string(at.join("t/trials.jsonl")).unwrap()
    };
    let first = search(&[]);
    let trials =
        |text: &str| -> Vec<Value> { text.lines().map(|l| serde_json::from_str(l).unwrap()).collect() };
    assert_eq!(trials(&first).len(), 3 * 2);
    // Cut off in the middle of a line, a search goes on; enlarged, it keeps what it has.
    std::fs::write(at.join("t/trials.jsonl"), &first[..first.len() - 20]).unwrap();
    let more = trials(&search(&["--resume", "--trials", "4"]));
    assert_eq!(more.len(), 3 * 4);
    let untimed = |t: &Value| {
        let mut t = t.clone();
        t["seconds"].take();
        t.to_string()
    };
    for old in trials(&first) {
        assert!(more.iter().any(|t| untimed(t) == untimed(&old)), "{old} is gone or was tried again");
    }
    for model in ["none", "mos", "few"] {
        let mine: Vec<&Value> = more.iter().filter(|t| t["mixture"] == model).collect();
        assert_eq!(mine.len(), 4, "every model has the same number of trials");
        for t in mine {
            let settings = t["settings"].as_object().unwrap();
            let other = more.iter().find(|o| o["trial"] == t["trial"] && o["mixture"] == "none").unwrap();
            assert_eq!(
                settings.get("train.adam.lr"),
                other["settings"].get("train.adam.lr"),
                "one draw for all"
            );
            let size = [("mos", 3), ("few", 3), ("none", 2)].iter().find(|(m, _)| *m == model).unwrap().1;
            assert_eq!(settings.len(), if t["trial"] == 0 { 0 } else { size }, "{model}: {settings:?}");
            assert_eq!(t["seeds"], serde_json::json!([11]));
            assert!(t["score"].as_f64().is_some_and(|s| (0.0..2.0).contains(&s)));
            assert!(t.get("auc").is_none(), "the test part is not scored");
        }
    }
    assert!(!at.join("t/results.json").exists() && !at.join("t/test.csv").exists());
    printed(at, &["run", "--config", "base.toml", "--with", "t/best.toml", "--out", "r"]);
    let best = |model: &str| {
        let mine = more.iter().filter(|t| t["mixture"] == model);
        mine.max_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap())).unwrap()
    };
    let results = json(&at.join("r/results.json"));
    for cell in results["cells"].as_array().unwrap() {
        assert_eq!(cell["settings"], best(cell["mixture"].as_str().unwrap())["settings"]);
    }
    for (set, wanted) in [
        ("tune.seeds=[2]", "2 stands in seeds too"),
        ("tune.trials=0", "must not be 0 or empty"),
        ("tune.space={\"model.dropout\"={uniform=[0.5,0.1]}}", "two rising numbers"),
        ("tune.space={\"model.drop\"={uniform=[0.1,0.5]}}", "unknown field `drop`"),
        ("tune.space={\"options.gshad.experts\"={integer=[2,4]}}", "did you mean gshard?"),
        ("tune.space={\"variants.many.options.codes\"={integer=[2,4]}}", "did you mean few?"),
        ("tune.space={\"epochs\"={integer=[2,4]}}", "everything else is the same for all"),
    ] {
        refused(at, &["tune", "--config", "base.toml", "--set", set], wanted);
    }
    std::fs::write(at.join("none.toml"), base.replace(tune, "")).unwrap();
    refused(at, &["tune", "--config", "none.toml"], "has no [tune] section");
}

#[test]
fn a_cost_is_the_sum_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cost = |encoder: &str, mixture: &str, length: &str| -> Value {
        serde_json::from_str(&printed(at, &["flops", encoder, mixture, "--length", length, "--json"]))
            .unwrap()
    };
    let macs = |c: &Value, part: &str| c[part].as_u64().unwrap();
    for (encoder, mixture) in
        [("twin", "none"), ("sdim", "mos"), ("din", "gshard"), ("sim-hard", "same_category")]
    {
        let c = cost(encoder, mixture, "50");
        let experts = c["experts"].as_array().unwrap();
        let inside: u64 = experts.iter().map(|e| macs(&e["cost"], "encoder")).sum();
        assert!(inside > 0 && inside <= macs(&c["total"], "encoder"), "{encoder} x {mixture}: {c}");
        if mixture == "none" {
            assert_eq!((experts.len(), inside), (1, macs(&c["total"], "encoder")));
            assert_eq!(experts[0]["reads"], 50.0);
        }
    }
    let mos = cost("twin", "mos", "100");
    let reads: Vec<f64> =
        mos["experts"].as_array().unwrap().iter().map(|e| e["reads"].as_f64().unwrap()).collect();
    assert_eq!((reads[0], reads[1]), (25.0, 20.0), "pooled by four, and the last twenty");
    assert!(reads[2] <= 40.0, "a theme subsequence is cut to forty");
    let (short, long) = (cost("sdim", "none", "100"), cost("sdim", "none", "1000"));
    assert!(macs(&long["total"], "encoder") > 5 * macs(&short["total"], "encoder"));
    assert_eq!(macs(&long["total"], "head"), macs(&short["total"], "head"));
    let tree = printed(at, &["flops", "twin", "mos", "--length", "100", "--candidates", "500"]);
    for part in ["model", "├─ encoder", "global", "theme", "├─ router", "└─ head", "500 candidates after 100"]
    {
        assert!(tree.contains(part), "{tree}");
    }
    let many = |encoder: &str| -> Value {
        let args = ["flops", encoder, "none", "--length", "100", "--candidates", "50", "--json"];
        serde_json::from_str(&printed(at, &args)).unwrap()
    };
    for encoder in ["sdim", "bst"] {
        let (one, fifty) = (cost(encoder, "none", "100"), many(encoder));
        let ratio = macs(&fifty["total"], "encoder") as f64 / macs(&one["total"], "encoder") as f64;
        assert!(if fifty["shared"] == true { ratio < 50.0 } else { ratio == 50.0 }, "{encoder}: {ratio}");
        assert_eq!(macs(&fifty["total"], "head"), 50 * macs(&one["total"], "head"));
    }
    refused(at, &["flops", "sdim", "none", "--length", "10", "--candidates", "0"], "at least 1");
    refused(at, &["flops", "twim", "mos", "--length", "10"], "did you mean `twin`");
    refused(at, &["flops", "twin", "mos", "--length", "0"], "must lie between 1 and");
    refused(at, &["flops", "twin", "mos", "--length", "10", "--set", "model.dim=0"], "must be at least 1");
}

#[test]
fn speed_tells_what_it_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let small =
        ["--encoder", "twin", "--mixture", "mos", "--lengths", "5,30", "--batch", "8", "--items", "40"];
    let args = [&["speed"], &small[..], &["--repeats", "2", "--json"]].concat();
    let all: Value = serde_json::from_str(&printed(at, &args)).unwrap();
    assert!(all["ceiling_gflops"].as_f64() > Some(0.0));
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let ms = |what: &str, which: &str| case[what][which].as_f64().unwrap();
        for what in ["train_ms", "score_ms"] {
            assert!(
                0.0 < ms(what, "low")
                    && ms(what, "low") <= ms(what, "median")
                    && ms(what, "median") <= ms(what, "high")
            );
        }
        for part in ["data", "gather", "routing", "encoder", "head", "backward", "optimizer"] {
            assert!(ms("parts", part) > 0.0, "{part}: {case}");
        }
        assert!(case["macs"].as_u64() > Some(0));
        assert!(cfg!(not(target_os = "linux")) || case["peak_bytes"].as_u64() > Some(1 << 20));
    }
    assert!(cases[0]["macs"].as_u64() < cases[1]["macs"].as_u64());
    let shown = printed(at, &[&["speed"], &small[..], &["--repeats", "1"]].concat());
    assert!(shown.contains("% of ceiling") && shown.contains("optimizer"), "{shown}");
    assert!(!shown.contains("Mixtures against"), "{shown}");
    refused(at, &["speed", "--encoder", "twim", "--lengths", "5"], "did you mean `twin`");
    refused(at, &["speed", "--items", "1", "--lengths", "5"], "items at least 2");
}

#[test]
fn speed_stands_beside_a_peer() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let kind =
        ["--uniform", "--varied", "--batch", "8", "--items", "40", "--repeats", "1", "--lengths", "30"];
    let measure = [&["speed", "--encoder", "twin", "--json"], &kind[..]].concat();
    let all: Value = serde_json::from_str(&printed(at, &measure)).unwrap();
    let case = &all["cases"][0];
    let mean = case["mean_length"].as_f64().unwrap();
    assert!((1.0..30.0).contains(&mean), "{mean}");
    std::fs::write(at.join("ours.json"), all.to_string()).unwrap();
    let threads = &case["threads"];
    let spread = |ms: f64| format!(r#"{{"low": {ms}, "median": {ms}, "high": {ms}}}"#);
    let peer = |setup: &str, varied: bool| {
        let times = format!(r#""train_ms": {}, "score_ms": {}"#, spread(1e6), spread(2e5));
        format!(
            r#"{{"peer": "PyTorch", "ceiling_gflops": 9.0, "cases": [{{"encoder": "twin", "length": 30, "batch": 8, "items": 40, "dim": 16,
            "varied": {varied}, "threads": {threads}, "setup": "{setup}", {times}, "peak_bytes": 1048576, "steps": 1}}]}}"#
        )
    };
    for (name, text) in [
        ("a.json", peer("default", true)),
        ("b.json", peer("tuned", true)),
        ("full.json", peer("tuned", false)),
        ("none.json", "{}".into()),
    ] {
        std::fs::write(at.join(name), text).unwrap();
    }
    let show = ["speed", "--from", "ours.json", "--format", "csv"];
    let shown =
        printed(at, &[&show[..], &["--peer", "a.json", "--peer", "b.json", "--svg", "speed.svg"]].concat());
    assert!(shown.contains("Mixtures against") || shown.contains("× MACs"), "{shown}");
    assert!(shown.contains("default: train ms") && shown.contains("tuned: × score"), "{shown}");
    assert!(shown.contains("1000000.0") && shown.contains("200000.0"), "{shown}");
    let svg = std::fs::read_to_string(at.join("speed.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("twin × mos") && svg.contains("tuned"), "{svg}");
    refused(at, &[&show[..], &["--peer", "full.json"]].concat(), "nothing that is measured here");
    refused(at, &[&show[..], &["--peer", "none.json"]].concat(), "none.json: not what");
    refused(at, &["speed", "--from", "none.json"], "none.json: not what");
}
