//! Cost of every row.

use super::{Table, mixture};
use crate::results::{Cell, Results, Speed};

/// Cost of every cell.
pub fn cost(results: &Results) -> Table {
    let header = [
        "encoder",
        "mixture",
        "encoder MACs",
        "router MACs",
        "head MACs",
        "MACs",
        "FLOPs",
        "MACs as published",
        "embedding params",
        "dense params",
        "train ms/1000",
        "score ms/1000",
    ];
    let row = |c: &Cell| {
        let m = c.macs_per_sample;
        let speed = |of: fn(&Speed) -> f64| c.ms_per_1000.map_or("–".into(), |s| format!("{:.1}", of(&s)));
        let numbers = [m.encoder, m.router, m.head, m.total, 2 * m.total, m.published].map(|n| n.to_string());
        let mut row = vec![c.encoder.clone(), mixture(results, c)];
        row.extend(numbers);
        row.extend([
            c.params.embedding.to_string(),
            c.params.dense.to_string(),
            speed(|s| s.train),
            speed(|s| s.score),
        ]);
        row
    };
    Table {
        title: format!("Cost on {}", results.data.name),
        header: header.map(Into::into).into(),
        rows: results.cells.iter().filter(|c| c.params.dense > 0).map(row).collect(),
        wide: vec![2, 3, 4],
        wide_notes: vec![
            "MACs as published: with every encoder in the form of its paper, before the algebra that leaves the function \
             unchanged and saves work (attention folded around the history, a last layer that computes what is read)."
                .into(),
        ],
        notes: vec![
            "MACs: multiply-adds executed to score one test sample at its own history length, no padding; 1 MAC = 2 FLOPs. \
             Softmax, norms, element-wise operations, pooling sums and look-ups are not counted. Times: one batch with fresh \
             weights, all threads, median of three."
                .into(),
        ],
    }
}
