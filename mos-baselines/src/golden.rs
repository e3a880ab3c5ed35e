//! Comparison with an independent reference: a file that holds weights, a batch and what another implementation makes of
//! them.

use std::{collections::HashMap, path::Path};

use mos_core::checkpoint;
use mos_data::Batch;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{Registry, Spec, conformance};

/// How well a file's values were met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Values compared.
    pub values: usize,
    /// Largest difference, as a share of its tensor's largest value (of tensors that are not zero but for rounding).
    pub worst: f32,
}

/// Compares scores and gradients of the mean click loss with those of `path`.
///
/// The file is a checkpoint of the model that the conformance kit builds (width 8, see [`conformance::model`]). Its metadata
/// name `encoder` and `mixture`, hold a `batch` (JSON of [`Batch`], users apart), and where they differ from the defaults
/// the encoder's `options`, the `mixture_options` and the `head`. With `losses` the gradients are of the whole training loss
/// ([`mos_core::CtrModel::training_gradients`]). Tensors `expected.logits` and `expected.grad.<name of the weight>`, one for
/// each weight that the loss reaches, are what the reference computed. A value may differ by 5e-6 of itself and of its tensor's largest value: a sum errs by a share of its
/// largest terms.
///
/// # Errors
/// The first difference, or what is wrong with the file, in words.
pub fn compare(registry: &Registry, path: &Path) -> Result<Agreement, String> {
    let name = path.file_stem().unwrap_or_default().display();
    let say = |e: &dyn std::fmt::Display| format!("{name}: {e}");
    let bytes = std::fs::read(path).map_err(|e| say(&e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| say(&e))?;
    let about = header.metadata().clone().unwrap_or_default();
    let entry = |key: &str| about.get(key).ok_or_else(|| say(&format!("no {key} in its metadata")));
    let mut spec = Spec::new(entry("encoder")?, entry("mixture")?);
    if let Some(options) = about.get("options") {
        spec.encoder_options = serde_json::from_str::<Value>(options).map_err(|e| say(&e))?;
    }
    if let Some(options) = about.get("mixture_options") {
        spec.mixture_options = serde_json::from_str::<Value>(options).map_err(|e| say(&e))?;
    }
    let head = match about.get("head") {
        Some(head) => serde_json::from_str(head).map_err(|e| say(&e))?,
        None => conformance::head(),
    };
    let mut batch: Batch = serde_json::from_str(entry("batch")?).map_err(|e| say(&e))?;
    batch.users = (0..batch.targets.len() as u32).collect();
    let mut model = conformance::model_with(registry, &spec, &head, 1).map_err(|e| say(&e))?;
    checkpoint::load(&mut model, path).map_err(|e| say(&e))?;
    model.prepare_scoring();

    let file = SafeTensors::deserialize(&bytes).map_err(|e| say(&e))?;
    let values = |name: &str| -> Result<Vec<f32>, String> {
        let tensor = file.tensor(name).map_err(|e| say(&e))?;
        let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        Ok(tensor.data().chunks_exact(4).map(float).collect())
    };
    let mut agreement = Agreement { values: 0, worst: 0.0 };
    let mut close = |what: &str, found: &[f32], wanted: &[f32]| -> Result<(), String> {
        if found.len() != wanted.len() {
            return Err(say(&format!("{what}: {} values instead of {}", found.len(), wanted.len())));
        }
        let largest = wanted.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
            // 1e-7 is for gradients that are zero but for rounding. A value that is not a number fails too.
            let near = (a - b).abs() < 1e-7 + 5e-6 * (largest + b.abs());
            if !near {
                return Err(say(&format!("{what}[{i}] is {a}, the reference says {b}")));
            }
            if largest > 1e-5 {
                agreement.worst = agreement.worst.max((a - b).abs() / largest);
            }
        }
        agreement.values += found.len();
        Ok(())
    };
    let scores = model.score(&batch).map_err(|e| say(&e))?;
    close("logits", &scores, &values("expected.logits")?)?;
    let whole = about.contains_key("losses");
    let grads = if whole { model.training_gradients(&batch, 0) } else { model.gradients(&batch) };
    let grads: HashMap<String, Vec<f32>> = grads.map_err(|e| say(&e))?.into_iter().collect();
    let compares = |name: &String| file.tensor(&format!("expected.grad.{name}")).is_ok();
    let reached = |grad: &[f32]| grad.iter().any(|g| *g != 0.0);
    if let Some((missing, _)) = grads.iter().find(|(name, grad)| reached(grad) && !compares(name)) {
        return Err(say(&format!("no gradient of {missing}")));
    }
    for tensor in file.names().iter().filter_map(|n| n.strip_prefix("expected.grad.")) {
        let wanted = values(&format!("expected.grad.{tensor}"))?;
        let mut found = grads.get(tensor).cloned().unwrap_or_else(|| vec![0.0; wanted.len()]);
        // The unknown item's row never learns; the reference's gradient for it is not asked for.
        if tensor.starts_with("table.") {
            let width = wanted.len() / rows_of(&file, tensor).max(1);
            found[..width].copy_from_slice(&wanted[..width]);
        }
        close(&format!("gradient of {tensor}"), &found, &wanted)?;
    }
    Ok(agreement)
}

/// Rows of a table.
fn rows_of(file: &SafeTensors<'_>, tensor: &str) -> usize {
    file.tensor(tensor).ok().and_then(|t| t.shape().first().copied()).unwrap_or(1)
}
