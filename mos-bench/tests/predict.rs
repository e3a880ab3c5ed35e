//! A model folder scores raw ids as the run scored its test part: the same bits, without the data set.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::{collections::BTreeMap, path::Path};

use assert_cmd::Command;
use mos_baselines::Registry;
use mos_bench::{
    config::Experiment,
    model_folder,
    train::{Trial, View},
};
use mos_core::{Predictor, Request};
use mos_data::{Log, RawEvent};
use proptest::prelude::*;

/// Two kinds of behaviour, categories, sessions by gaps; some items come up after the validation cut alone.
fn csv(folder: &Path) -> Vec<String> {
    let mut rows = String::from("user,item,category,kind,time\n");
    for i in 0..1500u64 {
        let (user, late) = (i % 20, i > 1300);
        let item = if late && i.is_multiple_of(5) { 1000 + i % 40 } else { i * i * 31 % 197 };
        let kind = ["view", "view", "buy"][i as usize % 3];
        rows += &format!("u{user},{item},c{},{kind},{}\n", item % 7, i * 400 + i % 7 * 3000);
    }
    std::fs::write(folder.join("log.csv"), rows).unwrap();
    let schema =
        "user = \"user\"\nitem = \"item\"\ntime = \"time\"\ncategory = \"category\"\nbehaviour = \"kind\"\n";
    std::fs::write(folder.join("log.toml"), schema).unwrap();
    let place = folder.display();
    vec![format!("data={{ source = \"csv\", path = \"{place}/log.csv\", schema = \"{place}/log.toml\" }}")]
}

fn experiment(changes: &[String]) -> Experiment {
    let small = ["epochs=1", "batch=128", "max_length=24", "validations=1"].map(String::from);
    Experiment::read(None, &[], &[&small[..], changes].concat()).unwrap()
}

/// The behaviours of each user as the source read them.
fn raw(log: &Log) -> Vec<Vec<RawEvent>> {
    let x = &log.interactions;
    let event = |at: usize| RawEvent {
        item: log.item_ids[x.items()[at] as usize].clone(),
        time: x.times()[at],
        behaviour: Some(log.behaviour_names[x.behaviours()[at] as usize].clone()).filter(|b| !b.is_empty()),
        session: x.given_sessions().map(|s| s[at]),
    };
    (0..x.users() as u32).map(|user| x.range(user).map(event).collect()).collect()
}

/// Trains a cell and compares its test scores with those of its folder.
fn check(experiment: &Experiment, encoder: &str, mixture: &str, folder: &Path) -> Predictor {
    let registry = Registry::default();
    let mut experiment = experiment.clone();
    (experiment.encoders, experiment.mixtures) = (vec![encoder.into()], vec![mixture.into()]);
    let (data, held_out) = experiment.load().unwrap();
    let mos_bench::config::Row { spec, experiment: own, .. } = experiment.rows().unwrap().remove(0);
    let trial = Trial { experiment: own, registry: &registry, data: &data, spec, view: View::Full };
    let fitted = trial.fit(7, &|| true).unwrap().unwrap();
    model_folder::keep(folder, &trial, &fitted).unwrap();
    let (_, scores) = trial.test(fitted, &held_out).unwrap();

    let predictor = Predictor::load(folder, &registry).unwrap();
    let log = experiment.data.load().unwrap();
    let (raw, known) = (raw(&log), &data.item_ids);
    // Samples of one user at one time are candidates of one request.
    let mut requests: BTreeMap<(u32, i64), Vec<usize>> = BTreeMap::new();
    for (at, sample) in held_out.samples().iter().enumerate() {
        requests.entry((sample.user, sample.time)).or_default().push(at);
    }
    let mut together = 0;
    for ((user, time), samples) in requests {
        let candidates = samples.iter().map(|at| known[held_out.samples()[*at].item as usize].clone());
        let request = Request { history: raw[user as usize].clone(), candidates: candidates.collect(), time };
        let answer = predictor.predict(&request).unwrap();
        let wanted: Vec<u32> = samples.iter().map(|at| scores[*at].to_bits()).collect();
        let found: Vec<u32> = answer.scores.iter().map(|s| s.to_bits()).collect();
        assert_eq!(found, wanted, "{encoder} x {mixture}: user {user} at {time}");
        together += usize::from(found.len() > 1);
    }
    assert!(together > 0, "no request has several candidates");
    predictor
}

