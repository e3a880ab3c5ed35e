//! The training protocol: one cell, one seed.

use std::{borrow::Cow, time::Instant};

use anyhow::bail;
use mos_baselines::{Registry, Spec};
use mos_core::{Cost, CtrModel};
use mos_data::{Batch, Dataset, Feed, Sample};

use crate::{
    config::{Experiment, HeldOut},
    metrics::{GroupWeight, auc, ece, gauc, log_loss},
    results::{ParamCount, RunRecord},
    training::{Fitted, Training},
};

/// What a model is shown of each history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it.
    Full,
    /// Control: the behaviours in random order.
    Shuffled,
    /// Control: nothing.
    Dropped,
}

/// The cell `spec` of an experiment, ready to be trained.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The experiment, as it is for this cell.
    pub experiment: Cow<'a, Experiment>,
    /// Where its names come from.
    pub registry: &'a Registry,
    /// Its data.
    pub data: &'a Dataset<Feed>,
    /// Encoder and mixture.
    pub spec: Spec,
    /// What it sees.
    pub view: View,
}

impl Trial<'_> {
    /// A fresh model.
    ///
    /// # Errors
    /// Names or options that do not exist.
    pub fn model(&self, seed: u64) -> mos_core::Result<CtrModel> {
        CtrModel::new(&self.experiment.model, &self.data.catalog, seed, |builder| {
            self.registry.build(builder, &self.spec)
        })
    }

    /// A batch as this trial sees it.
    pub fn view(&self, mut batch: Batch) -> Batch {
        match self.view {
            View::Full => {}
            View::Shuffled => batch.shuffle_histories(0),
            View::Dropped => batch.drop_histories(),
        }
        batch
    }

    /// Hands samples to `take` in batches, as this trial sees them, each with its samples.
    ///
    /// # Errors
    /// Those of `take`, and a damaged store.
    pub fn each_batch(
        &self,
        samples: &[Sample],
        mut take: impl FnMut(Batch, &[Sample]) -> mos_core::Result<()>,
    ) -> mos_core::Result<()> {
        let Experiment { batch: size, max_length, .. } = *self.experiment;
        self.data.users.each_batch(samples, size, max_length, |batch, of| take(self.view(batch), of))
    }

    /// Logits of samples.
    pub(crate) fn scores(&self, model: &CtrModel, samples: &[Sample]) -> mos_core::Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(samples.len());
        self.each_batch(samples, |batch, _| {
            scores.extend(model.score(&batch)?);
            Ok(())
        })?;
        Ok(scores)
    }

    /// Mean cost of samples with as many behaviours as are kept, of the first of them.
    fn full_cost(&self, model: &CtrModel, samples: &[Sample]) -> mos_core::Result<Option<Cost>> {
        let most = self.experiment.max_length;
        let full = |s: &&Sample| self.view == View::Full && s.end as usize >= most;
        let full: Vec<Sample> = samples.iter().filter(full).take(256).copied().collect();
        let mut cost = None;
        self.data.users.each_batch(&full, full.len(), most, |batch, _| -> mos_core::Result<()> {
            cost = Some(per_sample(model.stated_cost(&batch)?, full.len()));
            Ok(())
        })?;
        Ok(cost)
    }

    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.data.users.train_samples().div_ceil(self.experiment.batch as u64)
    }

    /// Steps between two validations.
    pub(crate) fn every(&self) -> u64 {
        self.steps_per_epoch().div_ceil(self.experiment.validations as u64)
    }

    /// Validations of a training that no patience ends.
    pub fn validations(&self) -> u64 {
        self.steps_per_epoch().div_ceil(self.every()) * self.experiment.epochs as u64
    }

    /// Trains with one seed and keeps the weights of the best validation. `tick` is called after each validation and says
    /// whether to go on.
    ///
    /// # Errors
    /// Those of the encoder. `Ok(None)` if `tick` stopped it.
    pub fn fit(&self, seed: u64, tick: &dyn Fn() -> bool) -> mos_core::Result<Option<Fitted>> {
        let mut training = Training::begin(self, seed)?;
        while training.advance()?.is_some() {
            if !tick() {
                return Ok(None);
            }
        }
        Ok(Some(training.finish()))
    }

    /// Scores the held-out part, once; returns the record and the scores.
    ///
    /// # Errors
    /// Those of the encoder, and a formula that does not state what was executed.
    pub fn test(&self, fitted: Fitted, held_out: &HeldOut) -> anyhow::Result<(RunRecord, Vec<f32>)> {
        let started = Instant::now();
        let Fitted { model, seed, best, stopping, seconds, waited, .. } = fitted;
        let samples = held_out.samples();
        let macs_full = self.full_cost(&model, samples)?;
        let n = samples.len();
        let (mut scores, mut cost, mut stated) = (Vec::with_capacity(n), Cost::default(), Cost::default());
        self.each_batch(samples, |batch, _| {
            let (part, of_part) = model.score_counted(&batch)?;
            scores.extend(part);
            (cost, stated) = (cost + of_part, stated + model.stated_cost(&batch)?);
            Ok(())
        })?;
        if stated.executed() != cost {
            let Spec { encoder, mixture, .. } = &self.spec;
            bail!("{encoder} x {mixture} executes {cost:?} but states {stated:?}");
        }
        let macs = per_sample(stated, n);
        let (embedding, dense) = model.parameters();
        let record = RunRecord {
            valid: best.value,
            best_step: best.step,
            stopping: Some(stopping),
            macs,
            macs_full,
            params: ParamCount { embedding, dense },
            seconds: seconds + started.elapsed().as_secs_f64(),
            waited,
            ..test_record(seed, &scores, held_out, true)
        };
        Ok((record, scores))
    }
}

