//! The click model: features → encoder → head → logit, its training step and its scores.

use std::{collections::BTreeMap, sync::Arc};

use mos_data::{Batch, Catalog, History, rng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Adam, Builder, Cost, Error, Events, HeadConfig, Init, Input, ItemIndex, Mat, Offsets, ParamId, Params,
    Part, Pass, Result, RowGrads, RowThemes, SequenceEncoder, ShardRows, StateUpdate, StepInfo, TableId,
    TableInit, Tables, Tape,
    clock::{self, Stage},
    cost,
    encoder::visit,
    features::{Attributes, ContextFields},
    head::Head,
    ops,
};

/// Features and head of a [`CtrModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Width d of item vectors.
    pub dim: usize,
    /// Start of item embeddings where the data has no content vectors: N(0, std^2).
    pub item_std: f32,
    /// Start item embeddings at the content vectors where the data has them.
    pub item_from_content: bool,
    /// Attributes of items that are added to their embeddings: `category`, `content`, or further ones by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Fields of the context that the head reads, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<String>,
    /// What turns the features into the logit.
    pub head: HeadConfig,
    /// Dropout after the first hidden layer of the head's MLPs; the gates of FinalMLP have none.
    pub dropout: f32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dim: 16,
            item_std: 0.05,
            item_from_content: true,
            attributes: Vec::new(),
            contexts: Vec::new(),
            head: HeadConfig::default(),
            dropout: 0.1,
        }
    }
}

impl ModelConfig {
    /// # Errors
    /// [`Error::Config`] for values that no model can be built from.
    pub fn check(&self) -> Result<()> {
        if self.dim == 0 {
            return Err(Error::config("model.dim", self.dim, "must be at least 1"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("model.dropout", self.dropout, "must lie in [0, 1)"));
        }
        self.head.check()
    }
}

/// How a model is trained, one step at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Adam; its rate is the start of the schedule.
    pub adam: Adam,
    /// Learning rate constant for this share of all steps, then linear to `lr_floor` times the start.
    pub lr_hold: f32,
    /// See `lr_hold`.
    pub lr_floor: f32,
    /// Largest norm of all gradients together.
    pub clip: f32,
    /// Weight of the mean squared length of target embeddings.
    pub target_l2: f32,
    /// L2 on embedding rows: each row that a step touches gets this times itself added to its clipped gradient.
    pub embedding_l2: f32,
    /// Pieces that a batch is cut into. Pieces with more than 2^18 values of behaviours (their number times the width) are cut
    /// on, between samples, unless the encoder [compares samples](crate::SequenceEncoder::compares_samples). Part of the result's
    /// definition, not of the machine.
    pub shards: usize,
    /// Dense Adam on embedding tables, the slow reference.
    pub dense_tables: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        let adam = Adam { lr: 6e-3, ..Adam::default() };
        Self {
            adam,
            lr_hold: 0.5,
            lr_floor: 0.05,
            clip: 10.0,
            target_l2: 1e-3,
            embedding_l2: 0.0,
            shards: 4,
            dense_tables: false,
        }
    }
}

impl TrainConfig {
    /// # Errors
    /// [`Error::Config`] for settings that cannot train, or that would train in silence towards nothing.
    pub fn check(&self) -> Result<()> {
        let Adam { lr, beta1, beta2, eps } = self.adam;
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let share = |x: f32| (0.0..=1.0).contains(&x);
        let (l2, rows) = (self.target_l2, self.embedding_l2);
        for (field, value, fits, message) in [
            ("adam.lr", lr, positive(lr), "must be positive"),
            ("adam.beta1", beta1, share(beta1) && beta1 < 1.0, "must lie in [0, 1)"),
            ("adam.beta2", beta2, share(beta2) && beta2 < 1.0, "must lie in [0, 1)"),
            ("adam.eps", eps, positive(eps), "must be positive"),
            ("lr_hold", self.lr_hold, share(self.lr_hold), "must lie in [0, 1]"),
            ("lr_floor", self.lr_floor, share(self.lr_floor), "must lie in [0, 1]"),
            ("clip", self.clip, self.clip > 0.0, "must be positive"),
            ("target_l2", l2, l2 >= 0.0 && l2.is_finite(), "must be 0 or more"),
            ("embedding_l2", rows, rows >= 0.0 && rows.is_finite(), "must be 0 or more"),
            ("shards", self.shards as f32, self.shards > 0, "must be at least 1"),
        ] {
            if !fits {
                return Err(Error::config(format!("train.{field}"), value, message));
            }
        }
        Ok(())
    }
}

