//! One forward pass over one shard of a batch.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use mos_data::{Batch, History};
use rand_chacha::ChaCha8Rng;

use crate::{
    Events, Input, Mat, Offsets, ParamId, Params, Result, TableId, Tables, Tape, engine::BufferId, ops,
};

/// The distinct items of a shard: tables are gathered once per distinct item, and everything else points into that.
#[derive(Clone, Debug)]
pub struct ItemIndex {
    /// Catalog row of each distinct item `[U]`. They must rise: tables are read and updated from front to back.
    pub items: Vec<u32>,
}

impl ItemIndex {
    /// The index of a batch, and the batch's events pointing into it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the batch's borders are broken.
    pub fn of(batch: &Batch) -> Result<(Self, Events)> {
        let (index, items, targets) = Self::number(&batch.items, &batch.targets);
        let events = Events {
            offsets: Offsets::new(batch.offsets.clone())?,
            histories: None,
            items,
            behaviours: batch.behaviours.clone(),
            sessions: batch.sessions.clone(),
            times: batch.times.clone(),
            target_times: batch.target_times.clone(),
            samples: (0..batch.len() as u32).collect(),
            targets,
        };
        Ok((index, events))
    }

    /// The index of one history and many targets at one time; all share the history.
    pub fn of_candidates(history: &History, targets: &[u32], time: i64) -> (Self, Events) {
        let (index, items, targets) = Self::number(&history.items, targets);
        let events = Events {
            offsets: Offsets::from_lengths([items.len()]),
            histories: Some(vec![0; targets.len()].into()),
            items,
            behaviours: history.behaviours.clone(),
            sessions: history.sessions.clone(),
            times: history.times.clone(),
            target_times: vec![time; targets.len()],
            samples: (0..targets.len() as u32).collect(),
            targets,
        };
        (index, events)
    }

    /// The distinct items of both, and both pointing into them.
    fn number(items: &[u32], targets: &[u32]) -> (Self, Vec<u32>, Vec<u32>) {
        thread_local! {
            static SET: RefCell<ItemSet> = RefCell::default();
        }
        SET.with_borrow_mut(|set| {
            // Bits are counted by one instruction where the machine has it.
            ops::wide(
                #[inline(always)]
                || {
                    for item in items.iter().chain(targets) {
                        set.insert(*item);
                    }
                    let distinct = set.count();
                    let (mut of_items, mut of_targets) = (vec![0; items.len()], vec![0; targets.len()]);
                    for (place, item) in of_items.iter_mut().zip(items) {
                        *place = set.place(*item);
                    }
                    for (place, item) in of_targets.iter_mut().zip(targets) {
                        *place = set.place(*item);
                    }
                    set.clear(&distinct);
                    (Self { items: distinct }, of_items, of_targets)
                },
            )
        })
    }
}

/// A set of items as bits. Cost follows its items and a 4,096th of the catalog.
#[derive(Debug, Default)]
struct ItemSet {
    /// A bit for each item.
    words: Vec<u64>,
    /// A bit for each word that has one.
    used: Vec<u64>,
    /// Items before each used word.
    before: Vec<u32>,
}

impl ItemSet {
    #[inline(always)]
    fn insert(&mut self, item: u32) {
        let word = item as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
            self.before.resize(word + 1, 0);
            self.used.resize(word / 64 + 1, 0);
        }
        self.words[word] |= 1 << (item % 64);
        self.used[word / 64] |= 1 << (word % 64);
    }

    /// All items, rising; then each has its place.
    #[inline(always)]
    fn count(&mut self) -> Vec<u32> {
        let mut items = Vec::new();
        for (w, used) in self.used.iter().enumerate() {
            for word in ops::bits(*used).map(|bit| w * 64 + bit as usize) {
                self.before[word] = items.len() as u32;
                items.extend(ops::bits(self.words[word]).map(|bit| word as u32 * 64 + bit));
            }
        }
        items
    }

    /// Of an item of the set, its place among them.
    #[inline(always)]
    fn place(&self, item: u32) -> u32 {
        let word = item as usize / 64;
        let lower = self.words[word] & ((1 << (item % 64)) - 1);
        self.before[word] + lower.count_ones()
    }

    #[inline(always)]
    fn clear(&mut self, items: &[u32]) {
        for item in items {
            self.words[*item as usize / 64] = 0;
            self.used[*item as usize / 4096] = 0;
        }
    }
}

/// What an encoder wants to do to its own state after the step (codebook statistics), tagged by the encoder.
#[derive(Clone, Debug)]
pub struct StateUpdate {
    /// Which buffer of the encoder it concerns.
    pub buffer: BufferId,
    /// The recorded values; their meaning is the encoder's own.
    pub values: Vec<f32>,
}

/// Rows of a table that a pass reads.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// Which they are; `None`: those of the pass's distinct items.
    rows: Option<Vec<u32>>,
    pub(crate) values: Mat,
}

