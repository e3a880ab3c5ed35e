//! Embedding tables, kept off the tape: a pass gathers the rows it needs into a leaf, and only those rows are updated.
//!
//! The default update is *lazy* Adam: moments of rows that a step does not touch stay as they are, so a step costs
//! the same for any vocabulary. PyTorch's dense Adam moves every row at every step; [`Tables::update_dense`] is
//! that reference, and both agree while every row is touched in each step.

use std::sync::Arc;

use mos_data::Catalog;
use serde::{Deserialize, Serialize};

use crate::{Adam, Error, Init, Mat, Result};

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
    fn trained(&self) -> bool {
        !self.m.is_empty()
    }
}

/// All embedding tables of a model, in order of creation. Every table has one row per item of the catalog.
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
        let trained = init != TableInit::FrozenContent;
        let moments = if trained { vec![0.0; values.len()] } else { Vec::new() };
        self.tables.push(Table { name: name.to_owned(), dim, values, m: moments.clone(), v: moments });
        Ok(TableId(self.tables.len() - 1))
    }

    /// Width of the table.
    pub fn dim(&self, id: TableId) -> usize {
        self.tables[id.0].dim
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

    /// Lazy Adam: updates the rows `rows` (each at most once) with their gradients `[rows.len(), dim]`. Row 0, the
    /// unknown item, stays zero. A frozen table is left alone.
    pub fn update(&mut self, id: TableId, rows: &[u32], grad: &[f32], adam: &Adam, step: u64) {
        let table = &mut self.tables[id.0];
        if !table.trained() {
            return;
        }
        let dim = table.dim;
        for (row, grad) in rows.iter().zip(grad.chunks(dim)).filter(|(row, _)| **row != 0) {
            let at = *row as usize * dim..(*row as usize + 1) * dim;
            adam.step(&mut table.values[at.clone()], &mut table.m[at.clone()], &mut table.v[at], grad, step);
        }
    }

    /// The dense reference: every row decays its moments and moves, as in PyTorch.
    pub fn update_dense(&mut self, id: TableId, rows: &[u32], grad: &[f32], adam: &Adam, step: u64) {
        let table = &mut self.tables[id.0];
        if !table.trained() {
            return;
        }
        let dim = table.dim;
        let mut full = vec![0.0; table.values.len()];
        for (row, grad) in rows.iter().zip(grad.chunks(dim)).filter(|(row, _)| **row != 0) {
            full[*row as usize * dim..(*row as usize + 1) * dim].copy_from_slice(grad);
        }
        adam.step(&mut table.values, &mut table.m, &mut table.v, &full, step);
    }

    /// Number of trained values in all tables.
    pub fn count(&self) -> usize {
        self.tables.iter().filter(|t| t.trained()).map(|t| t.values.len()).sum()
    }
}