#[test]
fn a_folder_scores_as_its_run_did() {
    let folder = tempfile::tempdir().unwrap();
    let sources = [csv(folder.path()), vec!["data.generator.users=40".into()]];
    for (n, changes) in sources.iter().enumerate() {
        let experiment = experiment(changes);
        for (encoder, mixture) in [
            ("mean", "none"),
            ("din", "mos"),
            ("twin", "mos"),
            ("sdim", "mos-vq"),
            ("eta", "scales"),
            ("mamba4rec", "none"),
            ("hstu", "mos"),
            ("transact", "gshard"),
            ("twin", "theme-feature"),
        ] {
            check(&experiment, encoder, mixture, &folder.path().join(format!("{encoder}-{mixture}-{n}")));
        }
    }
    let experiment = experiment(&sources[0]);
    check(&experiment, "sim-hard", "same_category", &folder.path().join("hard"));
}

/// One value, several values and a vector, each kept with the model that reads it.
#[test]
fn a_folder_keeps_the_attributes_that_its_model_reads() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let mut ratings = String::from("userId,movieId,rating,timestamp\n");
    (0..1500u64).for_each(|i| {
        ratings += &format!("{},{},{}.0,{}\n", i % 20, i * i * 31 % 197, i % 5 + 1, i / 40 * 16_000);
    });
    let films: String = (0..197).map(|i| format!("{i},Film {i},Genre{}|Genre{}\n", i % 4, i % 7)).collect();
    std::fs::write(place("ratings.csv"), ratings).unwrap();
    std::fs::write(place("movies.csv"), "movieId,title,genres\n".to_owned() + &films).unwrap();
    let films = format!("data={{ source = \"movielens\", path = \"{}\" }}", folder.path().display());
    for (n, (data, attributes)) in [
        (csv(folder.path()), r#"["category"]"#),
        (vec![films], r#"["genres","category"]"#),
        (vec!["data.generator.users=40".into()], r#"["content"]"#),
    ]
    .into_iter()
    .enumerate()
    {
        let with = [&data[..], &[format!("model.attributes={attributes}")]].concat();
        check(&experiment(&with), "twin", "mos", &place(&format!("model-{n}")));
    }
    let with =
        [&csv(folder.path())[..], &["model.contexts=[\"age\"]".into(), "keep_models=true".into()]].concat();
    let error = experiment(&with).check(&Registry::default()).unwrap_err();
    assert!(format!("{error:#}").contains("leave contexts out"), "{error:#}");
}

#[test]
fn what_the_model_does_not_know_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&csv(folder.path()));
    let predictor = check(&experiment, "twin", "none", &folder.path().join("model"));
    let event = |item: &str, time: i64, behaviour: &str| RawEvent {
        item: item.into(),
        time,
        behaviour: Some(behaviour.into()),
        session: None,
    };
    let ask = |history: Vec<RawEvent>| {
        let request =
            Request { history, candidates: vec!["31".into(), "1005".into(), "never".into()], time: 50 };
        predictor.predict(&request)
    };
    let mut history =
        vec![event("31", 9, "view"), event("1005", 3, "buy"), event("31", 50, "view"), event("0", 4, "lend")];
    let answer = ask(history.clone()).unwrap();
    // 1005 came up after the validation cut, so training made it the unknown item.
    assert_eq!((answer.unknown_candidates, answer.left.unknown_items), (2, 1));
    assert_eq!((answer.left.unknown_behaviours, answer.left.too_late, answer.left.too_old), (1, 1, 0));
    assert_eq!(answer.scores[1], answer.scores[2]);
    // Order does not matter where times differ; what is unknown is all alike.
    history.rotate_left(2);
    history[3].item = "nor this".into();
    assert_eq!(ask(history.clone()).unwrap(), answer);
    let long: Vec<RawEvent> = (0..60).map(|t| event("31", t - 20, "view")).collect();
    let answer = ask(long.clone()).unwrap();
    assert_eq!((answer.left.too_late, answer.left.too_old), (0, 60 - 24));
    assert_eq!(ask(long[36..].to_vec()).unwrap().scores, answer.scores);
    history[1].session = Some(1);
    assert!(ask(history).unwrap_err().to_string().contains("some have none"));
    assert!(ask(Vec::new()).is_ok());
}

