//! Scores and gradients against an independent reference in PyTorch (`golden/reference.py`), from weights it wrote.

use std::path::Path;

use mos_baselines::golden;

// ANCHOR: golden
#[test]
fn scores_and_gradients_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/half-life-none.safetensors");
    let compared = golden::compare(&external_baseline::registry(), &path);
    assert!(compared.as_ref().is_ok_and(|found| found.values > 400), "{compared:?}");
}
// ANCHOR_END: golden
