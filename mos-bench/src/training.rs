//! One training, a validation at a time: it can be written between two validations and taken up again in another process.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use mos_core::{CtrModel, Error, TrainConfig, checkpoint, model::Weights};
use mos_data::{Batch, Batches, Epoch};
use serde::{Deserialize, Serialize};

use crate::{
    config::Experiment,
    folder::COMMIT,
    metrics::{GroupWeight, auc, gauc, log_loss},
    stopping::{Best, Ended, Stopper, Stopping},
    train::{Trial, columns},
};

/// One validation of a training: a line of `metrics.jsonl`, with the names of its cell and its seed before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Optimizer steps done.
    pub step: u64,
    /// The same in passes over the training samples.
    pub epoch: f64,
    /// Mean training loss of a step since the validation before, auxiliary terms included.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f32,
    /// Validation AUC.
    pub auc: Option<f64>,
    /// Validation gAUC over users, weighted by impressions.
    pub gauc: Option<f64>,
    /// Validation log loss.
    pub logloss: Option<f64>,
    /// Seconds of training so far, in all processes that worked on it.
    pub seconds: f64,
    /// Those of them in which it waited for batches.
    #[serde(default)]
    pub waited: f64,
}

/// What a checkpoint holds beside weights and moments.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// Hashes of configuration, log and samples.
    made_from: [String; 3],
    stopper: Stopper,
    validations: Vec<Validation>,
    /// Commits that worked on it before.
    commits: BTreeSet<String>,
}

/// A training that has begun.
#[derive(Debug)]
pub struct Training<'a> {
    trial: &'a Trial<'a>,
    seed: u64,
    model: CtrModel,
    /// Those of the best validation.
    best: Option<Weights>,
    state: State,
    ended: Option<Ended>,
    /// Why it diverged.
    trouble: Option<Error>,
    /// The epoch that is read.
    batches: Option<(u64, Batches)>,
    started: Instant,
    /// Of epochs before.
    waited: Duration,
    /// Of processes before.
    seconds_before: f64,
    waited_before: f64,
}

/// Key of [`State`] in the metadata of a checkpoint.
const STATE: &str = "training";

impl<'a> Training<'a> {
    /// Begins one.
    ///
    /// # Errors
    /// Names or options that do not exist.
    pub fn begin(trial: &'a Trial<'a>, seed: u64) -> mos_core::Result<Self> {
        Ok(Self {
            trial,
            seed,
            model: trial.model(seed)?,
            best: None,
            state: State::default(),
            ended: None,
            trouble: None,
            batches: None,
            started: Instant::now(),
            waited: Duration::ZERO,
            seconds_before: 0.0,
            waited_before: 0.0,
        })
    }

    /// Takes up the one that [`Self::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or belongs to another model.
    pub fn resume(trial: &'a Trial<'a>, seed: u64, path: &Path) -> anyhow::Result<Self> {
        let mut training = Self::begin(trial, seed)?;
        let (best, metadata) = checkpoint::training::load(&mut training.model, path)?;
        let state = metadata.get(STATE).context("it holds no training")?;
        training.state = serde_json::from_str(state)?;
        if training.state.made_from != made_from(trial)? {
            bail!("was trained by another configuration or on other data; start a new run");
        }
        // What is best now stands in the file once.
        let now = || training.model.weights();
        training.best = best.or_else(|| training.state.stopper.best().map(|_| now()));
        let last = training.state.validations.last();
        (training.seconds_before, training.waited_before) =
            last.map_or((0.0, 0.0), |v| (v.seconds, v.waited));
        Ok(training)
    }

