//! Every encoder, alone and in every mixture: generated from the registry.

use mos_baselines::{Spec, conformance, encoder_names, mixture_names};

#[test]
fn every_cell_conforms() {
    let mut failures = Vec::new();
    for (encoder, _) in encoder_names() {
        for (mixture, _) in mixture_names() {
            failures.extend(conformance::check(&Spec::new(encoder, mixture)).err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_name_is_documented() {
    let page = include_str!("../../docs/src/plugins.md");
    for (name, line) in encoder_names().chain(mixture_names()) {
        assert!(
            page.contains(&format!("| `{name}` | {line} |")),
            "docs/src/plugins.md lacks | `{name}` | {line} |"
        );
    }
}

#[test]
fn a_misspelt_name_or_option_names_the_nearest() {
    let error = |spec: &Spec| conformance::model(spec, 1).unwrap_err().to_string();
    assert!(error(&Spec::new("twim", "none")).contains("`twin`"));
    assert!(error(&Spec::new("twin", "moss")).contains("`mos`"));
    let spec = Spec { mixture_options: serde_json::json!({"code": 4}), ..Spec::new("twin", "mos") };
    assert!(error(&spec).contains("unknown field `code`"));
}
