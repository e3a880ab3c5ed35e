//! Scores and gradients against an independent reference in PyTorch (`golden/reference.py`), from weights it wrote.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use mos_baselines::{Registry, golden};

#[test]
fn scores_and_gradients_are_those_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
    let registry = Registry::default();
    let mut names: Vec<String> = registry.encoders().map(|(encoder, ..)| format!("{encoder}-none")).collect();
    names.extend(registry.mixtures().map(|(mixture, ..)| format!("twin-{mixture}")));
    // Losses that neither draw nor wait for statistics, in the gradient of the whole training loss.
    let own = ["sim-none", "twin-gshard", "twin-switch", "twin-dselect-k", "twin-deepseek", "twin-mos"];
    names.extend(own.map(|cell| format!("{cell}-losses")));
    names.extend(["dcnv2", "final_mlp"].map(|head| format!("mean-none-{head}")));
    names.retain(|name| !folder.join(format!("{name}.safetensors")).exists());
    assert!(names.is_empty(), "no golden file {}; golden/reference.py writes them", names.join(", "));
    files.sort();
    for file in files {
        let compared = golden::compare(&registry, &file).unwrap_or_else(|e| panic!("{e}"));
        println!("{:<32} {:.1e}", file.file_stem().unwrap().display(), compared.worst);
        assert!(compared.values > 500, "{}: {compared:?}", file.display());
    }
}
