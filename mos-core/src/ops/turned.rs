//! Dot products of several queries with the rows of one history, many rows at a time, to the bits of [`super::dot`].

use std::{array, ops::Range};

use super::side_by_side;

/// Rows of a block, one in each lane.
const ROWS: usize = 16;
/// Queries that a block is read for in one go.
const QUERIES: usize = 4;
/// Partial sums of a product, as in [`super::dot`].
const PARTS: usize = 8;

/// A history in blocks of [`ROWS`] rows, each turned so that a column of the block is one vector: `[n / 16, d, 16]`, zeros
/// behind the last row.
pub(super) struct Turned {
    blocks: Vec<[f32; ROWS]>,
    rows: usize,
    d: usize,
}

impl Turned {
    /// # Shapes
    /// `history: [n, d]`
    #[inline(always)]
    pub(super) fn new(history: &[f32], d: usize) -> Self {
        Self { blocks: side_by_side(history, d), rows: history.len() / d, d }
    }

    /// `scale` times the product of each query with each row, to the bits of [`super::dot`]: `[Q, d]` → `[Q, n]`.
    #[inline(always)]
    pub(super) fn scores(&self, queries: &[f32], scale: f32, out: &mut [f32]) {
        let &Self { rows, d, .. } = self;
        for (number, columns) in self.blocks.chunks_exact(d).enumerate() {
            let from = number * ROWS;
            let write = |sums: [f32; ROWS], out: &mut [f32]| {
                out[from..rows.min(from + ROWS)]
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(out, sum)| *out = scale * sum);
            };
            let (mut groups, mut outs) =
                (queries.chunks_exact(QUERIES * d), out.chunks_exact_mut(QUERIES * rows));
            for (group, out) in (&mut groups).zip(&mut outs) {
                let of_queries: [&[f32]; QUERIES] = array::from_fn(|q| &group[q * d..(q + 1) * d]);
                let sums = products(of_queries, columns);
                for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(rows)) {
                    write(sums, out);
                }
            }
            let rest = groups.remainder().chunks_exact(d).zip(outs.into_remainder().chunks_exact_mut(rows));
            for (query, out) in rest {
                let [sums] = products([query], columns);
                write(sums, out);
            }
        }
    }
}

/// The products of `Q` queries with [`ROWS`] rows; sums in the order of [`super::dot`]: its lanes one after the other.
#[inline(always)]
fn products<const Q: usize>(queries: [&[f32]; Q], columns: &[[f32; ROWS]]) -> [[f32; ROWS]; Q] {
    let d = columns.len();
    let (queries, whole) = (queries.map(|query| &query[..d]), d / PARTS * PARTS);
    let mut sums = [[0.0f32; ROWS]; Q];
    for part in 0..PARTS {
        add_part::<Q, PARTS>(queries, columns, part..whole, &mut sums);
    }
    add_part::<Q, 1>(queries, columns, whole..d, &mut sums);
    sums
}

/// Adds the sum of the products at every `STEP`-th column of a range.
#[inline(always)]
fn add_part<const Q: usize, const STEP: usize>(
    queries: [&[f32]; Q],
    columns: &[[f32; ROWS]],
    range: Range<usize>,
    sums: &mut [[f32; ROWS]; Q],
) {
    let mut part = [[0.0f32; ROWS]; Q];
    let mut at = range.start;
    while at < range.end {
        let column = &columns[at];
        for q in 0..Q {
            let x = queries[q][at];
            for i in 0..ROWS {
                part[q][i] += x * column[i];
            }
        }
        at += STEP;
    }
    for q in 0..Q {
        for i in 0..ROWS {
            sums[q][i] += part[q][i];
        }
    }
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