/// The mean of a cost over `samples`.
pub fn per_sample(cost: Cost, samples: usize) -> Cost {
    let n = samples.max(1) as u64;
    let mean = |macs: u64| (macs + n / 2) / n;
    Cost {
        encoder: mean(cost.encoder),
        router: mean(cost.router),
        head: mean(cost.head),
        saved: (cost.saved as f64 / n as f64).round() as i64,
    }
}

/// Labels and users of samples.
pub fn columns(samples: &[Sample]) -> (Vec<f32>, Vec<u32>) {
    samples.iter().map(|s| (s.label, s.user)).unzip()
}

/// The metrics of test scores; `logits` = whether a log loss has a meaning.
pub fn test_record(seed: u64, scores: &[f32], held_out: &HeldOut, logits: bool) -> RunRecord {
    let test = held_out.samples();
    let new = scores.iter().zip(test).zip(held_out.new_targets()).filter(|(_, new)| **new);
    let (new_scores, new_labels): (Vec<f32>, Vec<f32>) = new.map(|((score, s), _)| (*score, s.label)).unzip();
    let (labels, users) = columns(test);
    let by = |weight| gauc(scores, &labels, &users, weight);
    let main = by(GroupWeight::Impressions);
    RunRecord {
        seed,
        auc: auc(scores, &labels),
        auc_new: auc(&new_scores, &new_labels),
        gauc: main.value,
        gauc_positives: by(GroupWeight::Positives).value,
        gauc_uniform: by(GroupWeight::Uniform).value,
        gauc_users: main.groups_used as f64 / main.groups_total.max(1) as f64,
        gauc_samples: main.samples_used as f64 / labels.len().max(1) as f64,
        logloss: if logits { log_loss(scores, &labels) } else { None },
        ece: if logits { ece(scores, &labels) } else { None },
        valid: None,
        best_step: 0,
        stopping: None,
        seconds: 0.0,
        waited: 0.0,
        macs: Cost::default(),
        macs_full: None,
        params: ParamCount::default(),
    }
}
