//! The click model: features → encoder → head → logit, its training step and its scores.

use std::{collections::BTreeMap, sync::Arc};

use mos_data::{Batch, Catalog, rng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Adam, Builder, Cost, Error, Events, Init, Input, ItemIndex, Mat, ParamId, Params, Part, Pass, Result,
    RowGrads, SequenceEncoder, StateUpdate, StepInfo, TableId, TableInit, Tables, Tape, cost, encoder::visit,
    layers::Mlp, ops,
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
    /// Hidden widths of the head.
    pub head: Vec<usize>,
    /// Dropout after the head's first layer.
    pub dropout: f32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { dim: 16, item_std: 0.05, item_from_content: true, head: vec![64, 32], dropout: 0.1 }
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
    /// Pieces that a batch is cut into; part of the result's definition, not of the machine.
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
            shards: 4,
            dense_tables: false,
        }
    }
}

/// What one training step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss of the batch, auxiliary terms included.
    pub loss: f32,
    /// Norm of all gradients before clipping.
    pub grad_norm: f32,
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
    behaviours: ParamId,
    encoder: Box<dyn SequenceEncoder>,
    head: Mlp,
    step: u64,
}

/// The weights of a model at one moment.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(crate) params: Params,
    pub(crate) tables: Tables,
}

/// Rows of a table and their gradients, from one shard.
type ShardRows<'a> = (&'a [u32], &'a [f32]);