/// Values of the behaviours of a shard from which it is cut on, whatever the machine: 1 MiB, so that what is made of them stays in
/// a cache.
const SHARD_VALUES: usize = 1 << 18;

/// Width from which rows are worth as much out of order as in order.
const WIDE: usize = 32;

/// What one training step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss of the batch, auxiliary terms included.
    pub loss: f32,
    /// Norm of all gradients before clipping.
    pub grad_norm: f32,
    /// Learning rate of the step.
    pub lr: f32,
}

/// A model that predicts clicks.
#[derive(Debug)]
pub struct CtrModel {
    config: ModelConfig,
    catalog: Arc<Catalog>,
    seed: u64,
    params: Params,
    tables: Tables,
    bias: TableId,
    attributes: Attributes,
    contexts: ContextFields,
    /// Vectors of the kinds of behaviour, where there is more than one.
    behaviours: Option<ParamId>,
    encoder: Box<dyn SequenceEncoder>,
    head: Head,
    step: u64,
    /// Whether what scoring looks up is as new as the weights.
    prepared: bool,
}

/// The weights of a model at one moment, in order of creation: what it scores with, without what training adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub(crate) params: Vec<Vec<f32>>,
    /// Without those that scoring derives.
    pub(crate) buffers: Vec<Vec<f32>>,
    pub(crate) tables: Vec<Vec<f32>>,
}

impl Weights {
    /// All values, in the order of a checkpoint.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.params.iter().chain(&self.buffers).chain(&self.tables)
    }
}

struct ShardGrads {
    loss: f32,
    dense: Vec<Option<Vec<f32>>>,
    /// Of each table that was read, the gradients of its rows.
    tables: Vec<(TableId, ShardRows)>,
    updates: Vec<StateUpdate>,
}

