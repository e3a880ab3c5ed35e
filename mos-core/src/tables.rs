//! Embedding tables, kept off the tape: a pass gathers the rows it needs into a leaf, and only those rows are updated.
//!
//! The default update is *lazy* Adam: moments of rows that a step does not touch stay as they are, so an update
//! costs what it touches. PyTorch's dense Adam moves every row at every step; [`Tables::update_dense`] is
//! that reference, and both agree while every row is touched in each step. An L2 term pulls the rows that a step touches.

use std::{ops::Range, sync::Arc};

use mos_data::Catalog;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Adam, Error, Init, Mat, Result,
    ops::{axpy, dot, is_zero, wide},
};

/// Handle of an embedding table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableId(pub(crate) usize);

/// How an item table starts. Row 0, the unknown item, always starts at zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableInit {
    /// N(0, std^2).
    Normal(f32),
    /// The item's content vector, cut or padded with zeros to the table's width.
    Content,
    /// The item's content vector, and never trained.
    FrozenContent,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) dim: usize,
    /// Shared with rows that were gathered and not copied yet. An update finds none of them, else it copies the table.
    pub(crate) values: Arc<Vec<f32>>,
    pub(crate) m: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

impl Table {
    pub(crate) fn trained(&self) -> bool {
        !self.m.is_empty()
    }
}

/// All embedding tables of a model, in order of creation. Most have one row per item of the catalog.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub(crate) tables: Vec<Table>,
}

impl Tables {
    /// The item embedding: the first table of every model.
    pub const ITEMS: TableId = TableId(0);

    pub(crate) fn add_item_table(
        &mut self,
        seed: u64,
        name: &str,
        catalog: &Arc<Catalog>,
        dim: usize,
        init: TableInit,
    ) -> Result<TableId> {
        let items = catalog.items;
        let mut values = match init {
            TableInit::Normal(std) => {
                let mut rng = mos_data::rng::stream(seed, &format!("init/{name}"), &[]);
                Init::Normal(std).values(items, dim, &mut rng)
            }
            TableInit::Content | TableInit::FrozenContent => {
                let content = catalog
                    .content
                    .as_ref()
                    .ok_or_else(|| Error::config(name, "content", "the data has no content vectors"))?;
                let keep = dim.min(content.dim);
                let mut values = vec![0.0; items * dim];
                for (row, vector) in values.chunks_mut(dim).zip(content.values.chunks(content.dim)) {
                    row[..keep].copy_from_slice(&vector[..keep]);
                }
                values
            }
        };
        values[..dim].fill(0.0);
        Ok(self.add(name, dim, values, init != TableInit::FrozenContent))
    }

    /// A table that starts at these values.
    pub(crate) fn add(&mut self, name: &str, dim: usize, values: Vec<f32>, trained: bool) -> TableId {
        assert!(self.tables.iter().all(|t| t.name != name), "two tables are named {name}");
        let moments = if trained { vec![0.0; values.len()] } else { Vec::new() };
        let values = Arc::new(values);
        self.tables.push(Table { name: name.to_owned(), dim, values, m: moments.clone(), v: moments });
        TableId(self.tables.len() - 1)
    }

    /// Rows of the table.
    pub fn rows(&self, id: TableId) -> usize {
        self.tables[id.0].values.len() / self.tables[id.0].dim
    }

    /// Width of the table.
    pub fn dim(&self, id: TableId) -> usize {
        self.tables[id.0].dim
    }

    /// Whether the table learns at all.
    pub fn is_trained(&self, id: TableId) -> bool {
        self.tables[id.0].trained()
    }

    /// Whether an update has reached `row`.
    pub(crate) fn is_touched(&self, id: TableId, row: usize) -> bool {
        let table = &self.tables[id.0];
        table.v[row * table.dim..(row + 1) * table.dim].iter().any(|v| *v != 0.0)
    }