struct ShardGrads {
    loss: f32,
    dense: Vec<Option<Vec<f32>>>,
    tables: Vec<(TableId, Vec<f32>)>,
    items: Vec<u32>,
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
        if config.dim == 0 || config.head.contains(&0) {
            return Err(Error::config("model.dim/head", format!("{config:?}"), "widths must be positive"));
        }
        if !(0.0..1.0).contains(&config.dropout) {
            return Err(Error::config("model.dropout", config.dropout, "must lie in [0, 1)"));
        }
        let (mut params, mut tables) = (Params::default(), Tables::default());
        let mut builder = Builder::new(&mut params, &mut tables, catalog, config.dim, seed);
        let from_content = config.item_from_content && catalog.content.is_some();
        let init = if from_content { TableInit::Content } else { TableInit::Normal(config.item_std) };
        builder.item_table("items", config.dim, init)?;
        let bias = builder.item_table("item_bias", 1, TableInit::Normal(0.0))?;
        let behaviours =
            builder.param("behaviours", catalog.behaviours.max(1), config.dim, Init::Normal(0.05));
        let encoder = encoder(&mut builder.at("encoder"))?;
        let width = config.dim * (1 + 2 * encoder.vectors()) + encoder.evidence();
        let head = Mlp::new(&mut builder.at("head"), width, &config.head, 1).with_dropout(config.dropout);
        let mut model = Self {
            config: config.clone(),
            catalog: catalog.clone(),
            seed,
            params,
            tables,
            bias,
            behaviours,
            encoder,
            head,
            step: 0,
        };
        model.prepare_scoring();
        Ok(model)
    }

    /// # Shapes
    /// B samples → logits `[B, 1]`
    fn forward(&self, pass: &mut Pass<'_>, events: &Arc<Events>) -> Result<(Mat, Mat)> {
        let items = pass.item_rows(Tables::ITEMS);
        let behaviours = pass.param(self.behaviours);
        let codes: Vec<u32> = events.behaviours.iter().map(|b| u32::from(*b)).collect();
        let rows = if self.catalog.behaviours > 1 {
            ops::sum_gathered(&mut pass.tape, &[(&items, &events.items), (&behaviours, &codes)])
        } else {
            ops::gather_rows(&mut pass.tape, &items, &events.items)
        };
        let target = ops::gather_rows(&mut pass.tape, &items, &events.targets);
        let interest =
            self.encoder.forward(pass, &Input { target: target.clone(), rows, events: events.clone() })?;
        let logits = cost::charge(Part::Head, || {
            let products: Vec<Mat> =
                interest.vectors.iter().map(|v| ops::mul(&mut pass.tape, &target, v)).collect();
            let mut columns = vec![&target];
            columns.extend(interest.vectors.iter().chain(&products).chain(&interest.evidence));
            let features = ops::concat(&mut pass.tape, &columns);
            let logits = self.head.forward(pass, &features);
            let bias = pass.item_rows(self.bias);
            let bias = ops::gather_rows(&mut pass.tape, &bias, &events.targets);
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
        let (index, events) = ItemIndex::of(shard)?;
        let rng = rng::stream(self.seed, "dropout", &[self.step, number]);
        let mut pass = Pass::new(Tape::training(), &self.params, &self.tables, &index, rng);
        let (logits, target) = self.forward(&mut pass, &Arc::new(events))?;
        let bce = ops::bce_with_logits(&mut pass.tape, &logits, &shard.labels);
        let size = ops::mean_square(&mut pass.tape, &target);
        let share = shard.len() as f32 / total as f32;
        let mut parts = vec![(&bce, share), (&size, share * config.target_l2)];
        parts.extend(pass.losses.iter().map(|(weight, loss)| (loss, share * weight)));
        let loss = ops::sum_scalars(&mut pass.tape, &parts);
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
                .filter_map(|(t, leaf)| Some((*t, grads.take(leaf)?)))
                .collect(),
            items: index.items,
            updates,
        })
    }

    /// One optimizer step on one batch. The batch is cut into `config.shards` pieces whose gradients are added in
    /// order, so the result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when loss or gradient is no longer a number; the weights are then unchanged.
    pub fn train_step(
        &mut self,
        batch: &Batch,
        config: &TrainConfig,
        total_steps: u64,
        steps_per_epoch: u64,
    ) -> Result<StepReport> {
        let shards = batch.split(config.shards);
        let total = batch.len();
        let parts = shards
            .par_iter()
            .enumerate()
            .map(|(number, shard)| self.shard_grads(shard, number as u64, total, config))
            .collect::<Result<Vec<_>>>()?;
        let loss = parts.iter().map(|p| p.loss).sum::<f32>();
        let mut dense: Vec<Option<Vec<f32>>> = vec![None; parts[0].dense.len()];
        let mut touched: BTreeMap<usize, Vec<ShardRows<'_>>> = BTreeMap::new();
        for part in &parts {
            for (sum, grad) in dense.iter_mut().zip(&part.dense) {
                match (sum.as_mut(), grad) {
                    (Some(sum), Some(grad)) => sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g),
                    (None, grad) => sum.clone_from(grad),
                    _ => {}
                }
            }
            for (table, grad) in &part.tables {
                touched.entry(table.0).or_default().push((&part.items, grad));
            }
        }
        let mut sparse: Vec<(TableId, RowGrads<'_>)> = Vec::new();
        for (table, shards) in &touched {
            let id = TableId(*table);
            sparse.push((id, RowGrads::new(self.catalog.items, self.tables.dim(id), shards)));
        }
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
        for (id, grad) in self.params.ids().zip(dense) {
            if let Some(grad) = grad {
                self.params.update(id, &grad, shrink, &adam, self.step);
            }
        }
        for (table, grads) in &sparse {
            if config.dense_tables {
                self.tables.update_dense(*table, grads, shrink, &adam, self.step);
            } else {
                self.tables.update(*table, grads, shrink, &adam, self.step);
            }
        }
        let updates: Vec<StateUpdate> = parts.into_iter().flat_map(|p| p.updates).collect();
        let at = StepInfo { step: self.step, steps_per_epoch, seed: self.seed };
        let (params, tables) = (&mut self.params, &mut self.tables);
        visit(self.encoder.as_ref(), &mut |e| e.after_step(params, tables, &updates, at));
        Ok(StepReport { loss, grad_norm: norm })
    }

    /// Derives what scoring looks up from the weights; call after training and before [`Self::score`].
    pub fn prepare_scoring(&mut self) {
        let (params, tables) = (&mut self.params, &self.tables);
        visit(self.encoder.as_ref(), &mut |e| e.prepare_scoring(params, tables));
    }

    /// Logits of a batch; nothing is kept for a backward pass.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn score(&self, batch: &Batch) -> Result<Vec<f32>> {
        let parts =
            batch.split(4).par_iter().map(|shard| self.score_shard(shard)).collect::<Result<Vec<_>>>()?;
        Ok(parts.concat())
    }

    fn score_shard(&self, shard: &Batch) -> Result<Vec<f32>> {
        let (index, events) = ItemIndex::of(shard)?;
        let rng = rng::stream(self.seed, "scoring", &[]);
        let mut pass = Pass::new(Tape::scoring(), &self.params, &self.tables, &index, rng);
        Ok(self.forward(&mut pass, &Arc::new(events))?.0.to_vec())
    }

    /// Executed MACs of scoring `batch`, and the MACs that the formulas state for it. Both must agree.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn costs(&self, batch: &Batch) -> Result<(Cost, Cost)> {
        let (scores, executed) = cost::measure(|| self.score_shard(batch));
        scores?;
        let (index, events) = ItemIndex::of(batch)?;
        let rng = rng::stream(self.seed, "scoring", &[]);
        let mut pass = Pass::new(Tape::scoring(), &self.params, &self.tables, &index, rng);
        let formula = self.encoder.cost(&mut pass, &events)? + Cost::head(self.head.macs(batch.len()));
        Ok((executed, formula))
    }

    /// Gradients of the mean click loss alone (no auxiliary term, no regulariser) with respect to every dense parameter
    /// `param.<name>` and embedding table `table.<name>`, for checks.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn gradients(&self, batch: &Batch) -> Result<Vec<(String, Vec<f32>)>> {
        let (index, events) = ItemIndex::of(batch)?;
        let rng = rng::stream(self.seed, "dropout", &[]);
        let mut pass = Pass::new(Tape::training(), &self.params, &self.tables, &index, rng);
        let (logits, _) = self.forward(&mut pass, &Arc::new(events))?;
        let loss = ops::bce_with_logits(&mut pass.tape, &logits, &batch.labels);
        let Pass { tape, leaves, .. } = pass;
        let mut grads = tape.backward(&loss)?;
        let mut out: Vec<(String, Vec<f32>)> = Vec::new();
        for id in self.params.ids() {
            if let Some(grad) = grads.take(self.params.get(id)) {
                out.push((format!("param.{}", self.params.name(id)), grad));
            }
        }
        for (id, leaf) in leaves {
            let table = &self.tables.tables[id.0];
            let mut full = vec![0.0; table.values.len()];
            for (row, grad) in index.items.iter().zip(grads.take(&leaf).unwrap_or_default().chunks(table.dim))
            {
                full[*row as usize * table.dim..][..table.dim].copy_from_slice(grad);
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
                table.values[index] += step;
            }
        }
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
        Weights { params: self.params.clone(), tables: self.tables.clone() }
    }

    /// Puts weights back that [`Self::weights`] took from a model of this shape.
    pub fn restore(&mut self, weights: Weights) {
        self.params = weights.params;
        self.tables = weights.tables;
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn SequenceEncoder {
        self.encoder.as_ref()
    }

    /// Dense parameters and buffers.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Dense parameters and buffers, to be changed (tests, checkpoints).
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Embedding tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(crate) fn tables_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }
}
