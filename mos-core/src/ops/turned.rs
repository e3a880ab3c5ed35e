//! Dot products of several queries with the rows of one history, many rows at a time, to the bits of [`super::dot`].

/// Rows of a block, one in each lane.
const ROWS: usize = 16;
/// Partial sums of a product, as in [`super::dot`].
const PARTS: usize = 8;

/// A history in blocks of [`ROWS`] rows, each turned so that a column of the block is one vector: `[n / 16, d, 16]`, zeros
/// behind the last row.
pub(super) struct Turned {
    blocks: Vec<f32>,
    rows: usize,
    d: usize,
}

impl Turned {
    /// # Shapes
    /// `history: [n, d]`
    #[inline(always)]
    pub(super) fn new(history: &[f32], d: usize) -> Self {
        let rows = history.len() / d;
        let mut blocks = vec![0.0; rows.div_ceil(ROWS) * ROWS * d];
        for (rows, block) in history.chunks(ROWS * d).zip(blocks.chunks_exact_mut(ROWS * d)) {
            for (i, row) in rows.chunks_exact(d).enumerate() {
                for (x, column) in row.iter().zip(block.chunks_exact_mut(ROWS)) {
                    column[i] = *x;
                }
            }
        }
        Self { blocks, rows, d }
    }

    /// `scale` times the product of each query with each row, to the bits of [`super::dot`]: `[Q, d]` → `[Q, n]`.
    #[inline(always)]
    pub(super) fn scores(&self, queries: &[f32], scale: f32, out: &mut [f32]) {
        let &Self { rows, d, .. } = self;
        for (number, block) in self.blocks.chunks_exact(ROWS * d).enumerate() {
            let from = number * ROWS;
            let (columns, _) = block.as_chunks::<ROWS>();
            for (query, out) in queries.chunks_exact(d).zip(out.chunks_exact_mut(rows)) {
                let sums = products(query, columns);
                let out = &mut out[from..rows.min(from + ROWS)];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = scale * sum);
            }
        }
    }
}

/// The products of a query with [`ROWS`] rows; sums in the order of [`super::dot`].
#[inline(always)]
fn products(query: &[f32], columns: &[[f32; ROWS]]) -> [f32; ROWS] {
    let mut parts = [[0.0f32; ROWS]; PARTS];
    let (queries, last_queries) = query.as_chunks::<PARTS>();
    let (columns, last_columns) = columns.as_chunks::<PARTS>();
    for (query, columns) in queries.iter().zip(columns) {
        for p in 0..PARTS {
            for i in 0..ROWS {
                parts[p][i] += query[p] * columns[p][i];
            }
        }
    }
    let mut sums = parts[0];
    for part in &parts[1..] {
        for i in 0..ROWS {
            sums[i] += part[i];
        }
    }
    let mut tail = [0.0f32; ROWS];
    for (query, column) in last_queries.iter().zip(last_columns) {
        for i in 0..ROWS {
            tail[i] += query * column[i];
        }
    }
    for i in 0..ROWS {
        sums[i] += tail[i];
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Init,
        ops::{dot, wide},
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_are_those_of_dot(d in 1usize..40, rows in 0usize..70, queries in 0usize..5, seed in 0u64..1000) {
            let mut draw = mos_data::rng::stream(seed, "tests", &[]);
            let mut random = |n: usize| Init::Normal(1.0).values(n, d, &mut draw);
            let (history, queries) = (random(rows), random(queries));
            let mut found = vec![0.0; queries.len() / d * rows];
            wide(|| Turned::new(&history, d).scores(&queries, 0.3, &mut found));
            let pairs = queries.chunks(d).flat_map(|q| history.chunks(d).map(move |row| 0.3 * dot(q, row)));
            prop_assert_eq!(found, pairs.collect::<Vec<f32>>());
        }
    }
}
