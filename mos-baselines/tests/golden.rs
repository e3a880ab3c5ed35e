//! Scores and gradients against an independent reference in PyTorch (`golden/reference.py`), from weights it wrote.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::{collections::HashMap, path::Path};

use mos_baselines::{Registry, Spec, conformance};
use mos_core::checkpoint;
use mos_data::Batch;
use safetensors::SafeTensors;
use serde_json::Value;

fn batch(text: &str) -> Batch {
    let json: Value = serde_json::from_str(text).unwrap();
    let column = |name: &str| -> Vec<u32> { serde_json::from_value(json[name].clone()).unwrap() };
    let times = |name: &str| column(name).iter().map(|t| i64::from(*t)).collect();
    let targets = column("targets");
    Batch {
        users: (0..targets.len() as u32).collect(),
        labels: column("labels").iter().map(|l| *l as f32).collect(),
        offsets: column("offsets").iter().map(|o| *o as usize).collect(),
        items: column("items"),
        behaviours: column("behaviours").iter().map(|b| *b as u8).collect(),
        sessions: column("sessions"),
        times: times("times"),
        target_times: times("target_times"),
        targets,
        truncated: 0,
    }
}

/// Compares one file; returns the number of values compared.
fn compare(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().clone().unwrap();
    let name = path.file_stem().unwrap().display();
    let mut spec = Spec::new(&about["encoder"], &about["mixture"]);
    if let Some(options) = about.get("options") {
        spec.encoder_options = serde_json::from_str(options).unwrap();
    }
    let head = about.get("head").map_or_else(conformance::head, |head| serde_json::from_str(head).unwrap());
    let mut model = conformance::model_with(&Registry::default(), &spec, &head, 1).unwrap();
    checkpoint::load(&mut model, path).unwrap();
    model.prepare_scoring();
    let batch = batch(&about["batch"]);

    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let close = |what: &str, found: &[f32], wanted: &[f32]| {
        assert_eq!(found.len(), wanted.len(), "{name}: {what}");
        // A sum errs by a share of its largest terms, so by a share of its tensor's largest value; 1e-7 is for gradients that
        // are zero but for rounding.
        let largest = wanted.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
            let tolerance = 1e-7 + 5e-6 * (largest + b.abs());
            assert!((a - b).abs() < tolerance, "{name}: {what}[{i}] is {a}, PyTorch says {b}");
        }
        found.len()
    };
    let mut compared = close("logits", &model.score(&batch).unwrap(), &values("expected.logits"));
    let grads: HashMap<String, Vec<f32>> = model.gradients(&batch).unwrap().into_iter().collect();
    for tensor in file.names().iter().filter_map(|n| n.strip_prefix("expected.grad.")) {
        let wanted = values(&format!("expected.grad.{tensor}"));
        let mut found = grads.get(tensor).cloned().unwrap_or_else(|| vec![0.0; wanted.len()]);
        // The unknown item's row never learns; PyTorch's gradient for it is not asked for.
        let frozen = if tensor.starts_with("table.") { file.tensor(tensor).unwrap().shape()[1] } else { 0 };
        found[..frozen].copy_from_slice(&wanted[..frozen]);
        compared += close(&format!("gradient of {tensor}"), &found, &wanted);
    }
    compared
}

#[test]
fn scores_and_gradients_are_those_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
    let registry = Registry::default();
    let mut names: Vec<String> = registry.encoders().map(|(encoder, ..)| format!("{encoder}-none")).collect();
    names.extend(registry.mixtures().map(|(mixture, ..)| format!("twin-{mixture}")));
    names.extend(["dcnv2", "final_mlp"].map(|head| format!("mean-none-{head}")));
    names.retain(|name| !folder.join(format!("{name}.safetensors")).exists());
    assert!(names.is_empty(), "no golden file {}; golden/reference.py writes them", names.join(", "));
    for file in files {
        assert!(compare(&file) > 500, "{}", file.display());
    }
}
