//! The report, the tables as files and the comparison of runs, of a run that was made for it; the page is opened in a browser
//! where there is one.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mos-bench"))
}

fn output(args: &[&str]) -> String {
    String::from_utf8(bench().args(args).assert().success().get_output().stdout.clone()).unwrap()
}

/// A small run, made once; a copy for each test.
fn run() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let said = output(&[
            "--out",
            out.to_str().unwrap(),
            "--set",
            "data.generator.users=60",
            "--set",
            "seeds=[1,2]",
            "--set",
            "epochs=1",
            "--set",
            "encoders=[\"mean\",\"twin\"]",
            "--set",
            "mixtures=[\"none\",\"scales\",\"gshard\",\"mos\",\"random_themes\"]",
        ]);
        assert!(said.contains(out.join("report.html").to_str().unwrap()), "{said}");
        folder
    });
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&made.path().join("run"), &copy.path().join("run"));
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(|f| f.unwrap().path()) {
        let place = to.join(file.file_name().unwrap());
        if file.is_dir() {
            copy_folder(&file, &place);
        } else {
            std::fs::copy(&file, &place).unwrap();
        }
    }
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The results of a run folder, changed.
fn change(folder: &Path, change: impl Fn(&mut Value)) {
    let file = folder.join("results.json");
    let mut results: Value = serde_json::from_str(&read(file.clone())).unwrap();
    change(&mut results);
    std::fs::write(file, results.to_string()).unwrap();
}

/// What trainings and a study of routing leave in a run folder, by hand.
fn add_curves_and_routing(folder: &Path) {
    let mut lines = String::new();
    for (encoder, mixture, seed, step) in ["mean", "twin"].into_iter().flat_map(|e| {
        ["none", "scales", "gshard", "mos", "random_themes"]
            .into_iter()
            .flat_map(move |m| (1..3).flat_map(move |seed| (1..6).map(move |step| (e, m, seed, step))))
    }) {
        let auc = 0.5 + 0.03 * f64::from(step) + 0.004 * f64::from(seed) + 0.01 * mixture.len() as f64;
        let line = json!({
            "encoder": encoder, "mixture": mixture, "seed": seed, "step": 10 * step, "epoch": 1, "loss": 0.7 - 0.01 * f64::from(step),
            "lr": 0.006, "auc": auc, "gauc": auc, "logloss": 0.6, "seconds": 0.1,
        });
        lines += &format!("{line}\n");
    }
    // An undefined value, and a line that an interruption has cut off.
    lines += "{\"encoder\":\"twin\",\"mixture\":\"mos\",\"seed\":1,\"step\":60,\"epoch\":1,\"loss\":null,\"lr\":0.1,\"auc\":null}\n{\"enc";
    std::fs::write(folder.join("metrics.jsonl"), lines).unwrap();
    let themes = 12;
    let events: Vec<Value> = (0..150)
        .map(|i| json!({ "time": 1000 + i, "session": i / 9, "theme": if i == 3 { None } else { Some((i / 7) % themes) }, "category": format!("c{}", i % 5) }))
        .collect();
    let counts: Vec<Vec<u32>> =
        (0..themes).map(|t| (0..25).map(|c| (t * 7 + c * 3) % 11).collect()).collect();
    let record = |mixture: &str| {
        json!({
            "encoder": "twin", "mixture": mixture, "seed": 1, "max_length": 128,
            "load": vec![1.0 / f64::from(themes); themes as usize], "unrouted": 0.0, "entropy": 2.4,
            "nmi": 0.5, "purity": null, "planted_nmi": null, "planted_purity": null, "session_stability": 0.8,
            "border_stability": 0.2, "chance_stability": 0.1,
            "heat": {
                "of": "category", "themes": (0..themes).collect::<Vec<_>>(),
                "categories": (0..25).map(|c| format!("a rather long name of a category, {c}")).collect::<Vec<_>>(),
                "counts": counts,
            },
            "example": { "user": "u1", "events": events },
        })
    };
    let routing = json!([record("random_themes"), record("mos")]);
    std::fs::write(folder.join("routing.json"), routing.to_string()).unwrap();
}

