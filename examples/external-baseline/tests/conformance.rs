//! What holds for every encoder of the workspace holds for this one, in every mixture there is.

use external_baseline::registry;
use mos_baselines::{Spec, conformance};

// ANCHOR: conformance
#[test]
fn half_life_conforms_in_every_mixture() {
    let registry = registry();
    let failures: Vec<String> = registry
        .mixtures()
        .filter_map(|(mixture, ..)| conformance::check(&registry, &Spec::new("half-life", mixture)).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
// ANCHOR_END: conformance

#[test]
fn options_that_cannot_be_built_are_refused() {
    for (options, wanted) in [
        (
            serde_json::json!({"half_lives": [1.0, 2.0, 4.0]}),
            "half-life.half_lives = 3: must divide the width 8",
        ),
        (serde_json::json!({"half_lives": []}), "half-life.half_lives = 0"),
        (serde_json::json!({"half_lives": [0.0]}), "must lie between 0.1 and 10000"),
        (serde_json::json!({"half_life": [4.0]}), "unknown field `half_life`"),
    ] {
        let spec = Spec { encoder_options: options.clone(), ..Spec::new("half-life", "none") };
        let error =
            conformance::model(&registry(), &spec, 1).err().map_or_else(String::new, |e| e.to_string());
        assert!(error.contains(wanted), "{options}: {error}");
    }
}