    /// Writes all that it goes on from; to be called right after a validation.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let state =
            State { commits: self.commits(), made_from: made_from(self.trial)?, ..self.state.clone() };
        let metadata = HashMap::from([(STATE.to_owned(), serde_json::to_string(&state)?)]);
        let is_best = self.state.stopper.best().is_some_and(|best| best.step == self.model.step());
        let best = self.best.as_ref().filter(|_| !is_best);
        Ok(checkpoint::training::save(&self.model, best, path, metadata)?)
    }

    /// Trains to the next validation; `None` when the training is over.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn advance(&mut self) -> mos_core::Result<Option<&Validation>> {
        let x = &*self.trial.experiment;
        let (per_epoch, every) = (self.trial.steps_per_epoch(), self.trial.every());
        let total = per_epoch * x.epochs as u64;
        // What has done all of its epochs was not stopped.
        if self.ended.is_none() && self.model.step() >= total {
            self.ended = Some(Ended::Epochs);
        }
        if self.ended.is_none() && self.state.stopper.stops(x.patience) {
            self.ended = Some(Ended::Patience);
        }
        if self.ended.is_some() {
            return Ok(None);
        }
        let mut config = x.train.clone();
        config.adam.lr *= self.state.stopper.rate(&x.plateau);
        let mut losses = 0.0;
        let from = self.model.step();
        loop {
            let report = match self.step(&config, total, per_epoch) {
                // The weights are as they were before the step.
                Err(error @ Error::NotFinite { .. }) => {
                    self.ended = Some(Ended::Diverged);
                    self.trouble = Some(error);
                    return Ok(None);
                }
                report => report?,
            };
            losses += f64::from(report.loss);
            let step = self.model.step();
            let in_epoch = (step - 1) % per_epoch + 1;
            if in_epoch.is_multiple_of(every) || in_epoch == per_epoch {
                let loss = losses / (step - from) as f64;
                return self.validate(loss, report.lr).map(Some);
            }
        }
    }

    fn step(
        &mut self,
        config: &TrainConfig,
        total: u64,
        per_epoch: u64,
    ) -> mos_core::Result<mos_core::StepReport> {
        let (epoch, from) = (self.model.step() / per_epoch, self.model.step() % per_epoch);
        if self.batches.as_ref().is_none_or(|(number, _)| *number != epoch) {
            let Experiment { batch, max_length, .. } = *self.trial.experiment;
            let next = Epoch { number: epoch, seed: self.seed, batch, max_length, from: from as usize };
            self.waited += self.batches.take().map_or(Duration::ZERO, |(_, batches)| batches.waited());
            self.batches = Some((epoch, self.trial.data.users.epoch(next)));
        }
        let batch = self.batches.as_mut().and_then(|(_, batches)| batches.next());
        let batch = batch.unwrap_or_else(|| Ok(Batch::default()))?;
        self.model.train_step(&self.trial.view(batch), config, total, per_epoch)
    }

    fn validate(&mut self, loss: f64, lr: f32) -> mos_core::Result<&Validation> {
        let x = &*self.trial.experiment;
        self.model.prepare_scoring();
        let valid = &self.trial.data.users.valid;
        let scores = self.trial.scores(&self.model, valid)?;
        let (labels, users) = columns(valid);
        let finite = |value: Option<f64>| value.filter(|v| v.is_finite());
        let step = self.model.step();
        let validation = Validation {
            step,
            epoch: step as f64 / self.trial.steps_per_epoch() as f64,
            loss,
            lr,
            auc: auc(&scores, &labels),
            gauc: gauc(&scores, &labels, &users, GroupWeight::Impressions).value,
            logloss: finite(log_loss(&scores, &labels)),
            seconds: self.seconds(),
            waited: self.waited(),
        };
        let value = x.stop_on.of(&validation);
        if self.state.stopper.take(x.stop_on, &x.plateau, step, value) {
            self.best = Some(self.model.weights());
        }
        self.state.validations.push(validation);
        Ok(&self.state.validations[self.state.validations.len() - 1])
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The validations so far.
    pub fn validations(&self) -> &[Validation] {
        &self.state.validations
    }

    /// The model of the best validation; of the last step where there was no validation.
    pub fn finish(mut self) -> Fitted {
        let (commits, seconds, waited) = (self.commits(), self.seconds(), self.waited());
        let steps = self.model.step();
        let best = self.state.stopper.best().unwrap_or(Best { step: steps, value: None });
        match self.best {
            Some(weights) => self.model.restore(weights),
            None => self.model.prepare_scoring(),
        }
        let x = &*self.trial.experiment;
        let stopping = Stopping {
            metric: x.stop_on,
            patience_validations: x.patience,
            ended: self.ended.unwrap_or(Ended::Epochs),
            steps,
            validations: self.state.validations.len() as u64,
        };
        let trouble = self.trouble;
        Fitted { model: self.model, seed: self.seed, best, stopping, trouble, commits, seconds, waited }
    }

    /// The commits of the programs that worked on it, this one among them.
    pub(crate) fn commits(&self) -> BTreeSet<String> {
        self.state.commits.iter().cloned().chain([COMMIT.to_owned()]).collect()
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn waited(&self) -> f64 {
        let now = self.batches.as_ref().map_or(Duration::ZERO, |(_, batches)| batches.waited());
        self.waited_before + (self.waited + now).as_secs_f64()
    }
}

fn made_from(trial: &Trial<'_>) -> anyhow::Result<[String; 3]> {
    let data = trial.data;
    Ok([trial.experiment.sha256()?, data.sha256.clone(), data.split_sha256.clone()])
}

/// A trained model, with the weights of its best validation.
#[derive(Debug)]
pub struct Fitted {
    pub(crate) model: CtrModel,
    pub(crate) seed: u64,
    pub(crate) best: Best,
    pub(crate) stopping: Stopping,
    pub(crate) trouble: Option<Error>,
    pub(crate) commits: BTreeSet<String>,
    pub(crate) seconds: f64,
    pub(crate) waited: f64,
}

impl Fitted {
    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The model.
    pub fn model(&self) -> &CtrModel {
        &self.model
    }

    /// Its best validation: the value of the stopping metric, and the step.
    pub fn best(&self) -> (Option<f64>, u64) {
        (self.best.value, self.best.step)
    }

    /// Why training left the finite numbers, if it did.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// The commits of the programs that worked on it.
    pub fn commits(&self) -> &BTreeSet<String> {
        &self.commits
    }
}
