//! What a training goes on from: weights, both moments of the optimizer, its step, the best weights so far.
//!
//! Random streams have no state of their own: each is drawn from the seed and the step. So a training that goes on from
//! this file ends with the same bits as one that was never interrupted.

use std::{collections::HashMap, path::Path};

use super::{File, read, refuse, shapes, write};
use crate::{CtrModel, Result, model::Weights};

/// Key of the optimizer's step in the metadata.
const STEP: &str = "optimizer_step";

/// Prefixes of the moments' names.
const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];

/// Prefix of the best weights' names.
const BEST: &str = "best.";

/// Writes all that training goes on from, with the best weights so far where they are not the present ones.
///
/// # Errors
/// [`crate::Error::NotPrepared`] after a training step without [`CtrModel::prepare_scoring`], [`crate::Error::Io`] when the
/// file cannot be written.
pub fn save<S: ::std::hash::BuildHasher>(
    model: &CtrModel,
    best: Option<&Weights>,
    path: &Path,
    metadata: HashMap<String, String, S>,
) -> Result<()> {
    model.check_prepared()?;
    let mut metadata: HashMap<String, String> = metadata.into_iter().collect();
    metadata.insert(STEP.into(), model.step().to_string());
    let now = model.weights();
    let mut tensors: Vec<(String, Vec<usize>, &Vec<f32>)> = Vec::new();
    for (prefix, weights) in [("", Some(&now)), (BEST, best)] {
        let values = weights.into_iter().flat_map(Weights::values);
        tensors.extend(
            shapes(model).zip(values).map(|((name, shape), v)| (format!("{prefix}{name}"), shape, v)),
        );
    }
    for (name, moments) in model.moments() {
        let named = MOMENTS.iter().zip(moments);
        tensors.extend(named.map(|(prefix, v)| (format!("{prefix}{name}"), vec![v.len()], v)));
    }
    write(path, tensors, metadata)
}

/// Puts a model built from the same configuration where the file's was, ready for scoring; returns the best weights, where
/// they are others than the present ones, and the metadata.
///
/// # Errors
/// [`crate::Error::Checkpoint`] when a name or shape is missing or differs; the model is then unchanged.
pub fn load(model: &mut CtrModel, path: &Path) -> Result<(Option<Weights>, HashMap<String, String>)> {
    let bytes = read(path)?;
    let mut file = File::open(path, &bytes)?;
    let weights = file.weights(model, "")?;
    let has_best = file.tensors.names().iter().any(|name| name.starts_with(BEST));
    let best = if has_best { Some(file.weights(model, BEST)?) } else { None };
    let mut moments = Vec::new();
    for (name, now) in model.moments() {
        for (prefix, now) in MOMENTS.iter().zip(now) {
            moments.push(file.tensor(&format!("{prefix}{name}"), &[now.len()])?);
        }
    }
    let step = file.metadata.remove(STEP).and_then(|step| step.parse().ok());
    let step = step.ok_or_else(|| refuse(path, &"no training: it does not say at which step it was"))?;
    model.moments_mut().flatten().zip(moments).for_each(|(now, read)| *now = read);
    model.set_step(step);
    model.restore(weights);
    Ok((best, file.metadata))
}
