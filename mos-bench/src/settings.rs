//! Values of an experiment by dotted name, for what single rows do not share: `"train.adam.lr" = 0.003`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::config::Experiment;

/// Dotted names and their values.
pub type Settings = BTreeMap<String, Value>;

/// What a row may have of its own; data, split, epochs and stopping are the same for all.
const OWN: [&str; 5] = ["train", "model", "options", "variants", "batch"];

/// `experiment` with `settings`.
///
/// # Errors
/// A name that an experiment does not have or all rows share, and values that do not fit.
pub fn with(experiment: &Experiment, settings: &Settings) -> anyhow::Result<Experiment> {
    let mut all = serde_json::to_value(experiment)?;
    for (name, value) in settings {
        let root = name.split('.').next().unwrap_or_default();
        if !OWN.contains(&root) {
            bail!("{name}: rows differ in {} alone; everything else is the same for all", OWN.join(", "));
        }
        let mut at = &mut all;
        for part in name.split('.') {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let fields = at.as_object_mut().with_context(|| format!("{name}: {part} is not a table"))?;
            at = fields.entry(part).or_insert(Value::Null);
        }
        *at = value.clone();
    }
    serde_json::from_value(all).with_context(|| {
        let given: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        given.join(", ")
    })
}

/// A value as its user wrote it: options are f32, whose nearest f64 has many digits.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64().map_or(n.to_string(), |x| (x as f32).to_string()),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k} = {}", plain(v))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
