//! Embedding tables, kept off the tape: a pass gathers the rows it needs into a leaf, and only those rows are updated.
//!
//! The default update is *lazy* Adam: moments of rows that a step does not touch stay as they are, so an update
//! costs what it touches. PyTorch's dense Adam moves every row at every step; [`Tables::update_dense`] is
//! that reference, and both agree while every row is touched in each step. An L2 term pulls the rows that a step touches.

use std::sync::Arc;

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
    pub(crate) values: Vec<f32>,
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

    /// Copies `rows` of the table into a matrix `[rows.len(), dim]`.
    pub fn gather(&self, id: TableId, rows: &[u32]) -> Mat {
        let table = &self.tables[id.0];
        let mut out = Vec::with_capacity(rows.len() * table.dim);
        for row in rows {
            let at = *row as usize * table.dim;
            out.extend_from_slice(&table.values[at..at + table.dim]);
        }
        Mat::new(rows.len(), table.dim, out)
    }

    /// Lazy Adam: updates the rows that have a gradient other than zero, each scaled by `scale` and with `l2` times the row
    /// added. Row 0, the unknown item or no value, stays zero. A frozen table is left alone. `step` counts from 1.
    pub fn update(&mut self, id: TableId, grads: &RowGrads<'_>, scale: f32, l2: f32, adam: &Adam, step: u64) {
        let (dim, rule) = (grads.dim, adam.at(step));
        self.update_parts(
            id,
            grads,
            #[inline(always)]
            |part, first, values, m, v| {
                let mut pulled = vec![0.0; dim];
                grads.each(
                    part,
                    #[inline(always)]
                    |row, grad| {
                        if row != 0 {
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
            },
        );
    }

    /// The dense reference: every row decays its moments and moves, as in PyTorch; `l2` pulls the rows with a gradient, as in
    /// [`Self::update`].
    pub fn update_dense(
        &mut self,
        id: TableId,
        grads: &RowGrads<'_>,
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
                grads.each(
                    part,
                    #[inline(always)]
                    |row, grad| {
                        if row != 0 {
                            let row = row as usize - first;
                            rest(done, row, values, m, v);
                            let at = row * dim..(row + 1) * dim;
                            let (values, m, v) = (&mut values[at.clone()], &mut m[at.clone()], &mut v[at]);
                            pull(&mut pulled, grad, scale, l2, values);
                            rule.inlined(values, m, v, &pulled, 1.0);
                            done = row + 1;
                        }
                    },
                );
                rest(done, values.len() / dim, values, m, v);
            },
        );
    }

    /// Runs `work` on each piece of the table, side by side: (its number, its first row, values, both moments).
    fn update_parts(
        &mut self,
        id: TableId,
        grads: &RowGrads<'_>,
        work: impl Fn(usize, usize, &mut [f32], &mut [f32], &mut [f32]) + Sync,
    ) {
        let table = &mut self.tables[id.0];
        if !table.trained() {
            return;
        }
        let size = grads.part_rows * grads.dim;
        let moments = table.m.par_chunks_mut(size).zip(table.v.par_chunks_mut(size));
        let pieces = table.values.par_chunks_mut(size).zip(moments).enumerate();
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

/// Gradients of the rows of one table, from several shards: each row once, in rising order, its parts added in the order
/// of the shards.
#[derive(Clone, Debug)]
pub struct RowGrads<'a> {
    dim: usize,
    shards: Vec<Shard<'a>>,
    /// Rows of the table that one part covers.
    part_rows: usize,
    parts: usize,
}

#[derive(Clone, Debug)]
struct Shard<'a> {
    rows: &'a [u32],
    grads: &'a [f32],
    /// Places of the gradients other than zero: a leaf covers all items of its shard, also those that nothing reached through
    /// this table.
    reached: Vec<u32>,
}