    /// All rows, row-major.
    pub fn values(&self, id: TableId) -> &[f32] {
        &self.tables[id.0].values
    }

    /// The `rows` of the table as a matrix `[rows.len(), dim]`, copied when it is read. While it lives, an update of the table works on
    /// a copy of it.
    pub fn gather(&self, id: TableId, rows: &[u32]) -> Mat {
        let table = &self.tables[id.0];
        Mat::of_table(&table.values, table.dim, rows)
    }

    /// Lazy Adam: updates the rows that have a gradient other than zero, each scaled by `scale` and with `l2` times the row
    /// added. Row 0, the unknown item or no value, stays zero. A frozen table is left alone. `step` counts from 1.
    pub fn update(&mut self, id: TableId, grads: &RowGrads, scale: f32, l2: f32, adam: &Adam, step: u64) {
        let (dim, rule) = (grads.dim, adam.at(step));
        self.update_parts(
            id,
            grads,
            #[inline(always)]
            |part, first, values, m, v| {
                let mut pulled = vec![0.0; dim];
                for (row, grad) in grads.of_part(part).filter(|(row, _)| *row != 0) {
                    let at = (row as usize - first) * dim..(row as usize - first + 1) * dim;
                    let (values, m, v) = (&mut values[at.clone()], &mut m[at.clone()], &mut v[at]);
                    if l2 > 0.0 {
                        pull(&mut pulled, grad, scale, l2, values);
                        rule.inlined(values, m, v, &pulled, 1.0);
                    } else {
                        rule.inlined(values, m, v, grad, scale);
                    }
                }
            },
        );
    }

    /// The dense reference: every row decays its moments and moves, as in PyTorch; `l2` pulls the rows with a gradient, as in
    /// [`Self::update`].
    pub fn update_dense(
        &mut self,
        id: TableId,
        grads: &RowGrads,
        scale: f32,
        l2: f32,
        adam: &Adam,
        step: u64,
    ) {
        let (dim, rule) = (grads.dim, adam.at(step));
        self.update_parts(
            id,
            grads,
            #[inline(always)]
            |part, first, values, m, v| {
                let zeros = vec![0.0; 64 * dim];
                let (mut pulled, mut done) = (vec![0.0; dim], 0);
                let rest = |from: usize, to: usize, values: &mut [f32], m: &mut [f32], v: &mut [f32]| {
                    for from in (from * dim..to * dim).step_by(zeros.len()) {
                        let at = from..(from + zeros.len()).min(to * dim);
                        let zeros = &zeros[..at.len()];
                        rule.step(&mut values[at.clone()], &mut m[at.clone()], &mut v[at], zeros, 1.0);
                    }
                };
                for (row, grad) in grads.of_part(part).filter(|(row, _)| *row != 0) {
                    let row = row as usize - first;
                    rest(done, row, values, m, v);
                    let at = row * dim..(row + 1) * dim;
                    let (values, m, v) = (&mut values[at.clone()], &mut m[at.clone()], &mut v[at]);
                    pull(&mut pulled, grad, scale, l2, values);
                    rule.inlined(values, m, v, &pulled, 1.0);
                    done = row + 1;
                }
                rest(done, values.len() / dim, values, m, v);
            },
        );
    }

    /// Runs `work` on each piece of the table, side by side: (its number, its first row, values, both moments).
    fn update_parts(
        &mut self,
        id: TableId,
        grads: &RowGrads,
        work: impl Fn(usize, usize, &mut [f32], &mut [f32], &mut [f32]) + Sync,
    ) {
        let table = &mut self.tables[id.0];
        if !table.trained() {
            return;
        }
        let size = grads.part_rows * grads.dim;
        let moments = table.m.par_chunks_mut(size).zip(table.v.par_chunks_mut(size));
        let pieces = Arc::make_mut(&mut table.values).par_chunks_mut(size).zip(moments).enumerate();
        pieces.for_each(|(part, (values, (m, v)))| {
            wide(
                #[inline(always)]
                || work(part, part * grads.part_rows, values, m, v),
            );
        });
    }

