//! Scores and gradients against an independent reference in PyTorch (`golden/reference.py`), from weights it wrote.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;

use mos_baselines::{Spec, conformance};
use mos_core::checkpoint;
use mos_data::Batch;
use safetensors::SafeTensors;
use serde_json::Value;

fn batch(text: &str) -> Batch {
    let json: Value = serde_json::from_str(text).unwrap();
    let column = |name: &str| -> Vec<u32> { serde_json::from_value(json[name].clone()).unwrap() };
    let times = |name: &str| column(name).into_iter().map(i64::from).collect();
    let targets = column("targets");
    Batch {
        users: (0..targets.len() as u32).collect(),
        labels: column("labels").into_iter().map(|l| l as f32).collect(),
        offsets: column("offsets").into_iter().map(|o| o as usize).collect(),
        items: column("items"),
        behaviours: column("behaviours").into_iter().map(|b| b as u8).collect(),
        sessions: column("sessions"),
        times: times("times"),
        target_times: times("target_times"),
        targets,
        truncated: 0,
    }
}

// ANCHOR: golden
#[test]
fn scores_and_gradients_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/half-life-none.safetensors");
    let spec = Spec::new("half-life", "none");
    let mut model = conformance::model(&external_baseline::registry(), &spec, 1).unwrap();
    let about = checkpoint::load(&mut model, &path).unwrap();
    let batch = batch(&about["batch"]);

    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let compare = |name: &str, found: &[f32]| {
        let tensor = file.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let wanted: Vec<f32> = values.collect();
        assert_eq!(found.len(), wanted.len(), "{name}");
        // A sum errs by a share of its largest terms, so by a share of its tensor's largest value.
        let largest = wanted.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (a, b)) in found.iter().zip(&wanted).enumerate() {
            let tolerance = 1e-7 + 5e-6 * (largest + b.abs());
            assert!((a - b).abs() < tolerance, "{name}[{i}] is {a}, PyTorch says {b}");
        }
    };
    compare("expected.logits", &model.score(&batch).unwrap());
    let gradients = model.gradients(&batch).unwrap();
    assert!(gradients.iter().any(|(name, _)| name == "param.encoder.half-life.decay"));
    for (name, gradient) in gradients {
        compare(&format!("expected.grad.{name}"), &gradient);
    }
}
// ANCHOR_END: golden