impl<'a> RowGrads<'a> {
    /// From shards, each a list of rising rows with their gradients `[rows, dim]`, for a table of `table_rows` rows. Rows whose
    /// gradient is zero are left out.
    ///
    /// # Panics
    /// If rows do not rise, or go beyond the table.
    pub fn new(table_rows: usize, dim: usize, shards: &[(&'a [u32], &'a [f32])]) -> Self {
        let shard = |(rows, grads): &(&'a [u32], &'a [f32])| {
            assert!(rows.is_sorted_by(|a, b| a < b), "rows of a shard rise");
            assert!(rows.last().is_none_or(|row| (*row as usize) < table_rows), "rows lie in their table");
            let places = grads.chunks_exact(dim).take(rows.len()).enumerate();
            let reached = places.filter(|(_, grad)| !is_zero(grad)).map(|(k, _)| k as u32);
            Shard { rows, grads, reached: reached.collect() }
        };
        let part_rows = table_rows.div_ceil(PARTS).max(1);
        let parts = table_rows.div_ceil(part_rows);
        Self { dim, shards: shards.par_iter().map(shard).collect(), part_rows, parts }
    }

    /// Calls `with` for each row of a part that has a gradient, and its sum. Rows rise in all shards: they are merged.
    #[inline(always)]
    fn each(&self, part: usize, mut with: impl FnMut(u32, &[f32])) {
        let (dim, first) = (self.dim, part * self.part_rows);
        // What is left of each shard, and its next row.
        let mut left: Vec<(&[u32], u32)> = Vec::with_capacity(self.shards.len());
        for Shard { rows, reached, .. } in &self.shards {
            let from = reached.partition_point(|k| (rows[*k as usize] as usize) < first);
            let to = reached.partition_point(|k| (rows[*k as usize] as usize) < first + self.part_rows);
            let mine = &reached[from..to];
            left.push((mine, mine.first().map_or(u32::MAX, |k| rows[*k as usize])));
        }
        let mut sum = vec![0.0; dim];
        loop {
            let row = left.iter().map(|(_, next)| *next).min().unwrap_or(u32::MAX);
            if row == u32::MAX {
                break;
            }
            let mut found: Option<&[f32]> = None;
            let mut several = false;
            for ((mine, next), shard) in left.iter_mut().zip(&self.shards) {
                if *next != row {
                    continue;
                }
                let grad = &shard.grads[mine[0] as usize * dim..][..dim];
                match found {
                    None => found = Some(grad),
                    Some(before) => {
                        if !several {
                            sum.copy_from_slice(before);
                            several = true;
                        }
                        axpy(1.0, grad, &mut sum);
                    }
                }
                *mine = &mine[1..];
                *next = mine.first().map_or(u32::MAX, |k| shard.rows[*k as usize]);
            }
            with(row, if several { &sum } else { found.unwrap_or(&sum) });
        }
    }

    /// Sum of the squares of all gradients.
    pub fn squares(&self) -> f64 {
        let of = |part: usize| {
            let mut sum = 0.0;
            wide(
                #[inline(always)]
                || self.each(part, |_, grad| sum += f64::from(dot(grad, grad))),
            );
            sum
        };
        (0..self.parts).into_par_iter().map(of).collect::<Vec<f64>>().iter().sum()
    }
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
            let pairs: Vec<(&[u32], &[f32])> = rows.iter().zip(&values).map(|(r, v)| (r.as_slice(), v.as_slice())).collect();
            let found = RowGrads::new(150, 2, &pairs);
            let mut all: Vec<(u32, Vec<f32>)> = Vec::new();
            (0..found.parts).for_each(|p| found.each(p, |row, grad| all.push((row, grad.to_vec()))));
            prop_assert!(all.windows(2).all(|w| w[0].0 < w[1].0));
            for (row, grad) in &all {
                let mine = || shards.iter().filter_map(|s| s.get(row));
                prop_assert_eq!(grad[0], mine().copied().reduce(|a, b| a + b).unwrap());
                prop_assert_eq!(grad[1], mine().count() as f32);
            }
            let distinct: std::collections::BTreeSet<u32> = shards.iter().flat_map(|s| s.keys().copied()).collect();
            prop_assert_eq!(all.len(), distinct.len());
        }
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
                let grads = RowGrads::new(90, 3, &[(&all, &grad)]);
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
        let grads = RowGrads::new(90, 3, &[(&[7], &[1e-3, 1e-3, 1e-3])]);
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
            let rows = [row];
            let grads = RowGrads::new(90, 3, &[(&rows, &[1.0, -1.0, 0.5])]);
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