#[test]
fn a_report_stands_alone_and_says_what_is_not_there() {
    let folder = run();
    let path = folder.path().join("run");
    let page = read(path.join("report.html"));
    for part in [
        "accuracy",
        "pareto",
        "learning",
        "routing",
        "hopping",
        "costs",
        "weightings",
        "calibration",
        "data",
        "provenance",
        "repeat",
    ] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    for outside in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
    assert!(page.contains("MoS is ") && page.contains("2 seeds: enough to look at"));
    // The card of the data, the configuration and the hashes are there.
    let results: Value = serde_json::from_str(&read(path.join("results.json"))).unwrap();
    for hash in [&results["data"]["sha256"], &results["data"]["split_sha256"], &results["config_sha256"]] {
        assert!(page.contains(hash.as_str().unwrap()), "{hash}");
    }
    assert!(page.contains("equal times") && page.contains("[data.generator]"));
    // Parts say which file they miss, and appear with it.
    for file in ["metrics.jsonl", "routing.json", "hopping.json"] {
        let _ = std::fs::remove_file(path.join(file));
    }
    output(&["report", path.to_str().unwrap()]);
    let page = read(path.join("report.html"));
    assert!(
        page.contains("no metrics.jsonl")
            && page.contains("no routing.json")
            && page.contains("no hopping.json")
    );
    add_curves_and_routing(&path);
    let said = output(&["report", path.to_str().unwrap()]);
    assert_eq!(said.trim(), path.join("report.html").to_str().unwrap());
    let page = read(path.join("report.html"));
    assert!(!page.contains("no metrics.jsonl") && !page.contains("no routing.json"));
    let command = format!("verify {} --cell twin/mos/2", path.display());
    assert!(page.contains(&command), "{command}");
    assert!(page.contains("Validation AUC") && page.contains("The history of user u1"));
}

#[test]
fn undefined_values_one_seed_and_hostile_names_are_no_obstacle() {
    let folder = run();
    let path = folder.path().join("run");
    change(&path, |results| {
        results["seeds"] = json!([1]);
        results["data"]["name"] = json!("<img src=x onerror=alert(1)>");
        results["environment"]["cpu"] = json!("</table><script>");
        for (i, cell) in results["cells"].as_array_mut().unwrap().iter_mut().enumerate() {
            cell["runs"].as_array_mut().unwrap().truncate(1);
            for metric in ["auc", "gauc", "logloss", "ece", "delta_auc", "delta_gauc", "delta_scales_auc"] {
                if let Some(value) = cell[metric].as_object_mut() {
                    let _ = ["lo", "hi", "p"].map(|end| value.get_mut(end).map(Value::take));
                }
            }
            if i % 3 == 0 {
                for metric in ["auc", "gauc", "logloss", "ece", "delta_auc", "delta_auc_users"] {
                    cell[metric].take();
                    if let Some(value) = cell["runs"][0].get_mut(metric) {
                        value.take();
                    }
                }
            }
            cell["mixture"] = json!(format!("{}\"><b>&", cell["mixture"].as_str().unwrap()));
        }
    });
    output(&["report", path.to_str().unwrap()]);
    let page = read(path.join("report.html"));
    for raw in ["<img", "<script", "<b>"] {
        assert!(!page.contains(raw), "{raw} came through");
    }
    assert!(!page.contains("NaN") && !page.contains(">inf"), "a number that is none");
    assert!(page.contains("&lt;img") && page.contains("With one seed there are no intervals"));
    assert!(page.contains("did not learn"));
    // Nothing defined at all.
    change(&path, |results| {
        for cell in results["cells"].as_array_mut().unwrap() {
            let _ = ["auc", "gauc", "logloss", "ece", "delta_auc"].map(|m| cell[m].take());
            let _ = ["auc", "gauc", "logloss", "ece"].map(|m| cell["runs"][0][m].take());
        }
    });
    output(&["report", path.to_str().unwrap()]);
    assert!(read(path.join("report.html")).contains("No cell has a defined AUC."));
    // Nor any cell.
    change(&path, |results| results["cells"] = json!([]));
    output(&["report", path.to_str().unwrap()]);
    // What is damaged is named.
    std::fs::write(path.join("metrics.jsonl"), "{}\n").unwrap();
    let said = bench().args(["report", path.to_str().unwrap()]).assert().code(2).get_output().stderr.clone();
    assert!(String::from_utf8(said).unwrap().contains("metrics.jsonl:1"));
}