#[test]
fn scores_depend_neither_on_other_candidates_nor_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(&csv(folder.path()));
    for (encoder, mixture) in [("twin", "mos"), ("sdim", "mos-vq"), ("hstu", "scales"), ("din", "dense")] {
        let predictor = check(&experiment, encoder, mixture, &folder.path().join(encoder));
        let log = experiment.data.load().unwrap();
        let (histories, ids) = (raw(&log), &log.item_ids);
        let cases = prop::collection::vec(0..ids.len(), 1..60);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(12));
        let asked = |user: usize, candidates: &[usize], time: i64| {
            let candidates = candidates.iter().map(|c| ids[*c].clone()).collect();
            predictor.predict(&Request { history: histories[user].clone(), candidates, time }).unwrap().scores
        };
        runner
            .run(&(0..histories.len(), cases, 0i64..700_000), |(user, candidates, time)| {
                let all = asked(user, &candidates, time);
                for (at, candidate) in candidates.iter().enumerate() {
                    prop_assert_eq!(asked(user, &[*candidate], time), &all[at..=at]);
                }
                let reversed: Vec<usize> = candidates.iter().rev().copied().collect();
                let backwards: Vec<f32> = asked(user, &reversed, time).into_iter().rev().collect();
                prop_assert_eq!(&backwards, &all);
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    prop_assert_eq!(&pool.install(|| asked(user, &candidates, time)), &all);
                }
                std::thread::scope(|scope| {
                    let others = [(); 3].map(|()| scope.spawn(|| asked(user, &candidates, time)));
                    for other in others {
                        assert_eq!(other.join().unwrap(), all);
                    }
                });
                Ok(())
            })
            .unwrap();
    }
}

fn bench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-bench"));
    command.current_dir(folder);
    command
}

fn trained(folder: &Path) {
    let small = ["--set", "data.generator.users=40", "--set", "epochs=1", "--out", "model"];
    bench(folder).arg("train").args(small).assert().success();
}

#[test]
fn lines_are_answered_and_a_bad_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path());
    let good = r#"{"history":[{"item":"i7","time":5,"session":1}],"candidates":["i9",10],"time":6}"#;
    let run = |input: &str| {
        let done = bench(folder.path()).args(["predict", "model", "-"]).write_stdin(input).assert();
        let output = done.get_output().clone();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = run(&format!("{good}\n\n{good}"));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len(), lines[0]), (Some(0), 2, lines[1]));
    let answer: mos_core::Prediction = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((answer.scores.len(), answer.unknown_candidates, answer.left.unknown_items), (2, 1, 0));
    std::fs::write(folder.path().join("asked.jsonl"), good).unwrap();
    let from_file = bench(folder.path()).args(["predict", "model", "asked.jsonl"]).assert().success();
    assert_eq!(String::from_utf8_lossy(&from_file.get_output().stdout).trim_end(), lines[0]);
    for (bad, wanted) in [
        ("{\"histroy\":1}", "standard input:2: \"{\\\"histroy\\\":1}\": unknown field `histroy`"),
        ("{\"history\":[],\"candidates\":[1.5],\"time\":6}", "an id must be text or a whole number"),
        ("{\"history\":[],\"candidates\":[],", "EOF while parsing"),
        (
            "{\"history\":[{\"item\":\"i1\",\"time\":1}],\"candidates\":[],\"time\":6}",
            "give each behaviour a",
        ),
        ("\u{fffd}", "standard input:2: "),
    ] {
        let (code, out, err) = run(&format!("{good}\n{bad}\n{good}\n"));
        assert_eq!((code, out.lines().count()), (Some(2), 1), "{bad}");
        assert!(err.contains(wanted), "{bad}: {err}");
    }
}

