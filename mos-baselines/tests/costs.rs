//! Costs at published sizes: against values worked out by hand from the layer shapes of LongCTR, and as they stand in
//! `docs/src/costs.md`.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::Arc;

use mos_baselines::{Registry, Spec, conformance};
use mos_core::{Cost, CtrModel, ModelConfig};
use mos_data::{Batch, Catalog};
use proptest::prelude::*;
use serde_json::{Value, json};

/// MACs of one sample with a history of `length`, item vectors of `width`.
fn cost(encoder: &str, options: &Value, width: usize, length: usize) -> Cost {
    let catalog = Arc::new(Catalog { items: 3, behaviours: 1, ..Catalog::default() });
    let spec = Spec { encoder_options: options.clone(), ..Spec::new(encoder, "none") };
    let config = ModelConfig { dim: width, ..ModelConfig::default() };
    let model = CtrModel::new(&config, &catalog, 1, |b| Registry::default().build(b, &spec)).unwrap();
    let batch = Batch {
        users: vec![0],
        targets: vec![1],
        labels: vec![1.0],
        target_times: vec![length as i64],
        contexts: Vec::new(),
        offsets: vec![0, length],
        items: vec![2; length],
        behaviours: vec![0; length],
        sessions: vec![0; length],
        times: (0..length as i64).collect(),
        truncated: 0,
    };
    model.stated_cost(&batch).unwrap()
}

/// Encoder, its options, and million MACs for histories of 100, 200, 500 and 1,000.
type Row = (&'static str, Value, [f64; 4]);

/// Item width and rows of a data set.
fn sets() -> [(&'static str, usize, Vec<Row>); 2] {
    let din = json!({"hidden": [512, 256]});
    let twin = |a: usize| json!({"heads": 1, "top_k": 100, "attention": a, "short": 49});
    let sdim = json!({"hashes": 32, "bits": 2, "heads": 1, "attention": 256, "short": 49});
    let transact = |layers: usize, first_k: usize| json!({"layers": layers, "heads": 1, "feed_forward": 512, "first_k": first_k});
    let mamba = json!({"state": 32});
    [
        (
            "KuaiVideo",
            128,
            vec![
                ("din", din.clone(), [39.36, 78.72, 196.80, 393.60]),
                ("twin", twin(512), [19.94, 33.10, 72.58, 138.37]),
                ("sdim", sdim.clone(), [4.13, 4.95, 7.41, 11.50]),
                ("transact", transact(4, 3), [230.2, 501.4, 1560.6, 4145.2]),
                ("mamba4rec", mamba.clone(), [27.57, 55.14, 137.86, 275.71]),
            ],
        ),
        (
            "MicroVideo",
            192,
            vec![
                ("din", din, [52.47, 104.95, 262.37, 524.74]),
                ("twin", twin(128), [7.46, 12.39, 27.17, 51.81]),
                ("sdim", sdim, [6.18, 7.41, 11.10, 17.24]),
                ("transact", transact(1, 1), [106.0, 227.3, 683.5, 1751.0]),
                ("mamba4rec", mamba, [58.87, 117.73, 294.34, 588.67]),
            ],
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// At lengths where windows, searches and blocks cut.
    #[test]
    fn what_is_stated_is_executed(
        lengths in prop::collection::vec(prop_oneof![Just(0usize), 1usize..20, 45usize..70, 125usize..140], 1..5),
        seed in 0u64..1000,
    ) {
        let (registry, batch) = (Registry::default(), conformance::batch(&lengths, seed));
        for (encoder, ..) in registry.encoders() {
            for mixture in ["none", "wide", "gshard-bare", "gshard-token", "expert-choice", "mos", "mos-vq"] {
                let model = conformance::model(&registry, &Spec::new(encoder, mixture), seed).unwrap();
                let (executed, stated) = (model.score_counted(&batch).unwrap().1, model.stated_cost(&batch).unwrap());
                prop_assert_eq!(executed, stated.executed(), "{} x {}", encoder, mixture);
            }
        }
    }
}

#[test]
fn published_sizes_cost_what_the_formulas_say() {
    let mut page = String::new();
    for (set, width, rows) in sets() {
        for (encoder, options, wanted) in rows {
            let (mut published, mut executed) = (Vec::new(), Vec::new());
            for (length, wanted) in [100, 200, 500, 1000].into_iter().zip(wanted) {
                let cost = cost(encoder, &options, width, length);
                let millions = cost.encoder.saturating_add_signed(cost.saved) as f64 / 1e6;
                assert!(
                    (millions / wanted - 1.0).abs() < 0.01,
                    "{encoder} on {set}, {length}: {millions} million MACs, by hand {wanted}"
                );
                published.push(format!("{millions:.2}"));
                executed.push(format!("{:.2}", cost.encoder as f64 / 1e6));
            }
            page += &format!("| {set} | `{encoder}` | published | {} |\n", published.join(" | "));
            page += &format!("| {set} | `{encoder}` | executed | {} |\n", executed.join(" | "));
        }
    }
    let narrow = [100, 200, 500, 1000].map(|n| cost("mamba4rec", &json!({"state": 32}), 64, n));
    let narrow = narrow.map(|c| c.encoder.saturating_add_signed(c.saved));
    for (macs, wanted) in narrow.into_iter().zip([7.95, 15.90, 39.74, 79.49]) {
        assert!((macs as f64 / 1e6 / wanted - 1.0).abs() < 0.01, "mamba4rec at width 64: {macs}");
    }
    let docs = include_str!("../../docs/src/costs.md");
    assert!(docs.contains(&page), "docs/src/costs.md should hold\n\n{page}");
}