impl Leaf {
    /// The rows of the table, each once.
    pub(crate) fn rows<'a>(&'a self, index: &'a ItemIndex) -> &'a [u32] {
        self.rows.as_deref().unwrap_or(&index.items)
    }
}

/// Everything a forward pass reads and writes.
#[derive(Debug)]
pub struct Pass<'a> {
    /// Records operations when training.
    pub tape: Tape,
    /// Weights and buffers.
    pub params: &'a Params,
    /// Embedding tables.
    pub tables: &'a Tables,
    /// The distinct items of this shard.
    pub index: &'a ItemIndex,
    /// Dropout stream of this shard and step.
    pub rng: ChaCha8Rng,
    /// Labels of the samples, in training alone.
    pub(crate) labels: Option<&'a [f32]>,
    pub(crate) leaves: HashMap<TableId, Leaf>,
    pub(crate) losses: Vec<(f32, Mat)>,
    pub(crate) updates: Vec<StateUpdate>,
}

impl<'a> Pass<'a> {
    /// A pass; `rng` matters in training only.
    pub fn new(
        tape: Tape,
        params: &'a Params,
        tables: &'a Tables,
        index: &'a ItemIndex,
        rng: ChaCha8Rng,
    ) -> Self {
        let (leaves, losses, updates) = (HashMap::new(), Vec::new(), Vec::new());
        Self { tape, params, tables, index, rng, labels: None, leaves, losses, updates }
    }

    /// Makes this the pass of an optimizer step on samples with these labels.
    #[must_use]
    pub fn of_step(self, labels: &'a [f32]) -> Self {
        Self { labels: Some(labels), ..self }
    }

    /// Whether this pass will be differentiated.
    pub fn is_training(&self) -> bool {
        self.tape.is_training()
    }

    /// Whether this is the pass of an optimizer step. What makes its scores differ from those of scoring (dropout, a
    /// gate's noise, a limit over the shard) is done here alone, so that [`crate::CtrModel::gradients`] are those of the
    /// scores.
    pub fn is_step(&self) -> bool {
        self.labels.is_some()
    }

    /// Zeroes each value with probability `rate` and scales the rest up, in an optimizer step.
    pub fn dropout(&mut self, x: &Mat, rate: f32) -> Mat {
        if self.is_step() { ops::dropout(&mut self.tape, x, rate, &mut self.rng) } else { x.clone() }
    }

    /// A parameter.
    pub fn param(&self, id: ParamId) -> Mat {
        self.params.get(id).clone()
    }

    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> Arc<Vec<f32>> {
        self.params.buffer(id).clone()
    }

    /// The table's rows of this shard's distinct items `[U, dim]`, as a leaf that gets a gradient.
    pub fn item_rows(&mut self, table: TableId) -> Mat {
        let (tables, index) = (self.tables, self.index);
        let all = || Leaf { rows: None, values: tables.gather(table, &index.items) };
        self.leaves.entry(table).or_insert_with(all).values.clone()
    }

    /// The rows `values` of a table, each once, as a leaf that gets a gradient, and the place of each value in it: for a table of
    /// another length than the catalog, or of which a pass needs few rows. A pass reads such a table once.
    pub(crate) fn value_rows(&mut self, table: TableId, values: &[u32]) -> (Mat, Vec<u32>) {
        let mut rows = values.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let places = values.iter().map(|v| rows.partition_point(|row| row < v) as u32).collect();
        let leaf = Leaf { values: self.tables.gather(table, &rows), rows: Some(rows) };
        let found = leaf.values.clone();
        assert!(self.leaves.insert(table, leaf).is_none(), "a table is read twice in one pass");
        (found, places)
    }

    /// Adds `weight * loss` to the training loss. The loss is a `[1, 1]` mean over the shard; an encoder inside a mixture
    /// can be given no sample at all, and must not divide by their number then.
    pub fn add_loss(&mut self, weight: f32, loss: Mat) {
        assert_eq!((loss.rows(), loss.cols()), (1, 1), "add_loss: a loss is a scalar");
        if self.is_training() && weight != 0.0 {
            self.losses.push((weight, loss));
        }
    }

    /// Adds `weight` times the cross-entropy between the clicks of these segments' samples and an encoder's own logits
    /// `[B, 1]` for them, summed and divided by the samples of the shard: a sample weighs the same whether an expert sees it
    /// alone or with all others. Every expert adds its own. The labels stay with the pass: an encoder cannot read them.
    pub fn add_click_loss(&mut self, weight: f32, logits: &Mat, events: &Events) {
        if let Some(labels) = self.labels.filter(|_| weight != 0.0) {
            let share = events.samples.len() as f32 / labels.len().max(1) as f32;
            let labels: Vec<f32> = events.samples.iter().map(|s| labels[*s as usize]).collect();
            let loss = ops::bce_with_logits(&mut self.tape, logits, &labels);
            self.add_loss(weight * share, loss);
        }
    }

    /// Records what [`crate::SequenceEncoder::after_step`] is to see.
    pub fn record_update(&mut self, buffer: BufferId, values: Vec<f32>) {
        if self.is_training() {
            self.updates.push(StateUpdate { buffer, values });
        }
    }
}

