//! Metrics against scikit-learn (`golden/metrics.py`).

#![allow(clippy::unwrap_used)] // helpers of tests

use mos_bench::metrics::{GroupWeight, GroupedAuc, auc, gauc, log_loss};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    logits: Vec<f32>,
    labels: Vec<f32>,
    groups: Vec<u32>,
    auc: f64,
    log_loss: f64,
    gauc: Weighted,
    groups_used: usize,
    groups_total: usize,
}

#[derive(Deserialize)]
struct Weighted {
    impressions: f64,
    positives: f64,
    uniform: f64,
}

#[test]
fn metrics_are_those_of_scikit_learn() {
    let golden: Golden = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for (n, case) in golden.cases.iter().enumerate() {
        let (logits, labels, groups) = (&case.logits, &case.labels, &case.groups);
        let close = |what: &str, found: f64, wanted: f64| {
            assert!((found - wanted).abs() < 1e-12, "case {n}, {what}: {found}, scikit-learn says {wanted}");
        };
        close("AUC", auc(logits, labels).unwrap(), case.auc);
        let ones = vec![1u8; *groups.iter().max().unwrap() as usize + 1];
        close(
            "AUC by groups",
            GroupedAuc::new(logits, labels, groups).unwrap().auc(&ones).unwrap(),
            case.auc,
        );
        close("log loss", log_loss(logits, labels).unwrap(), case.log_loss);
        for (weight, wanted) in [
            (GroupWeight::Impressions, case.gauc.impressions),
            (GroupWeight::Positives, case.gauc.positives),
            (GroupWeight::Uniform, case.gauc.uniform),
        ] {
            let found = gauc(logits, labels, groups, weight);
            close(&format!("gAUC {weight:?}"), found.value.unwrap(), wanted);
            assert_eq!((found.groups_used, found.groups_total), (case.groups_used, case.groups_total));
        }
    }
}
