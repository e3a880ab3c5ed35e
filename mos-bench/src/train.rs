//! The training protocol: one cell, one seed.

use std::time::Instant;

use anyhow::bail;
use mos_baselines::{Registry, Spec};
use mos_core::{Cost, CtrModel, model::Weights};
use mos_data::{Batch, Dataset, Sample, shuffled_order};

use crate::{
    config::{Experiment, HeldOut},
    metrics::{GroupWeight, auc, ece, gauc, log_loss},
    results::{ParamCount, RunRecord},
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
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Where its names come from.
    pub registry: &'a Registry,
    /// Its data.
    pub data: &'a Dataset,
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
    pub fn batch(&self, samples: &[Sample]) -> Batch {
        let mut batch = self.data.batch(samples, self.experiment.max_length);
        match self.view {
            View::Full => {}
            View::Shuffled => batch.shuffle_histories(0),
            View::Dropped => batch.drop_histories(),
        }
        batch
    }

    /// Logits of samples and the multiply-adds executed for them.
    fn scores(&self, model: &CtrModel, samples: &[Sample]) -> mos_core::Result<(Vec<f32>, Cost)> {
        let (mut scores, mut cost) = (Vec::with_capacity(samples.len()), Cost::default());
        for chunk in samples.chunks(self.experiment.batch) {
            let (part, of_part) = model.score_counted(&self.batch(chunk))?;
            scores.extend(part);
            cost = cost + of_part;
        }
        Ok((scores, cost))
    }

    fn steps_per_epoch(&self) -> u64 {
        self.data.splits.train.len().div_ceil(self.experiment.batch) as u64
    }

    /// Steps between two validations.
    fn every(&self) -> u64 {
        self.steps_per_epoch().div_ceil(self.experiment.validations as u64)
    }

    /// Validations of a whole training.
    pub fn validations(&self) -> u64 {
        self.steps_per_epoch().div_ceil(self.every()) * self.experiment.epochs as u64
    }

    /// Trains with one seed and keeps the weights with the best validation AUC + gAUC. `tick` is called after each
    /// validation and says whether to go on.
    ///
    /// # Errors
    /// Training that leaves the finite numbers. `Ok(None)` if `tick` stopped it.
    pub fn fit(&self, seed: u64, tick: &dyn Fn() -> bool) -> mos_core::Result<Option<Fitted>> {
        let started = Instant::now();
        let (x, train) = (self.experiment, &self.data.splits.train);
        let mut model = self.model(seed)?;
        let (per_epoch, every) = (self.steps_per_epoch(), self.every());
        let total = per_epoch * x.epochs as u64;
        let mut step = 0;
        let mut best: Option<(Option<f64>, u64, Weights)> = None;
        for epoch in 0..x.epochs as u64 {
            let order = shuffled_order(train.len(), seed, epoch);
            for (in_epoch, chunk) in order.chunks(x.batch).enumerate() {
                let samples: Vec<Sample> = chunk.iter().map(|i| train[*i as usize]).collect();
                model.train_step(&self.batch(&samples), &x.train, total, per_epoch)?;
                step += 1;
                let in_epoch = in_epoch as u64 + 1;
                if in_epoch.is_multiple_of(every) || in_epoch == per_epoch {
                    model.prepare_scoring();
                    let (scores, _) = self.scores(&model, &self.data.splits.valid)?;
                    let (labels, users) = columns(&self.data.splits.valid);
                    let by_user = gauc(&scores, &labels, &users, GroupWeight::Impressions).value;
                    let value = auc(&scores, &labels).map(|auc| auc + by_user.unwrap_or(auc));
                    if best.as_ref().is_none_or(|(b, ..)| value > *b) {
                        best = Some((value, step, model.weights()));
                    }
                    if !tick() {
                        return Ok(None);
                    }
                }
            }
        }
        let (mut valid, mut best_step) = (None, step);
        if let Some((value, at, weights)) = best {
            model.restore(weights);
            (valid, best_step) = (value, at);
        }
        Ok(Some(Fitted { model, seed, valid, best_step, started }))
    }

    /// Scores the held-out part, once; returns the record and the scores.
    ///
    /// # Errors
    /// Those of the encoder, and a formula that does not state what was executed.
    pub fn test(&self, fitted: Fitted, held_out: &HeldOut) -> anyhow::Result<(RunRecord, Vec<f32>)> {
        let Fitted { model, seed, valid, best_step, started } = fitted;
        let samples = held_out.samples();
        let (scores, cost) = self.scores(&model, samples)?;
        let n = samples.len().max(1) as u64;
        let per_sample = |macs: u64| (macs + n / 2) / n;
        let stated = samples.chunks(self.experiment.batch).map(|chunk| model.stated_cost(&self.batch(chunk)));
        let stated = stated.sum::<mos_core::Result<Cost>>()?;
        if stated.executed() != cost {
            let Spec { encoder, mixture, .. } = &self.spec;
            bail!("{encoder} x {mixture} executes {cost:?} but states {stated:?}");
        }
        let macs = Cost {
            encoder: per_sample(cost.encoder),
            router: per_sample(cost.router),
            head: per_sample(cost.head),
            saved: (stated.saved as f64 / n as f64).round() as i64,
        };
        let (embedding, dense) = model.parameters();
        let record = RunRecord {
            valid,
            best_step,
            macs,
            params: ParamCount { embedding, dense },
            seconds: started.elapsed().as_secs_f64(),
            ..test_record(seed, &scores, held_out, true)
        };
        Ok((record, scores))
    }
}

/// A trained model, with the weights of its best validation.
#[derive(Debug)]
pub struct Fitted {
    model: CtrModel,
    seed: u64,
    valid: Option<f64>,
    best_step: u64,
    started: Instant,
}

impl Fitted {
    /// The model.
    pub fn model(&self) -> &CtrModel {
        &self.model
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
        seconds: 0.0,
        macs: Cost::default(),
        params: ParamCount::default(),
    }
}