impl Input {
    /// The rows `rows` as segments `offsets`, segment `b` asked about the target of sample `samples[b]`.
    #[must_use]
    pub fn select(&self, tape: &mut Tape, rows: &[u32], offsets: Offsets, samples: &[u32]) -> Self {
        self.select_shared(tape, rows, offsets, samples, None)
    }

    /// The rows `rows` as histories `offsets`; for each b the history `histories[b]` is asked about the target of sample
    /// `samples[b]` (`None`: history b).
    #[must_use]
    pub fn select_shared(
        &self,
        tape: &mut Tape,
        rows: &[u32],
        offsets: Offsets,
        samples: &[u32],
        histories: Option<Arc<[u32]>>,
    ) -> Self {
        let same_samples =
            samples.len() == self.target.rows() && samples.iter().enumerate().all(|(i, s)| i as u32 == *s);
        Self {
            target: if same_samples {
                self.target.clone()
            } else {
                ops::gather_rows(tape, &self.target, samples)
            },
            rows: ops::gather_rows(tape, &self.rows, rows),
            events: Arc::new(self.events.select(rows, offsets, samples, histories)),
        }
    }

    /// A part of the samples, each with its history.
    #[must_use]
    pub fn part(&self, tape: &mut Tape, samples: &[u32]) -> Self {
        let (rows, offsets, histories) = self.events.rows_of(samples);
        self.select_shared(tape, &rows, offsets, samples, histories)
    }

    /// The last `n` behaviours of each history.
    #[must_use]
    pub fn last(&self, tape: &mut Tape, n: usize) -> Self {
        let (rows, offsets) = self.events.last_rows(n);
        let samples: Vec<u32> = (0..self.target.rows() as u32).collect();
        self.select_shared(tape, &rows, offsets, &samples, self.events.histories.clone())
    }

    /// Each sample with a history of its own, copied where it was shared.
    #[must_use]
    pub fn unshared(&self, tape: &mut Tape) -> Self {
        if self.events.histories.is_none() {
            return self.clone();
        }
        let spans = self.events.spans();
        let rows: Vec<u32> = spans.ranges().flatten().map(|r| r as u32).collect();
        let samples: Vec<u32> = (0..self.target.rows() as u32).collect();
        self.select(tape, &rows, spans.side_by_side(), &samples)
    }

    /// What was made of each history, for each sample.
    ///
    /// # Shapes
    /// `of_histories: [H, c]` → `[B, c]`
    pub fn for_samples(&self, tape: &mut Tape, of_histories: &Mat) -> Mat {
        match &self.events.histories {
            None => of_histories.clone(),
            Some(of) => ops::gather_rows(tape, of_histories, of),
        }
    }
}

#[cfg(test)]
mod tests {
    use mos_data::rng;

    use super::*;

    /// An expert that is given a part of the samples, in another order, weighs each by its own label.
    #[test]
    fn a_click_loss_meets_the_labels_of_its_samples() {
        let (params, tables, index) = (Params::default(), Tables::default(), ItemIndex { items: Vec::new() });
        let labels = [1.0, 0.0, 1.0, 1.0];
        let events = Events {
            offsets: Offsets::from_lengths([0; 4]),
            histories: None,
            items: Vec::new(),
            behaviours: Vec::new(),
            sessions: Vec::new(),
            times: Vec::new(),
            targets: vec![0; 4],
            target_times: vec![0; 4],
            samples: (0..4).collect(),
        };
        let logits = [0.3f32, -1.2, 0.8, 2.0];
        let loss_of = |samples: &[u32]| {
            let mut pass =
                Pass::new(Tape::training(), &params, &tables, &index, rng::stream(1, "tests", &[]));
            let mine = samples.iter().map(|s| logits[*s as usize]).collect();
            let events = events.select(&[], Offsets::from_lengths(vec![0; samples.len()]), samples, None);
            pass.add_click_loss(1.0, &Mat::new(samples.len(), 1, mine), &events);
            assert!(pass.losses.is_empty(), "without labels there is nothing to learn");
            let mut pass = pass.of_step(&labels);
            let mine = samples.iter().map(|s| logits[*s as usize]).collect();
            pass.add_click_loss(0.5, &Mat::new(samples.len(), 1, mine), &events);
            pass.losses.iter().map(|(weight, loss)| weight * loss.values()[0]).sum::<f32>()
        };
        let (whole, parts) = (loss_of(&[0, 1, 2, 3]), loss_of(&[3, 1]) + loss_of(&[0, 2]));
        let bce = |x: f32, y: f32| (1.0 + x.exp()).ln() - x * y;
        let wanted = logits.iter().zip(labels).map(|(x, y)| bce(*x, y)).sum::<f32>() / 8.0;
        assert!((whole - wanted).abs() < 1e-6 && (parts - wanted).abs() < 1e-6, "{whole} {parts} {wanted}");
    }
}