impl CtrModel {
    /// Builds a model around an encoder.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be built, and whatever `encoder` refuses.
    pub fn new(
        config: &ModelConfig,
        catalog: &Arc<Catalog>,
        seed: u64,
        encoder: impl FnOnce(&mut Builder<'_>) -> Result<Box<dyn SequenceEncoder>>,
    ) -> Result<Self> {
        config.check()?;
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let mut builder = Builder::new(&mut params, &mut tables, catalog, config.dim, seed);
        let from_content = config.item_from_content && catalog.content.is_some();
        let init = if from_content { TableInit::Content } else { TableInit::Normal(config.item_std) };
        builder.item_table("items", config.dim, init)?;
        let bias = builder.item_table("item_bias", 1, TableInit::Normal(0.0))?;
        let kinds = catalog.behaviours;
        let behaviours =
            (kinds > 1).then(|| builder.param("behaviours", kinds, config.dim, Init::Normal(0.05)));
        let attributes = Attributes::new(&mut builder.at("attributes"), &config.attributes)?;
        let contexts = ContextFields::new(&mut builder.at("contexts"), &config.contexts)?;
        let encoder = encoder(&mut builder.at("encoder"))?;
        let columns = (encoder.vectors(), encoder.evidence() + config.dim * contexts.len());
        let head = Head::new(&mut builder.at("head"), &config.head, config.dropout, columns)?;
        let mut model = Self {
            config: config.clone(),
            catalog: catalog.clone(),
            seed,
            params,
            tables,
            bias,
            attributes,
            contexts,
            behaviours,
            encoder,
            head,
            step: 0,
            prepared: false,
        };
        model.prepare_scoring();
        Ok(model)
    }

    /// The vectors of targets and behaviours.
    fn input(&self, pass: &mut Pass<'_>, events: Events) -> Input {
        let _gather = clock::running(Stage::Gather);
        let items = pass.item_rows(Tables::ITEMS);
        let items = self.attributes.add(pass, items);
        if events.items.len() > 2 * items.rows() || items.cols() < WIDE {
            // Rows that many behaviours share are read from the table once; narrow ones from its front to its back.
            items.copy_now();
        }
        let rows = if let Some(behaviours) = self.behaviours {
            let behaviours = pass.param(behaviours);
            let codes: Vec<u32> = events.behaviours.iter().map(|b| u32::from(*b)).collect();
            ops::sum_gathered(&mut pass.tape, &[(&items, &events.items), (&behaviours, &codes)])
        } else {
            ops::gather_rows(&mut pass.tape, &items, &events.items)
        };
        let target = ops::gather_rows(&mut pass.tape, &items, &events.targets);
        let input = Input { target, rows, events: Arc::new(events) };
        if self.encoder.shares_histories() { input } else { input.unshared(&mut pass.tape) }
    }

    /// # Shapes
    /// B samples with their `contexts` `[B, F]` → logits `[B, 1]` and the target vectors
    fn forward(&self, pass: &mut Pass<'_>, events: Events, contexts: &[u32]) -> Result<(Mat, Mat)> {
        let input = self.input(pass, events);
        let running = clock::running(Stage::Encoder);
        let mut interest = self.encoder.forward(pass, &input)?;
        drop(running);
        interest.evidence.extend(self.contexts.columns(pass, contexts));
        let Input { target, events, .. } = input;
        let logits = cost::charge(Part::Head, || {
            let logits = self.head.forward(pass, &target, &interest);
            let targets: Vec<u32> = events.targets.iter().map(|t| pass.index.items[*t as usize]).collect();
            let (biases, places) = pass.value_rows(self.bias, &targets);
            let bias = ops::gather_rows(&mut pass.tape, &biases, &places);
            ops::add(&mut pass.tape, &logits, &bias)
        });
        Ok((logits, target))
    }

    fn shard_grads(
        &self,
        shard: &Batch,
        number: u64,
        total: usize,
        config: &TrainConfig,
    ) -> Result<ShardGrads> {
        let gather = clock::running(Stage::Gather);
        let (index, events) = ItemIndex::of(shard)?;
        drop(gather);
        let rng = rng::stream(self.seed, "dropout", &[self.step, number]);
        let mut pass =
            Pass::new(Tape::training(), &self.params, &self.tables, &index, rng).of_step(&shard.labels);
        let (logits, target) = self.forward(&mut pass, events, &shard.contexts)?;
        let bce = ops::bce_with_logits(&mut pass.tape, &logits, &shard.labels);
        let size = ops::mean_square(&mut pass.tape, &target);
        let share = shard.len() as f32 / total as f32;
        let mut parts = vec![(&bce, share), (&size, share * config.target_l2)];
        parts.extend(pass.losses.iter().map(|(weight, loss)| (loss, share * weight)));
        let loss = ops::sum_scalars(&mut pass.tape, &parts);
        let _backward = clock::running(Stage::Backward);
        let Pass { tape, leaves, updates, .. } = pass;
        let mut grads = tape.backward(&loss)?;
        let mut leaves: Vec<_> = leaves.into_iter().collect();
        leaves.sort_by_key(|(table, _)| table.0);
        Ok(ShardGrads {
            loss: loss.values()[0],
            dense: self.params.ids().map(|id| grads.take(self.params.get(id))).collect(),
            tables: leaves
                .iter()
                .filter(|(t, _)| self.tables.is_trained(*t))
                .filter_map(|(table, leaf)| {
                    let grads = grads.take(&leaf.values)?;
                    Some((*table, ShardRows::new(self.tables.dim(*table), leaf.rows(&index), grads)))
                })
                .collect(),
            updates,
        })
    }

    /// One optimizer step on one batch. The batch is cut into [shards](Self::shards) whose gradients are added in order, so the
    /// result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when loss or gradient is no longer a number; the weights are then unchanged.
    /// [`Error::Shape`] for a batch without samples or with ids that the catalog does not have, [`Error::Config`] for
    /// settings that cannot train.
    pub fn train_step(
        &mut self,
        batch: &Batch,
        config: &TrainConfig,
        total_steps: u64,
        steps_per_epoch: u64,
    ) -> Result<StepReport> {
        config.check()?;
        self.check_batch(batch)?;
        if batch.is_empty() {
            return Err(Error::shape("train_step", "at least one sample", 0));
        }
        let (shards, total) = (self.shards(batch, config), batch.len());
        let parts = shards
            .par_iter()
            .enumerate()
            .map(|(number, shard)| self.shard_grads(shard, number as u64, total, config))
            .collect::<Result<Vec<_>>>()?;
        let _optimizer = clock::running(Stage::Optimizer);
        let loss = parts.iter().map(|p| p.loss).sum::<f32>();
        let mut dense: Vec<Option<Vec<f32>>> = vec![None; parts[0].dense.len()];
        let mut touched: BTreeMap<usize, Vec<ShardRows>> = BTreeMap::new();
        let mut updates = Vec::new();
        for part in parts {
            for (sum, grad) in dense.iter_mut().zip(part.dense) {
                match (sum.as_mut(), grad) {
                    (Some(sum), Some(grad)) => sum.iter_mut().zip(&grad).for_each(|(s, g)| *s += g),
                    (None, grad) => *sum = grad,
                    _ => {}
                }
            }
            for (table, rows) in part.tables {
                touched.entry(table.0).or_default().push(rows);
            }
            updates.extend(part.updates);
        }
        let summed = |(table, shards): (usize, Vec<ShardRows>)| {
            let id = TableId(table);
            (id, RowGrads::new(self.tables.rows(id), self.tables.dim(id), &shards))
        };
        let sparse: Vec<(TableId, RowGrads)> = touched.into_iter().map(summed).collect();
        let squares = |values: &[f32]| values.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        let norm = (dense.iter().flatten().map(|g| squares(g)).sum::<f64>()
            + sparse.iter().map(|(_, g)| g.squares()).sum::<f64>())
        .sqrt() as f32;
        for (what, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { step: self.step, what, value });
            }
        }
        let shrink = if norm > config.clip { config.clip / norm } else { 1.0 };
        let done = self.step as f32 / total_steps.max(1) as f32;
        let fall = ((done - config.lr_hold) / (1.0 - config.lr_hold).max(1e-6)).clamp(0.0, 1.0);
        let adam = Adam { lr: config.adam.lr * (1.0 - fall * (1.0 - config.lr_floor)), ..config.adam };
        self.step += 1;
        self.prepared = false;
        for (id, grad) in self.params.ids().zip(dense) {
            if let Some(grad) = grad {
                self.params.update(id, &grad, shrink, &adam, self.step);
            }
        }
        let l2 = config.embedding_l2;
        for (table, grads) in &sparse {
            if config.dense_tables {
                self.tables.update_dense(*table, grads, shrink, l2, &adam, self.step);
            } else {
                self.tables.update(*table, grads, shrink, l2, &adam, self.step);
            }
        }
        let at = StepInfo { step: self.step, steps_per_epoch, seed: self.seed };
        let (params, tables) = (&mut self.params, &mut self.tables);
        visit(self.encoder.as_ref(), &mut |e| e.after_step(params, tables, &updates, at));
        Ok(StepReport { loss, grad_norm: norm, lr: adam.lr })
    }

    /// Whether training compares samples of a shard: [`SequenceEncoder::compares_samples`] of any part of the encoder.
    pub fn compares_samples(&self) -> bool {
        let mut compares = false;
        visit(self.encoder.as_ref(), &mut |e| compares |= e.compares_samples());
        compares
    }

    /// The shards of a training step: [`TrainConfig::shards`] pieces of the batch, and more where these would not stay in a
    /// cache and no part of the model compares samples.
    pub fn shards(&self, batch: &Batch, config: &TrainConfig) -> Vec<Batch> {
        if self.compares_samples() {
            batch.split(config.shards)
        } else {
            self.small_shards(batch, config.shards)
        }
    }

    /// Scores do not depend on the rest of a batch, whatever training compares.
    fn small_shards(&self, batch: &Batch, pieces: usize) -> Vec<Batch> {
        batch.split_within(pieces, SHARD_VALUES.div_ceil(self.config.dim))
    }

    /// Derives what scoring looks up from the weights; call after training and before [`Self::score`].
    pub fn prepare_scoring(&mut self) {
        let (params, tables) = (&mut self.params, &self.tables);
        self.attributes.prepare(params, tables);
        visit(self.encoder.as_ref(), &mut |e| e.prepare_scoring(params, tables));
        self.prepared = true;
    }

    /// Refuses what would panic or mislead further in: the batch's fields are public.
    fn check_batch(&self, batch: &Batch) -> Result<()> {
        let (b, n) = (batch.targets.len(), batch.items.len());
        let borders = Offsets::new(batch.offsets.clone())?;
        let samples = [batch.users.len(), batch.labels.len(), batch.target_times.len(), borders.segments()];
        let behaviours = [batch.behaviours.len(), batch.sessions.len(), batch.times.len(), borders.rows()];
        if samples != [b; 4] || behaviours != [n; 4] {
            let expected = format!("{b} samples and {n} behaviours in each column");
            let found = format!("{samples:?} samples, {behaviours:?} behaviours");
            return Err(Error::shape("batch", expected, found));
        }
        if self.contexts.len() > 0 {
            let fields = &self.catalog.contexts;
            let fits = |(i, value): (usize, &u32)| (*value as usize) < fields[i % fields.len()].count;
            if batch.contexts.len() != b * fields.len() || !batch.contexts.iter().enumerate().all(fits) {
                let expected = format!("{b} rows of {} values inside their fields", fields.len());
                return Err(Error::shape("contexts", expected, format!("{} values", batch.contexts.len())));
            }
        }
        self.check_numbers(&batch.items, &batch.targets, &batch.behaviours)
    }

    fn check_candidates(&self, history: &History, targets: &[u32]) -> Result<()> {
        let History { items, behaviours, sessions, times } = history;
        let (n, found) = (items.len(), [behaviours.len(), sessions.len(), times.len()]);
        if found != [n; 3] {
            return Err(Error::shape(
                "history",
                format!("{n} behaviours in each column"),
                format!("{found:?}"),
            ));
        }
        self.check_numbers(items, targets, behaviours)
    }

    fn check_numbers(&self, items: &[u32], targets: &[u32], behaviours: &[u8]) -> Result<()> {
        let items = items.iter().chain(targets).max().map_or(0, |i| *i as usize);
        let kinds = behaviours.iter().max().map_or(0, |k| usize::from(*k));
        if items >= self.catalog.items || kinds >= self.catalog.behaviours.max(1) {
            let expected =
                format!("{} items, {} kinds of behaviour", self.catalog.items, self.catalog.behaviours);
            return Err(Error::shape("batch", expected, format!("item {items}, behaviour {kinds}")));
        }
        Ok(())
    }

    pub(crate) fn check_prepared(&self) -> Result<()> {
        if self.prepared { Ok(()) } else { Err(Error::NotPrepared) }
    }

    /// Logits of a batch; nothing is kept for a backward pass.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] after a training step without [`Self::prepare_scoring`], [`Error::Shape`] for ids that the
    /// catalog does not have, and those of the encoder.
    pub fn score(&self, batch: &Batch) -> Result<Vec<f32>> {
        Ok(self.score_counted(batch)?.0)
    }

    /// Logits of a batch and the multiply-adds that were executed for them.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_counted(&self, batch: &Batch) -> Result<(Vec<f32>, Cost)> {
        self.check_prepared()?;
        self.check_batch(batch)?;
        let counted = |shard: &Batch| {
            let (scores, cost) = cost::measure(|| self.score_shard(shard));
            Ok((scores?, cost))
        };
        let parts = self.small_shards(batch, 4).par_iter().map(counted).collect::<Result<Vec<_>>>()?;
        let cost = parts.iter().map(|(_, cost)| *cost).sum();
        Ok((parts.into_iter().flat_map(|(scores, _)| scores).collect(), cost))
    }

    fn score_shard(&self, shard: &Batch) -> Result<Vec<f32>> {
        let gather = clock::running(Stage::Gather);
        let (index, events) = ItemIndex::of(shard)?;
        drop(gather);
        let mut pass = self.scoring_pass(&index);
        Ok(self.forward(&mut pass, events, &shard.contexts)?.0.to_vec())
    }

    /// The theme of each behaviour of `batch`, as scoring sees it; `None` where no part of the encoder has themes.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn themes(&self, batch: &Batch) -> Result<Option<RowThemes>> {
        self.check_prepared()?;
        self.check_batch(batch)?;
        let (index, events) = ItemIndex::of(batch)?;
        let mut pass = self.scoring_pass(&index);
        let mut found = None;
        visit(self.encoder.as_ref(), &mut |e| {
            if found.is_none() {
                found = e.themes(&mut pass, &events);
            }
        });
        Ok(found)
    }

    /// Logits of `targets` for one user's history at `time` in an unknown context, and the multiply-adds that were executed for
    /// them.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_candidates(
        &self,
        history: &History,
        targets: &[u32],
        time: i64,
    ) -> Result<(Vec<f32>, Cost)> {
        self.check_prepared()?;
        self.check_candidates(history, targets)?;
        let score = |targets: &[u32]| {
            let (index, events) = ItemIndex::of_candidates(history, targets, time);
            let mut pass = self.scoring_pass(&index);
            let contexts = vec![0; targets.len() * self.catalog.contexts.len()];
            let (logits, cost) = cost::measure(|| self.forward(&mut pass, events, &contexts));
            Ok((logits?.0.to_vec(), cost))
        };
        let parts = targets.par_chunks(self.piece()).map(score).collect::<Result<Vec<_>>>()?;
        let cost = parts.iter().map(|(_, cost)| *cost).sum();
        Ok((parts.into_iter().flat_map(|(scores, _)| scores).collect(), cost))
    }

    /// As [`Self::stated_cost`], of what [`Self::score_candidates`] executes.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn stated_cost_of_candidates(&self, history: &History, targets: &[u32], time: i64) -> Result<Cost> {
        self.check_prepared()?;
        self.check_candidates(history, targets)?;
        let stated = |targets: &[u32]| -> Result<Cost> {
            let (index, events) = ItemIndex::of_candidates(history, targets, time);
            let mut pass = self.scoring_pass(&index);
            self.stated(&mut pass, events)
        };
        targets.chunks(self.piece()).map(stated).sum()
    }

    /// Candidates of one pass: what is kept for each of them must not grow with their number.
    fn piece(&self) -> usize {
        if self.encoder.shares_histories() { 1024 } else { 64 }
    }

    fn scoring_pass<'a>(&'a self, index: &'a ItemIndex) -> Pass<'a> {
        let rng = rng::stream(self.seed, "scoring", &[]);
        Pass::new(Tape::scoring(), &self.params, &self.tables, index, rng)
    }

    /// MACs of scoring `batch` as the formulas state them: what [`Self::score_counted`] executes, with what the formulas
    /// know of published forms.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn stated_cost(&self, batch: &Batch) -> Result<Cost> {
        self.check_prepared()?;
        self.check_batch(batch)?;
        let (index, events) = ItemIndex::of(batch)?;
        self.stated(&mut self.scoring_pass(&index), events)
    }

    fn stated(&self, pass: &mut Pass<'_>, events: Events) -> Result<Cost> {
        let samples = events.targets.len();
        let input = self.input(pass, events);
        Ok(self.encoder.cost(pass, &input)? + Cost::head(self.head.macs(samples)))
    }

    /// Gradients of the mean click loss alone (no auxiliary term, no regulariser) with respect to every dense parameter
    /// `param.<name>` and trained embedding table `table.<name>`, for checks. What nothing reaches has a gradient of zeros.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn gradients(&self, batch: &Batch) -> Result<Vec<(String, Vec<f32>)>> {
        self.gradients_of(batch, None)
    }

    /// As [`Self::gradients`], of what an optimizer step on `batch` as one shard learns from: with the losses that encoders
    /// and mixtures add, and with what training draws, from stream `draw`; without the regulariser of targets.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn training_gradients(&self, batch: &Batch, draw: u64) -> Result<Vec<(String, Vec<f32>)>> {
        self.gradients_of(batch, Some(draw))
    }

    fn gradients_of(&self, batch: &Batch, draw: Option<u64>) -> Result<Vec<(String, Vec<f32>)>> {
        let (index, events) = ItemIndex::of(batch)?;
        let rng = rng::stream(self.seed, "dropout", &[draw.unwrap_or(0)]);
        let mut pass = Pass::new(Tape::training(), &self.params, &self.tables, &index, rng);
        if draw.is_some() {
            pass = pass.of_step(&batch.labels);
        }
        let (logits, _) = self.forward(&mut pass, events, &batch.contexts)?;
        let mut loss = ops::bce_with_logits(&mut pass.tape, &logits, &batch.labels);
        if draw.is_some() {
            let own = pass.losses.iter().map(|(weight, own)| (own, *weight));
            loss = ops::sum_scalars(
                &mut pass.tape,
                &std::iter::once((&loss, 1.0)).chain(own).collect::<Vec<_>>(),
            );
        }
        let Pass { tape, leaves, .. } = pass;
        let mut grads = tape.backward(&loss)?;
        let mut out: Vec<(String, Vec<f32>)> = Vec::new();
        for id in self.params.ids() {
            let value = self.params.get(id);
            let grad = grads.take(value).unwrap_or_else(|| vec![0.0; value.values().len()]);
            out.push((format!("param.{}", self.params.name(id)), grad));
        }
        for (number, table) in self.tables.tables.iter().enumerate() {
            let id = TableId(number);
            if !self.tables.is_trained(id) {
                continue;
            }
            let mut full = vec![0.0; table.values.len()];
            if let Some(leaf) = leaves.get(&id) {
                let grad = grads.take(&leaf.values).unwrap_or_default();
                for (row, grad) in leaf.rows(&index).iter().zip(grad.chunks(table.dim)) {
                    full[*row as usize * table.dim..][..table.dim].copy_from_slice(grad);
                }
            }
            out.push((format!("table.{}", table.name), full));
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }

    /// The mean click loss of `batch` with value `index` of the weight `name` (as in [`Self::gradients`]) moved by
    /// `step`, for finite differences. The weights are put back.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn loss_moved(&mut self, batch: &Batch, name: &str, index: usize, step: f32) -> Result<f32> {
        let before = self.weights();
        for id in self.params.ids() {
            if name.strip_prefix("param.") == Some(self.params.name(id)) {
                let mut values = self.params.get(id).to_vec();
                values[index] += step;
                self.params.set(id, values);
            }
        }
        for table in &mut self.tables.tables {
            if name.strip_prefix("table.") == Some(&table.name) {
                Arc::make_mut(&mut table.values)[index] += step;
            }
        }
        self.attributes.prepare(&mut self.params, &self.tables);
        let logits = self.score_shard(batch);
        self.restore(before);
        let each = |(x, y): (&f32, &f32)| f64::from(x.max(0.0) - x * y) + f64::from(-x.abs()).exp().ln_1p();
        Ok((logits?.iter().zip(&batch.labels).map(each).sum::<f64>() / batch.len().max(1) as f64) as f32)
    }

    /// Trained values: (embedding tables, dense parameters).
    pub fn parameters(&self) -> (usize, usize) {
        (self.tables.count(), self.params.count())
    }

    /// A copy of all weights.
    pub fn weights(&self) -> Weights {
        Weights {
            params: self.params.ids().map(|id| self.params.get(id).to_vec()).collect(),
            buffers: self.params.stored_buffers().map(|id| self.params.buffer(id).to_vec()).collect(),
            tables: self.tables.tables.iter().map(|t| t.values.to_vec()).collect(),
        }
    }

    /// Puts weights back that [`Self::weights`] took from a model of this shape, ready for scoring. The moments of the
    /// optimizer stay as they are.
    pub fn restore(&mut self, weights: Weights) {
        for (id, values) in self.params.ids().zip(weights.params) {
            self.params.set(id, values);
        }
        let buffers: Vec<_> = self.params.stored_buffers().collect();
        for (id, values) in buffers.into_iter().zip(weights.buffers) {
            self.params.set_buffer(id, values);
        }
        for (table, values) in self.tables.tables.iter_mut().zip(weights.tables) {
            table.values = Arc::new(values);
        }
        self.prepare_scoring();
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What is known of the items.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn SequenceEncoder {
        self.encoder.as_ref()
    }

    /// Dense parameters and buffers.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Dense parameters and buffers, to be changed; scoring must be prepared again.
    pub fn params_mut(&mut self) -> &mut Params {
        self.prepared = false;
        &mut self.params
    }

    /// Embedding tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Optimizer steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Puts the optimizer where it was after `step` steps; moments are [`Self::moments_mut`].
    pub(crate) fn set_step(&mut self, step: u64) {
        self.step = step;
    }

    /// Both moments of everything that is trained, by its name in a checkpoint.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (String, [&Vec<f32>; 2])> {
        let dense = self.params.moments().map(|(name, moments)| (format!("param.{name}"), moments));
        let tables = self.tables.tables.iter().filter(|t| t.trained());
        dense.chain(tables.map(|t| (format!("table.{}", t.name), [&t.m, &t.v])))
    }

    /// The same, to be changed, in the same order.
    pub(crate) fn moments_mut(&mut self) -> impl Iterator<Item = [&mut Vec<f32>; 2]> {
        let tables = self.tables.tables.iter_mut().filter(|t| t.trained());
        self.params.moments_mut().chain(tables.map(|t| [&mut t.m, &mut t.v]))
    }
}

#[cfg(test)]
mod tests;