    /// Number of trained values in all tables.
    pub fn count(&self) -> usize {
        self.tables.iter().filter(|t| t.trained()).map(|t| t.values.len()).sum()
    }
}

/// `out = scale * grad + l2 * values`, of one row.
#[inline(always)]
fn pull(out: &mut [f32], grad: &[f32], scale: f32, l2: f32, values: &[f32]) {
    for ((out, grad), value) in out.iter_mut().zip(grad).zip(values) {
        *out = scale * grad + l2 * value;
    }
}

/// Pieces that a table's rows are cut into, whatever the number of threads.
const PARTS: usize = 64;

/// The gradients that one shard has for the rows of one table.
#[derive(Clone, Debug)]
pub struct ShardRows {
    dim: usize,
    rows: Vec<u32>,
    /// `[rows, dim]`
    grads: Vec<f32>,
}

impl ShardRows {
    /// Of rising `rows` of a table of width `dim` and their gradients `[rows, dim]`. Rows whose gradient is zero are left out: a
    /// leaf covers all items of its shard, also those that nothing reached.
    ///
    /// # Panics
    /// If rows do not rise.
    pub fn new(dim: usize, rows: &[u32], mut grads: Vec<f32>) -> Self {
        assert!(rows.is_sorted_by(|a, b| a < b), "rows of a shard rise");
        assert_eq!(grads.len(), rows.len() * dim, "a gradient for each row");
        let mut kept = Vec::with_capacity(rows.len());
        for (k, row) in rows.iter().enumerate() {
            let (grad, to) = (k * dim..(k + 1) * dim, kept.len() * dim);
            if !is_zero(&grads[grad.clone()]) {
                if grad.start != to {
                    grads.copy_within(grad, to);
                }
                kept.push(*row);
            }
        }
        grads.truncate(kept.len() * dim);
        grads.shrink_to_fit();
        Self { dim, rows: kept, grads }
    }

    /// Places of the rows `from..to` of the table.
    fn places(&self, from: usize, to: usize) -> Range<usize> {
        let before = |row: usize| self.rows.partition_point(|r| (*r as usize) < row);
        before(from)..before(to)
    }
}

/// Gradients of the rows of one table, summed over shards in their order.
#[derive(Clone, Debug)]
pub struct RowGrads {
    dim: usize,
    /// Rows of the table that one part covers.
    part_rows: usize,
    parts: Vec<PartGrads>,
}

/// Of one part of a table.
#[derive(Clone, Debug)]
struct PartGrads {
    /// Rows that have a gradient, rising.
    rows: Vec<u32>,
    /// `[rows, dim]`
    grads: Vec<f32>,
    /// Sum of the squares of all of them.
    squares: f64,
}

impl RowGrads {
    /// From shards, for a table of `table_rows` rows.
    ///
    /// # Panics
    /// If a shard's rows go beyond the table, or have another width.
    pub fn new(table_rows: usize, dim: usize, shards: &[ShardRows]) -> Self {
        for shard in shards {
            assert!(
                shard.rows.last().is_none_or(|row| (*row as usize) < table_rows),
                "rows lie in their table"
            );
            assert_eq!(shard.dim, dim, "gradients are as wide as their table");
        }
        let part_rows = table_rows.div_ceil(PARTS).max(1);
        let part = |part: usize| PartGrads::new(dim, part * part_rows, (part + 1) * part_rows, shards);
        let parts = (0..table_rows.div_ceil(part_rows)).into_par_iter().map(part).collect();
        Self { dim, part_rows, parts }
    }

    /// Each row of a part that has a gradient, rising.
    fn of_part(&self, part: usize) -> impl Iterator<Item = (u32, &[f32])> {
        let PartGrads { rows, grads, .. } = &self.parts[part];
        rows.iter().copied().zip(grads.chunks_exact(self.dim))
    }