#[test]
fn studies_have_parts_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let settings = [
        "data.generator.users=40",
        "seeds=[1,2]",
        "epochs=1",
        "encoders=[\"twin\"]",
        "mixtures=[\"none\",\"mos\",\"mos-4\"]",
        "variants.mos-4={ of = 'mos', options = { codes = 4 } }",
        "lengths=[20]",
        "max_length=60",
    ];
    let set = settings.iter().flat_map(|s| ["--set", s]);
    let tables = folder.path().join("tables");
    bench().args(["--out", path.to_str().unwrap()]).args(set).assert().success();
    output(&["report", path.to_str().unwrap(), "--export", tables.to_str().unwrap()]);
    let page = read(path.join("report.html"));
    for part in ["ablation", "length", "routing"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
        assert!(tables.join(part).with_extension("csv").exists(), "{part}");
    }
    assert!(
        page.contains("twin × mos, L = 20") && page.contains("--cell twin/mos-L20/2"),
        "names need the length"
    );
    assert!(page.contains("The history of user"), "a run measures routing");
}

#[test]
fn tables_are_exported_in_every_format() {
    let folder = run();
    let (path, to) = (folder.path().join("run"), folder.path().join("tables"));
    output(&["report", path.to_str().unwrap(), "--export", to.to_str().unwrap()]);
    for name in ["accuracy", "weightings", "cost"] {
        let csv = read(to.join(name).with_extension("csv"));
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        let header = rows.headers().unwrap().clone();
        let json: Value = serde_json::from_str(&read(to.join(name).with_extension("json"))).unwrap();
        let columns: Vec<&str> =
            json["columns"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(header.iter().collect::<Vec<_>>(), columns);
        assert_eq!(rows.records().count(), json["rows"].as_array().unwrap().len());
        assert!(read(to.join(name).with_extension("tex")).contains("\\toprule"));
        assert!(read(to.join(name).with_extension("md")).starts_with("## "));
    }
    // `table` writes the same.
    let results = path.join("results.json");
    for (format, extension) in [("csv", "csv"), ("json", "json"), ("latex", "tex"), ("markdown", "md")] {
        let said = output(&["table", "cost", results.to_str().unwrap(), "--format", format]);
        assert_eq!(said, read(to.join("cost").with_extension(extension)), "{format}");
    }
}

#[test]
fn runs_are_compared_where_they_can_be() {
    let folder = run();
    let (a, b) = (folder.path().join("run"), folder.path().join("other"));
    copy_folder(&a, &b);
    change(&b, |results| {
        let cells = results["cells"].as_array_mut().unwrap();
        cells.retain(|c| c["mixture"] != "gshard");
        for cell in cells {
            for run in cell["runs"].as_array_mut().unwrap() {
                run["auc"] = json!(run["auc"].as_f64().unwrap() + 0.01);
            }
        }
    });
    std::fs::write(b.join("config.toml"), read(a.join("config.toml")).replace("batch = 512", "batch = 64"))
        .unwrap();
    let compare =
        |format: &str| output(&["compare", a.to_str().unwrap(), b.to_str().unwrap(), "--format", format]);
    let text = compare("csv");
    assert!(text.contains("batch,512,64"), "{text}");
    let row = |start: &str| {
        text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"))
    };
    assert!(row("twin,mos,").ends_with("A and B") && row("twin,mos,").contains(",0.01,"), "{text}");
    assert!(row("twin,gshard,").ends_with("A only"));
    let terminal = compare("terminal");
    assert!(terminal.contains("paired over 2 common seeds") && terminal.contains("Same data, same samples"));
    // One data set for another: side by side, but no differences.
    change(&b, |results| results["data"]["split_sha256"] = json!("0000000000000000"));
    let terminal = compare("terminal");
    assert!(terminal.contains("NOT COMPARABLE: the samples differ"), "{terminal}");
    assert!(!compare("csv").contains(",0.01,"));
}

#[test]
fn several_runs_come_into_one_report() {
    let folder = run();
    let (a, b, c) = (folder.path().join("run"), folder.path().join("second"), folder.path().join("third"));
    copy_folder(&a, &b);
    copy_folder(&a, &c);
    change(&c, |results| results["data"]["sha256"] = json!("other data"));
    let out = folder.path().join("all.html");
    let runs = [&a, &b, &c].map(|p| p.to_str().unwrap());
    output(&[&["report"], &runs[..], &["--out", out.to_str().unwrap()]].concat());
    let page = read(out);
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id stands there twice: {ids:?}");
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(ids.contains(&link), "#{link} leads nowhere");
    }
    assert_eq!(page.matches("<h2>All cells on").count(), 1);
    assert!(page.contains(" · run 2") && !page.contains(" · run 3"), "only runs on the same data are joined");
    assert!(page.contains("numbers cannot be compared"));
}

