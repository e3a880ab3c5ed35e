//! Every encoder, alone and in every mixture: generated from the registry.

use mos_baselines::{Registry, Spec, conformance};
use mos_core::{
    Builder, Cost, HeadConfig, Init, Input, Interest, Params, Pass, Result, SequenceEncoder, StateUpdate,
    StepInfo, Tables, engine::BufferId, ops,
};
use rayon::prelude::*;

#[test]
fn every_cell_conforms() {
    let registry = Registry::default();
    let mixtures: Vec<&str> = registry.mixtures().map(|(mixture, ..)| mixture).collect();
    let of = |encoder| mixtures.iter().map(move |mixture| Spec::new(encoder, mixture));
    let cells: Vec<Spec> = registry.encoders().flat_map(|(encoder, ..)| of(encoder)).collect();
    let failures: Vec<String> =
        cells.par_iter().filter_map(|cell| conformance::check(&registry, cell).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_head_conforms() {
    let mut registry = Registry::default();
    registry.encoder("probe", "two vectors, evidence, state", (), Probe::new);
    let (first, second) = (vec![6, 4], vec![5, 6]);
    let mut failures = Vec::new();
    for head in [
        HeadConfig::Mlp { hidden: vec![] },
        HeadConfig::Mlp { hidden: vec![6, 4] },
        HeadConfig::Dcnv2 { cross: 2, hidden: vec![6, 4] },
        HeadConfig::FinalMlp { first, second, gate: vec![5], heads: 2 },
        HeadConfig::FinalMlp { first: vec![3], second: vec![2], gate: vec![], heads: 1 },
    ] {
        for (encoder, mixture) in
            [("mean", "none"), ("twin", "gshard"), ("din", "mos"), ("din", "mos-vq"), ("probe", "mos")]
        {
            let outcome = conformance::check_with(&registry, &Spec::new(encoder, mixture), &head);
            failures.extend(outcome.err().map(|e| format!("{head:?}: {e}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Everything that an encoder may have beyond the ordinary: two vectors, evidence, and state of its own.
#[derive(Debug)]
struct Probe {
    steps: BufferId,
}

impl Probe {
    fn new(builder: &mut Builder<'_>, _options: &()) -> Result<Self> {
        Ok(Self { steps: builder.buffer("steps", 1, 2, Init::Zeros) })
    }
}

impl SequenceEncoder for Probe {
    fn forward(&self, pass: &mut Pass<'_>, input: &Input) -> Result<Interest> {
        let mean = ops::segment_mean(&mut pass.tape, &input.rows, &input.events.offsets);
        let product = ops::mul(&mut pass.tape, &mean, &input.target);
        let evidence = mos_core::Mat::new(
            mean.rows(),
            1,
            input.events.offsets.lengths().map(|n| (n as f32).sqrt()).collect(),
        );
        Ok(Interest { vectors: vec![mean, product], evidence: vec![evidence] })
    }

    fn vectors(&self) -> usize {
        2
    }

    fn evidence(&self) -> usize {
        1
    }

    fn cost(&self, _pass: &mut Pass<'_>, _input: &Input) -> Result<Cost> {
        Ok(Cost::default())
    }

    fn after_step(&self, params: &mut Params, _: &mut Tables, _: &[StateUpdate], _: StepInfo) {
        let seen = params.buffer(self.steps).to_vec();
        params.set_buffer(self.steps, vec![seen[0] + 1.0, seen[1]]);
    }

    fn prepare_scoring(&self, params: &mut Params, _: &Tables) {
        let seen = params.buffer(self.steps).to_vec();
        params.set_buffer(self.steps, vec![seen[0], seen[1] + 1.0]);
    }
}

#[test]
fn every_mixture_serves_every_form_of_expert() {
    let mut registry = Registry::default();
    registry.encoder("probe", "two vectors, evidence, state", (), Probe::new);
    for (mixture, ..) in registry.mixtures() {
        let spec = Spec::new("probe", mixture);
        conformance::check(&registry, &spec).unwrap_or_else(|e| panic!("{e}"));
        let mut model = conformance::model(&registry, &spec, 1).unwrap_or_else(|e| panic!("{e}"));
        let batch = conformance::batch(&[9, 2, 14], 1);
        for _ in 0..3 {
            model
                .train_step(&batch, &mos_core::TrainConfig::default(), 3, 3)
                .unwrap_or_else(|e| panic!("{e}"));
        }
        model.prepare_scoring();
        let params = model.params();
        let states = params.buffer_ids().filter(|b| params.buffer_name(*b).0.ends_with("probe.steps"));
        // Built once, prepared once, three steps, prepared again: every expert is visited each time.
        let seen: Vec<Vec<f32>> = states.map(|b| params.buffer(b).to_vec()).collect();
        assert!(!seen.is_empty() && seen.iter().all(|s| s == &[3.0, 2.0]), "{mixture}: {seen:?}");
    }
}

#[test]
fn every_name_is_documented() {
    let (page, registry) = (include_str!("../../docs/src/plugins.md"), Registry::default());
    for (name, line, _) in registry.encoders().chain(registry.mixtures()) {
        assert!(
            page.contains(&format!("| `{name}` | {line} |")),
            "docs/src/plugins.md lacks | `{name}` | {line} |"
        );
    }
}

#[test]
fn a_misspelt_name_or_option_names_the_nearest() {
    let registry = Registry::default();
    let error = |spec: &Spec| match conformance::model(&registry, spec, 1) {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    };
    assert!(error(&Spec::new("twim", "none")).contains("`twin`"));
    assert!(error(&Spec::new("twin", "moss")).contains("`mos`"));
    let with = |mixture: &str, options| Spec { mixture_options: options, ..Spec::new("twin", mixture) };
    assert!(error(&with("mos", serde_json::json!({"code": 4}))).contains("unknown field `code`"));
    assert!(error(&with("none", serde_json::json!({"code": 4}))).contains("has no options"));
    // Options of the body and of the gate lie in two structs, read as one.
    assert!(error(&with("switch", serde_json::json!({"capasity": 1}))).contains("unknown field `capasity`"));
    assert!(error(&with("dense", serde_json::json!({"top_k": 1}))).contains("unknown field `top_k`"));
}

#[test]
fn every_option_of_encoders_conforms() {
    let registry = Registry::default();
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let failures: Vec<String> = [
        ("din", r#"{"hidden": [8, 4], "softmax": true}"#),
        ("dien", r#"{"auxiliary": 0.5}"#),
        ("bst", r#"{"layers": 2, "heads": 4, "feed_forward": 12, "dropout": 0.2}"#),
        ("sim", r#"{"top_k": 4, "heads": 4, "attention": 16, "search_loss": 0.5, "short": 5}"#),
        ("sim-hard", r#"{"top_k": 3, "short": 5}"#),
        ("eta", r#"{"top_k": 4, "bits": 8, "heads": 4, "attention": 16, "short": 5}"#),
        ("sdim", r#"{"hashes": 3, "bits": 2, "heads": 4, "attention": 16, "short": 5}"#),
        ("twin", r#"{"top_k": 4, "heads": 4, "attention": 16, "short": 5}"#),
        ("mirrn", r#"{"top_k": 5, "local": 3, "positions": 10, "bits": 8, "heads": 2, "attention": 16, "short": 4}"#),
        ("transact", r#"{"layers": 2, "heads": 4, "feed_forward": 12, "first_k": 3, "dropout": 0.2}"#),
        ("mamba4rec", r#"{"layers": 2, "state": 3, "convolution": 2, "expand": 3, "dropout": 0.0}"#),
        ("hstu", r#"{"blocks": 1, "heads": 4, "max_length": 10, "dropout": 0.0}"#),
        ("attenmixer", r#"{"levels": 3, "heads": 4, "power": 2.0, "mix": "softmax", "target": "query", "dropout": 0.0}"#),
        ("miasrec", r#"{"session": 9, "layers": 1, "heads": 4, "feed_forward": 12, "beta": 0.5, "target": "query"}"#),
    ]
    .into_par_iter()
    .flat_map(|(encoder, options)| ["none", "switch", "gshard-token"].map(|mixture| (encoder, options, mixture)))
    .filter_map(|(encoder, options, mixture)| {
        let spec = Spec { encoder_options: json(options), ..Spec::new(encoder, mixture) };
        conformance::check(&registry, &spec).err().map(|e| format!("{options}: {e}"))
    })
    .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One field at a time away from both named configurations.
#[test]
fn every_variant_of_mos_conforms() {
    let registry = Registry::default();
    let variants = serde_json::json!([
        {"vector": "content_map"},
        {"vector": "content"},
        {"vector": "content_map_plus_free"},
        {"vector": "free"},
        {"vector": "free_random", "kmeans_start": false},
        {"vector": "tied"},
        {"vector": "detached"},
        {"codebook": {"mutual_information": {"weight": 0.5}}},
        {"codebook": {"moving_average": {"commitment": 0.25}}},
        {"codebook": "fixed"},
        {"codes": 1},
        {"lags": [1], "same_session": false},
        {"unit": "behaviour"},
        {"unit": "session"},
        {"unit": {"window": 3}},
        {"run": {"target": 1}},
        {"run": {"target": 2}},
        {"run": "all"},
        {"run": "all", "assignment": "soft", "unit": "behaviour"},
        {"theme_length": 2},
        {"theme_expert": false},
        {"global": "off"},
        {"global": "full"},
        {"global": {"pooled": 3}},
        {"short": 0},
        {"sharing": "shared"},
        {"sharing": "per_theme"},
        {"sharing": "per_theme", "run": "all"},
        {"fusion": "gated_sum"},
        {"fusion": "attention"},
    ]);
    let mut failures = Vec::new();
    for options in variants.as_array().into_iter().flatten() {
        for mixture in ["mos", "mos-vq"] {
            let spec = Spec { mixture_options: options.clone(), ..Spec::new("din", mixture) };
            failures.extend(conformance::check(&registry, &spec).err().map(|e| format!("{options}: {e}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every option of every other mixture, away from its default.
#[test]
fn every_variant_of_other_mixtures_conforms() {
    let registry = Registry::default();
    let variants = serde_json::json!({
        "gshard": [{"capacity": 1.0}, {"level": "token"}, {"experts": 1, "top_k": 1}, {"experts": 3, "top_k": 2}],
        "gshard-token": [{"capacity": 0.5}, {"short": 0}, {"experts": 1, "top_k": 1}],
        "switch": [{"capacity": 1.0}, {"z_loss": 0.001}, {"balance": 0.0}, {"short": 0}, {"experts": 1}],
        "switch-token": [{"capacity": 0.3}, {"capacity": 0.0}, {"z_loss": 0.001}],
        "noisy-top-k": [{"level": "token"}, {"top_k": 4}, {"top_k": 1}, {"importance": 0.0}, {"load": 0.0}],
        "dselect-k": [{"level": "token"}, {"experts": 8, "selectors": 3}, {"experts": 2, "selectors": 1}],
        "expert-choice": [{"capacity": 0.5}, {"capacity": 3.0, "experts": 3}],
        "dense": [{"level": "token"}, {"experts": 1}, {"experts": 3, "short": 0}],
        "deepseek": [{"level": "token"}, {"shared": 0}, {"shared": 2, "top_k": 1}, {"top_k": 4}, {"balance": 0.1}],
        "random-routing": [{"level": "token"}, {"top_k": 2}, {"top_k": 2, "level": "token"}],
        "wide": [{"factor": 0.5}, {"factor": 2.0, "short": 0}],
        "theme-feature": [
            {"short": 0}, {"vector": "tied"}, {"codebook": "fixed", "vector": "content"},
            {"codebook": {"moving_average": {"commitment": 0.25}}, "vector": "free_random"},
        ],
        "theme-loss": [{"codes": 3, "weight": 0.5}, {"same_session": false, "lags": [1]}],
    });
    let mut failures = Vec::new();
    for (mixture, variants) in variants.as_object().into_iter().flatten() {
        for options in variants.as_array().into_iter().flatten() {
            let spec = Spec { mixture_options: options.clone(), ..Spec::new("twin", mixture) };
            failures.extend(conformance::check(&registry, &spec).err().map(|e| format!("{options}: {e}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let registry = Registry::default();
    for (mixture, options, wanted) in [
        ("mos", serde_json::json!({"routing_dim": 0}), "routing_dim"),
        ("mos", serde_json::json!({"theme_length": 0}), "theme_length"),
        ("mos", serde_json::json!({"lags": []}), "lags"),
        ("mos", serde_json::json!({"information_rows": 0}), "information_rows"),
        ("mos", serde_json::json!({"codes": 0}), "codes"),
        ("mos", serde_json::json!({"sharing": "per_theme", "run": {"target": 2}}), "run"),
        ("mos-vq", serde_json::json!({"assignment": "soft"}), "unit"),
        ("random_themes", serde_json::json!({"run": {"target": 2}}), "run"),
        // The kit's catalog has 8 planted themes and 4 categories.
        ("oracle_themes", serde_json::json!({"run": "all", "codes": 7}), "8 themes"),
        ("same_category", serde_json::json!({"sharing": "per_theme", "codes": 3}), "4 themes"),
        ("gshard", serde_json::json!({"top_k": 5}), "gshard.top_k"),
        ("gshard", serde_json::json!({"experts": 0}), "gshard.experts"),
        ("gshard", serde_json::json!({"capacity": -1}), "gshard.capacity"),
        ("switch", serde_json::json!({"level": "word"}), "unknown variant `word`"),
        ("noisy-top-k", serde_json::json!({"top_k": 0}), "noisy-top-k.top_k"),
        ("dselect-k", serde_json::json!({"experts": 6}), "dselect-k.experts"),
        ("dselect-k", serde_json::json!({"selectors": 0}), "dselect-k.selectors"),
        ("expert-choice", serde_json::json!({"level": "sequence"}), "expert-choice.level"),
        ("expert-choice", serde_json::json!({"capacity": 0}), "expert-choice.capacity"),
        ("deepseek", serde_json::json!({"top_k": 5}), "deepseek.top_k"),
        ("deepseek", serde_json::json!({"rate": -1}), "deepseek.rate"),
        ("random-routing", serde_json::json!({"top_k": 5}), "random-routing.top_k"),
        ("wide", serde_json::json!({"factor": 0}), "wide.factor"),
        ("theme-feature", serde_json::json!({"codes": 0}), "codes"),
        ("theme-loss", serde_json::json!({"lags": []}), "lags"),
        ("theme-loss", serde_json::json!({"short": 0}), "short"),
        ("scales", serde_json::json!({"short": 0}), "short"),
    ] {
        let spec = Spec { mixture_options: options.clone(), ..Spec::new("mean", mixture) };
        let error = conformance::model(&registry, &spec, 1).err().map_or_else(String::new, |e| e.to_string());
        assert!(error.contains(wanted), "{mixture} {options}: {error}");
    }
    for (encoder, options) in [
        ("twin", serde_json::json!({"top_k": 0})),
        ("twin", serde_json::json!({"heads": 3})),
        ("din", serde_json::json!({"hidden": [16, 0]})),
        ("sdim", serde_json::json!({"bits": 65})),
        ("sim", serde_json::json!({"search_loss": -1.0})),
        ("eta", serde_json::json!({"bits": 65})),
        ("mirrn", serde_json::json!({"local": 0})),
        ("transact", serde_json::json!({"first_k": 0})),
        ("mamba4rec", serde_json::json!({"dropout": 1.0})),
        ("hstu", serde_json::json!({"max_length": 0})),
        ("attenmixer", serde_json::json!({"power": 0.5})),
        ("miasrec", serde_json::json!({"beta": 1.5})),
    ] {
        let spec = Spec { encoder_options: options.clone(), ..Spec::new(encoder, "none") };
        let error = conformance::model(&registry, &spec, 1).err().map_or_else(String::new, |e| e.to_string());
        let field = options.as_object().and_then(|o| o.keys().next()).map_or("", String::as_str);
        let wanted = if encoder == "sdim" { encoder } else { field };
        assert!(error.contains(wanted), "{encoder} {options}: {error}");
    }
}
