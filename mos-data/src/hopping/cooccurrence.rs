//! Item vectors from co-occurrence in sessions.
//!
//! Items and sessions form a bipartite graph. The vectors are the leading left singular directions of its matrix, each
//! entry divided by the roots of the two degrees (Dhillon 2001), with the mean degree added to each degree so that small
//! islands do not lead (Amini et al. 2013); rows have unit length (Ng, Jordan and Weiss 2001). Directions come from
//! subspace iteration. Clustering does not depend on the basis of the subspace, so it is left as it is.

use rand_distr::{Distribution as _, StandardNormal};
use rayon::prelude::*;

use crate::{Content, Log, rng};

/// Steps of the subspace iteration.
const STEPS: usize = 30;

/// A list of neighbours for each node of one side.
struct Side {
    offsets: Vec<usize>,
    others: Vec<u32>,
    /// 1 / sqrt(degree + mean degree).
    scale: Vec<f64>,
}

impl Side {
    /// From edges `(own, other)`, sorted.
    fn new(count: usize, edges: &[(u32, u32)]) -> Self {
        let mut offsets = vec![0; count + 1];
        edges.iter().for_each(|e| offsets[e.0 as usize + 1] += 1);
        (0..count).for_each(|i| offsets[i + 1] += offsets[i]);
        let used = offsets.windows(2).filter(|w| w[1] > w[0]).count();
        let mean = edges.len() as f64 / used.max(1) as f64;
        let scale = offsets.windows(2).map(|w| 1.0 / ((w[1] - w[0]) as f64 + mean).sqrt()).collect();
        Self { offsets, others: edges.iter().map(|e| e.1).collect(), scale }
    }

    /// Of each node the scaled sum of its neighbours' rows.
    fn gather(&self, rows: &[f64], dim: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.scale.len() * dim];
        out.par_chunks_mut(dim).enumerate().for_each(|(node, out)| {
            for other in &self.others[self.offsets[node]..self.offsets[node + 1]] {
                let row = &rows[*other as usize * dim..][..dim];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
            }
            out.iter_mut().for_each(|o| *o *= self.scale[node]);
        });
        out
    }

    fn scaled(&self, mut rows: Vec<f64>, dim: usize) -> Vec<f64> {
        rows.par_chunks_mut(dim)
            .zip(&self.scale)
            .for_each(|(row, scale)| row.iter_mut().for_each(|v| *v *= scale));
        rows
    }
}

/// A vector for each item that occurs in at least two sessions of several items among those of `learners`; others have 0.
pub(super) fn vectors(log: &Log, sessions: &[u32], learners: &[u32], dim: usize, seed: u64) -> Content {
    let items = log.catalog.items;
    let (mut edges, mut count) = (Vec::new(), 0);
    for user in learners {
        let events: Vec<usize> = log.interactions.range(*user).collect();
        for session in events.chunk_by(|a, b| sessions[*a] == sessions[*b]) {
            let mut own: Vec<u32> = session.iter().map(|at| log.interactions.items()[*at]).collect();
            own.retain(|item| *item != 0);
            own.sort_unstable();
            own.dedup();
            if own.len() > 1 {
                edges.extend(own.into_iter().map(|item| (item, count)));
                count += 1;
            }
        }
    }
    let mut degrees = vec![0u32; items];
    edges.iter().for_each(|(item, _)| degrees[*item as usize] += 1);
    edges.retain(|(item, _)| degrees[*item as usize] > 1);
    let mut turned: Vec<(u32, u32)> = edges.iter().map(|(item, session)| (*session, *item)).collect();
    turned.par_sort_unstable();
    edges.par_sort_unstable();
    let (by_item, by_session) = (Side::new(items, &edges), Side::new(count as usize, &turned));

    let mut rng = rng::stream(seed, "hopping/cooccurrence", &[]);
    let known = |item: usize| degrees[item] > 1;
    let mut y: Vec<f64> = (0..items * dim)
        .map(|at| if known(at / dim) { StandardNormal.sample(&mut rng) } else { 0.0 })
        .collect();
    for _ in 0..STEPS {
        orthonormal(&mut y, dim);
        let on_sessions = by_session.scaled(by_session.gather(&by_item.scaled(y, dim), dim), dim);
        y = by_item.gather(&on_sessions, dim);
    }
    orthonormal(&mut y, dim);
    let mut values = vec![0.0; items * dim];
    for (item, (to, from)) in values.chunks_exact_mut(dim).zip(y.chunks_exact(dim)).enumerate() {
        let norm = from.iter().map(|v| v * v).sum::<f64>().sqrt();
        if known(item) && norm > 0.0 {
            to.iter_mut().zip(from).for_each(|(t, f)| *t = (f / norm) as f32);
        }
    }
    Content { dim, values }
}

/// Makes the columns orthonormal (modified Gram-Schmidt, in two passes); those that depend on others become 0.
fn orthonormal(y: &mut [f64], dim: usize) {
    let column = |y: &[f64], c: usize| -> Vec<f64> { y.iter().skip(c).step_by(dim).copied().collect() };
    let mut done: Vec<Vec<f64>> = Vec::new();
    for c in 0..dim {
        let mut own = column(y, c);
        let before = own.iter().map(|v| v * v).sum::<f64>().sqrt();
        for other in done.iter().chain(&done) {
            let dot: f64 = own.iter().zip(other).map(|(a, b)| a * b).sum();
            own.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
        }
        let norm = own.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = if norm > 1e-9 * before { 1.0 / norm } else { 0.0 };
        own.iter_mut().for_each(|v| *v *= scale);
        done.push(own);
    }
    for (c, own) in done.into_iter().enumerate() {
        y.iter_mut().skip(c).step_by(dim).zip(own).for_each(|(to, from)| *to = from);
    }
}