#[test]
fn a_damaged_or_foreign_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path());
    let model = folder.path().join("model");
    let refused = |wanted: &str| {
        let output = bench(folder.path()).args(["predict", "model"]).assert().code(2).get_output().clone();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(wanted), "{wanted}: {message}");
    };
    let with = |name: &str, change: &dyn Fn(&[u8]) -> Vec<u8>, wanted: &str| {
        let path = model.join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, change(&before)).unwrap();
        refused(wanted);
        std::fs::write(&path, before).unwrap();
    };
    let edit = |from: &'static str, to: &'static str| {
        move |bytes: &[u8]| String::from_utf8_lossy(bytes).replacen(from, to, 1).into_bytes()
    };
    with("model.json", &|b| b[..b.len() / 2].to_vec(), "model.json: EOF while parsing");
    with("model.json", &edit("mos-model", "other"), "something else than a model");
    with(
        "model.json",
        &edit("\"version\": 1", "\"version\": 0"),
        "is of version 0, this program reads version 1",
    );
    with("model.json", &edit("\"twin\"", "\"twim\""), "did you mean `twin`?");
    with("model.json", &edit("\"seed\"", "\"sed\""), "unknown field `sed`");
    with("model.json", &edit("\"dim\": 16", "\"dim\": 32"), "the model needs");
    let cut = |b: &[u8]| b[..b.len() - 9].to_vec();
    let flipped =
        |b: &[u8]| b.iter().enumerate().map(|(i, x)| if i == b.len() / 2 { !x } else { *x }).collect();
    for name in ["model.safetensors", "vocabulary.json.gz"] {
        with(name, &cut, &format!("{name}: is not the file that model.json was written with"));
        with(name, &flipped, &format!("{name}: is not the file that model.json was written with"));
    }
    std::fs::remove_file(model.join("vocabulary.json.gz")).unwrap();
    refused("vocabulary.json.gz");
    // Training again replaces a model, and nothing else.
    trained(folder.path());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing stays beside it");
    std::fs::remove_file(model.join("model.json")).unwrap();
    refused("model: holds no model.json");
    let small = ["--set", "data.generator.users=40", "--set", "epochs=1", "--out", "model"];
    let output = bench(folder.path()).arg("train").args(small).assert().code(2).get_output().clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in the way"));
    std::fs::remove_dir_all(&model).unwrap();
    refused("model: does not exist");
}

/// The example of the page on predicting.
#[test]
fn a_model_is_one_row_of_an_experiment_and_goes_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let train = |out: &str| {
        let tiny = ["data.generator.users=40", "epochs=1", "settings.din-none={ 'train.adam.lr' = 0.1 }"];
        let sets = tiny.iter().flat_map(|set| ["--set", *set]);
        let args = ["train", "--encoder", "mean", "--mixture", "none", "--out", out];
        bench(folder.path()).args(args).args(sets).assert()
    };
    // Settings of other rows are no obstacle, as in the file that a search writes.
    train("model").success();
    // What stands beside the model is somebody's.
    for name in ["model.old", "model.part"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("precious"), "").unwrap();
    }
    train("model").success();
    assert!(["model.old", "model.part"].iter().all(|n| folder.path().join(n).join("precious").exists()));
    // A place that cannot be used is refused before the training.
    let refused = train("model.old").code(2);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("is in the way") && !said.contains("users"), "{said}");
}

#[test]
fn the_documented_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path());
    let folder = folder.path().join("model");
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        // ANCHOR: example
        let predictor = Predictor::load(&folder, &Registry::default())?;
        let event =
            |item: &str, time| RawEvent { item: item.into(), time, behaviour: None, session: Some(1) };
        let answer = predictor.predict(&Request {
            history: vec![event("i7", 1_000), event("i9", 1_060)],
            candidates: vec!["i9".into(), "i12".into()],
            time: 1_100,
        })?;
        println!("{:?}, {} unknown", answer.scores, answer.unknown_candidates);
        // ANCHOR_END: example
        assert_eq!((answer.scores.len(), answer.unknown_candidates), (2, 0));
        Ok(())
    };
    run().unwrap();
}

#[test]
fn weights_load_in_python() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path());
    let python = |args: &[&str]| {
        std::process::Command::new("python3").args(args).current_dir(folder.path()).output().ok()
    };
    if python(&["-c", "import numpy"]).is_none_or(|done| !done.status.success()) {
        eprintln!("skipped: no python3 with numpy here");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/load_weights.py");
    let done = python(&[script.to_str().unwrap(), "model"]).unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{err}");
    let model = Predictor::load(&folder.path().join("model"), &Registry::default()).unwrap();
    let named = mos_core::checkpoint::entries(model.model());
    assert_eq!(out.lines().count(), named.len());
    for (name, shape, values) in named {
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len().max(1) as f64;
        let line =
            out.lines().find(|line| line.starts_with(&format!("{name} {shape:?} "))).unwrap_or_default();
        let read: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((read - mean).abs() < 1e-3, "{name}: {line}, {mean}");
    }
}
