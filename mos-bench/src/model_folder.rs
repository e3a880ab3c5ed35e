//! From a training to a model folder that scores raw ids (see [`mos_core::model_folder`]).

use std::path::Path;

use anyhow::Context as _;
use mos_core::model_folder;

use crate::{
    train::{Trial, View},
    training::Fitted,
};

/// Writes the model of a finished training, with the weights of its best validation, to `folder`. Control rows, which see
/// histories otherwise than a log has them, are passed over.
///
/// # Errors
/// The file system's, and something else that stands there.
pub fn keep(folder: &Path, trial: &Trial<'_>, fitted: &Fitted) -> anyhow::Result<()> {
    if trial.view != View::Full {
        return Ok(());
    }
    let rule = trial.data.history_rule(trial.experiment.max_length);
    // Defaults are written out: a later release may have others.
    let spec = trial.registry.resolved(&trial.spec)?;
    model_folder::save(folder, fitted.model(), &spec, &trial.data.vocabulary()?, &rule)
        .with_context(|| format!("the model of {} x {}", spec.encoder, spec.mixture))
}