/// What a page finds out about itself, told to the page around it.
const CHECK: &str = r#"<script>
const errors = [];
addEventListener("error", e => errors.push(String(e.message)));
addEventListener("load", () => {
  const found = { width: innerWidth, page: document.documentElement.scrollWidth, drawings: 0, empty: [], outside: [], overlaps: [], errors };
  for (const svg of document.querySelectorAll("svg.drawing")) {
    const frame = svg.getBoundingClientRect();
    // Drawings for the other width are not shown.
    if (svg.getClientRects().length === 0) continue;
    found.drawings++;
    const name = svg.getAttribute("aria-label"), box = svg.getBBox();
    if (frame.width < 1 || frame.height < 1 || box.width + box.height < 1) found.empty.push(name);
    const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([text, r], i) => {
      const slack = 1.5;
      if (r.left < frame.left - slack || r.right > frame.right + slack || r.top < frame.top - slack || r.bottom > frame.bottom + slack)
        found.outside.push(name + ": " + text);
      for (const [other, o] of texts.slice(i + 1)) {
        // Boxes of text are higher than what is seen of it.
        const wide = Math.min(r.right, o.right) - Math.max(r.left, o.left), high = Math.min(r.bottom, o.bottom) - Math.max(r.top, o.top);
        if (wide > 1 && high > 4) found.overlaps.push(name + ": " + text + " / " + other);
      }
    });
  }
  parent.postMessage(JSON.stringify(found), "*");
});
</script>"#;

/// A page that shows another one at a width (a window of a browser has a least width) and notes what that one tells.
fn frame(width: u32) -> String {
    format!(
        "<!DOCTYPE html><body><script>addEventListener('message', e => document.body.setAttribute('data-found', e.data));\
         </script><iframe src='checked.html' width='{width}' height='900' style='border:0'></iframe>"
    )
}

fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|p| names.map(|n| p.join(n))).find(|p| p.is_file())
}

#[test]
fn every_figure_draws_in_a_browser() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no chromium, chromium-browser or google-chrome on PATH");
        return;
    };
    let folder = run();
    let path = folder.path().join("run");
    add_curves_and_routing(&path);
    output(&["report", path.to_str().unwrap()]);
    let page = read(path.join("report.html"));
    let checked = folder.path().join("checked.html");
    std::fs::write(&checked, page.replacen("<head>", &format!("<head>{CHECK}"), 1)).unwrap();
    for width in [1280, 390] {
        let around = folder.path().join("around.html");
        std::fs::write(&around, frame(width)).unwrap();
        let profile = tempfile::tempdir().unwrap();
        let shown = Command::new(&browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-sync",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--virtual-time-budget=5000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--window-size=1400,900")
            .arg(format!("file://{}", around.display()))
            .timeout(std::time::Duration::from_secs(180))
            .assert()
            .success();
        let dom = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
        let found = dom.split("data-found=\"").nth(1).and_then(|rest| rest.split('"').next());
        let found =
            found.unwrap_or_else(|| panic!("{width}: the page was not checked")).replace("&quot;", "\"");
        let found: Value = serde_json::from_str(&found.replace("&amp;", "&")).unwrap();
        assert_eq!(found["width"], width);
        assert!(
            found["page"].as_u64() <= found["width"].as_u64(),
            "{width}: the page is wider: {}",
            found["page"]
        );
        assert!(found["drawings"].as_u64() >= Some(40), "{width}: only {} drawings", found["drawings"]);
        for fault in ["empty", "outside", "overlaps", "errors"] {
            assert_eq!(found[fault], json!([]), "{width}: {fault}");
        }
    }
}