    /// Sum of the squares of all gradients.
    pub fn squares(&self) -> f64 {
        self.parts.iter().map(|part| part.squares).sum()
    }
}

impl PartGrads {
    /// Sums the rows `from..to` of the table. Shards are read one after the other, from front to back; the sums of a part stay in
    /// a cache.
    fn new(dim: usize, from: usize, to: usize, shards: &[ShardRows]) -> Self {
        let mine: Vec<_> = shards.iter().map(|shard| (shard, shard.places(from, to))).collect();
        let mut place: Vec<u32> = Vec::new();
        mine.iter().for_each(|(shard, places)| place.extend(&shard.rows[places.clone()]));
        let rows = number(&mut place, from, to);
        let mut grads = vec![0.0; rows.len() * dim];
        let (mut squares, mut place) = (0.0, place.as_slice());
        wide(
            #[inline(always)]
            || {
                for (shard, places) in &mine {
                    let (here, others) = place.split_at(places.len());
                    place = others;
                    let of_shard = shard.grads[places.start * dim..places.end * dim].chunks_exact(dim);
                    for (grad, at) in of_shard.zip(here) {
                        axpy(1.0, grad, &mut grads[*at as usize * dim..(*at as usize + 1) * dim]);
                    }
                }
                for grad in grads.chunks_exact(dim) {
                    squares += f64::from(dot(grad, grad));
                }
            },
        );
        Self { rows, grads, squares }
    }
}

