//! Agreement of two labellings of the same things: which themes go with which categories.

/// How often label `a` meets label `b`: `[a][b]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contingency {
    counts: Vec<Vec<u64>>,
}

impl Contingency {
    /// From pairs of labels below `rows` and `columns`.
    ///
    /// # Panics
    /// If a label is not below its bound: labels are this crate's own numbering.
    pub fn new(rows: usize, columns: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts = vec![vec![0; columns]; rows];
        pairs.into_iter().for_each(|(a, b)| counts[a][b] += 1);
        Self { counts }
    }

    /// The counts, `[rows][columns]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Things counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Things of each row.
    pub fn of_rows(&self) -> Vec<u64> {
        self.counts.iter().map(|row| row.iter().sum()).collect()
    }

    /// Things of each column.
    pub fn of_columns(&self) -> Vec<u64> {
        let width = self.counts.first().map_or(0, Vec::len);
        (0..width).map(|b| self.counts.iter().map(|row| row[b]).sum()).collect()
    }

    /// Normalised mutual information 2 I(a; b) / (H(a) + H(b)), in [0, 1]. `None` where neither labelling tells anything
    /// apart (scikit-learn says 1 there).
    pub fn nmi(&self) -> Option<f64> {
        let (a, b) = (self.of_rows(), self.of_columns());
        let both = entropy(&a) + entropy(&b);
        let n = self.total() as f64;
        let mut information = 0.0;
        for (row, of_row) in self.counts.iter().zip(&a) {
            for (count, of_column) in row.iter().zip(&b).filter(|(count, _)| **count > 0) {
                let p = *count as f64 / n;
                information += p * (p * n * n / (*of_row as f64 * *of_column as f64)).ln();
            }
        }
        (both > 0.0).then(|| (2.0 * information / both).clamp(0.0, 1.0))
    }

    /// Share of the things that carry the commonest column label of their row; `None` without things.
    pub fn purity(&self) -> Option<f64> {
        let (own, all) = (self.counts.iter().filter_map(|row| row.iter().max()).sum::<u64>(), self.total());
        (all > 0).then(|| own as f64 / all as f64)
    }
}

/// Entropy in nats of shares that are proportional to `counts`; 0 without any.
pub fn entropy(counts: &[u64]) -> f64 {
    let n = counts.iter().sum::<u64>() as f64;
    let of = |count: &u64| {
        let p = *count as f64 / n;
        if *count > 0 { -p * p.ln() } else { 0.0 }
    };
    // A sum of nothing but -0.0 is no negative entropy.
    counts.iter().map(of).sum::<f64>().max(0.0)
}