/// The distinct numbers among `all`, which lie in `from..to`, rising; each of `all` becomes its place among them.
fn number(all: &mut [u32], from: usize, to: usize) -> Vec<u32> {
    // A look-up in a list of all of them, or in a sorted list where they are few.
    if to - from <= 8 * all.len() {
        let mut places = vec![u32::MAX; to - from];
        all.iter().for_each(|i| places[*i as usize - from] = 0);
        let mut distinct = Vec::new();
        for (i, place) in places.iter_mut().enumerate().filter(|(_, place)| **place == 0) {
            *place = distinct.len() as u32;
            distinct.push((from + i) as u32);
        }
        all.iter_mut().for_each(|i| *i = places[*i as usize - from]);
        return distinct;
    }
    let mut distinct = all.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    all.iter_mut().for_each(|i| *i = distinct.partition_point(|j| j < i) as u32);
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(items: usize, dim: usize) -> (Tables, TableId) {
        let mut tables = Tables::default();
        let catalog = Arc::new(Catalog { items, ..Catalog::default() });
        let id = tables.add_item_table(1, "t", &catalog, dim, TableInit::Normal(1.0)).unwrap();
        (tables, id)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn rows_are_summed_in_the_order_of_shards(
            shards in prop::collection::vec(prop::collection::btree_map(0u32..150, -2f32..2.0, 0..60), 1..5),
        ) {
            let rows: Vec<Vec<u32>> = shards.iter().map(|s| s.keys().copied().collect()).collect();
            let values: Vec<Vec<f32>> = shards.iter().map(|s| s.values().flat_map(|v| [*v, 1.0]).collect()).collect();
            let made: Vec<ShardRows> = rows.iter().zip(&values).map(|(r, v)| ShardRows::new(2, r, v.clone())).collect();
            let found = RowGrads::new(150, 2, &made);
            let of = |part| found.of_part(part).map(|(row, grad)| (row, grad.to_vec()));
            let all: Vec<(u32, Vec<f32>)> = (0..found.parts.len()).flat_map(of).collect();
            prop_assert!(all.windows(2).all(|w| w[0].0 < w[1].0));
            for (row, grad) in &all {
                let mine = || shards.iter().filter_map(|s| s.get(row));
                prop_assert_eq!(grad[0], mine().copied().reduce(|a, b| a + b).unwrap());
                prop_assert_eq!(grad[1], mine().count() as f32);
            }
            let distinct: std::collections::BTreeSet<u32> = shards.iter().flat_map(|s| s.keys().copied()).collect();
            prop_assert_eq!(all.len(), distinct.len());
            let squares: f64 = all.iter().map(|(_, g)| f64::from(g[0] * g[0] + g[1] * g[1])).sum();
            prop_assert!((found.squares() - squares).abs() <= 1e-6 * squares, "{} and {squares}", found.squares());
        }
    }

    #[test]
    fn numbers_are_places_of_a_rising_list() {
        let all = [14, 12, 19, 12, 10, 14];
        // A short range, and one that is long beside so few.
        for to in [20, 2000] {
            let mut places = all;
            assert_eq!(number(&mut places, 10, to), [10, 12, 14, 19]);
            assert_eq!(places, [2, 1, 3, 1, 0, 2]);
        }
        assert!(number(&mut [], 3, 9).is_empty());
    }

    #[test]
    fn lazy_adam_is_dense_adam_while_every_row_is_touched() {
        for l2 in [0.0, 0.3] {
            let (mut lazy, id) = table(90, 3);
            let (mut dense, _) = table(90, 3);
            let adam = Adam { lr: 0.01, ..Adam::default() };
            let all: Vec<u32> = (0..90).collect();
            for step in 1..=20u64 {
                let grad: Vec<f32> = (0..270).map(|i| ((i as f32 + 1.0) * step as f32).sin()).collect();
                let grads = RowGrads::new(90, 3, &[ShardRows::new(3, &all, grad)]);
                lazy.update(id, &grads, 0.5, l2, &adam, step);
                dense.update_dense(id, &grads, 0.5, l2, &adam, step);
            }
            assert_eq!(lazy.values(id), dense.values(id));
            assert!(lazy.values(id)[..3].iter().all(|v| *v == 0.0), "the unknown item stays zero");
        }
    }

    #[test]
    fn l2_pulls_the_rows_that_a_step_touches_and_no_others() {
        let (mut plain, id) = table(90, 3);
        let (mut pulled, _) = table(90, 3);
        let start = plain.values(id).to_vec();
        // A first step of Adam moves by the sign of the gradient: here the pull outweighs it.
        let grads = RowGrads::new(90, 3, &[ShardRows::new(3, &[7], vec![1e-3; 3])]);
        plain.update(id, &grads, 1.0, 0.0, &Adam::default(), 1);
        pulled.update(id, &grads, 1.0, 10.0, &Adam::default(), 1);
        for at in 0..270 {
            let (value, moved) = (start[at], pulled.values(id)[at]);
            if at / 3 == 7 {
                assert!(moved.abs() < value.abs(), "{value} was pulled to {moved}");
                assert!(plain.values(id)[at] < value);
            } else {
                assert_eq!(moved, value);
            }
        }
    }

    #[test]
    fn lazy_adam_leaves_untouched_rows_and_dense_adam_moves_them_on() {
        let (mut lazy, id) = table(90, 3);
        let (mut dense, _) = table(90, 3);
        let adam = Adam::default();
        for (step, row) in [(1, 7u32), (2, 80)] {
            let grads = RowGrads::new(90, 3, &[ShardRows::new(3, &[row], vec![1.0, -1.0, 0.5])]);
            lazy.update(id, &grads, 1.0, 0.1, &adam, step);
            dense.update_dense(id, &grads, 1.0, 0.1, &adam, step);
        }
        let (start, _) = table(90, 3);
        let row = |t: &Tables, r: usize| t.values(id)[r * 3..r * 3 + 3].to_vec();
        assert_eq!(row(&lazy, 30), row(&start, 30));
        assert_eq!(row(&dense, 30), row(&start, 30), "no moment, no movement");
        assert_eq!(row(&lazy, 80), row(&dense, 80), "the first touch is the same");
        assert!(row(&lazy, 7) != row(&dense, 7), "momentum carries a dense row on");
    }
}
