//! The input of an encoder: jagged histories and their targets.

use std::sync::Arc;

use crate::{Error, Mat, Result};

/// Borders of jagged segments: segment `b` is rows `offsets[b]..offsets[b + 1]`. Never decreasing, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Arc<[usize]>);

impl Offsets {
    /// Checks borders `[B + 1]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not start at 0 or fall.
    pub fn new(borders: Vec<usize>) -> Result<Self> {
        if borders.first() != Some(&0) || borders.windows(2).any(|w| w[0] > w[1]) {
            return Err(Error::shape("Offsets", "borders from 0 that never fall", format!("{borders:?}")));
        }
        Ok(Self(borders.into()))
    }

    /// Borders from segment lengths.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut sum = 0;
        Self(std::iter::once(0).chain(lengths.into_iter().map(|n| (sum += n, sum).1)).collect())
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.0.len() - 1
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// Rows of segment `b`.
    pub fn range(&self, b: usize) -> std::ops::Range<usize> {
        self.0[b]..self.0[b + 1]
    }

    /// All segments, in order.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.0.windows(2).map(|w| w[0]..w[1])
    }

    /// Segment of each row `[N]`.
    pub fn segment_of_rows(&self) -> Vec<u32> {
        self.lengths().enumerate().flat_map(|(s, n)| std::iter::repeat_n(s as u32, n)).collect()
    }

    /// Length of each segment.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.windows(2).map(|w| w[1] - w[0])
    }
}

/// The integers of jagged histories: what routing and cost formulas read. Rows are behaviours, oldest first.
#[derive(Clone, Debug)]
pub struct Events {
    /// Borders `[B + 1]` of the histories.
    pub offsets: Offsets,
    /// Item of each behaviour `[N]`, as a row of the pass's item index; see [`crate::ItemIndex`].
    pub items: Vec<u32>,
    /// Behaviour code `[N]` (0 = none).
    pub behaviours: Vec<u8>,
    /// Session `[N]`, numbered inside one user.
    pub sessions: Vec<u32>,
    /// Time of each behaviour `[N]`, in seconds.
    pub times: Vec<i64>,
    /// Target item `[B]`, as a row of the pass's item index.
    pub targets: Vec<u32>,
    /// Time of each prediction `[B]`, in seconds.
    pub target_times: Vec<i64>,
    /// Which sample of the pass each segment belongs to `[B]`: a mixture can give an expert a part of the samples, or
    /// several segments of one.
    pub samples: Vec<u32>,
}

impl Events {
    /// Rows `rows` of this as segments `offsets`, segment `b` belonging to the target of sample `samples[b]`.
    #[must_use]
    pub fn select(&self, rows: &[u32], offsets: Offsets, samples: &[u32]) -> Self {
        let pick = |r: &u32| *r as usize;
        Self {
            offsets,
            items: rows.iter().map(|r| self.items[pick(r)]).collect(),
            behaviours: rows.iter().map(|r| self.behaviours[pick(r)]).collect(),
            sessions: rows.iter().map(|r| self.sessions[pick(r)]).collect(),
            times: rows.iter().map(|r| self.times[pick(r)]).collect(),
            targets: samples.iter().map(|s| self.targets[pick(s)]).collect(),
            target_times: samples.iter().map(|s| self.target_times[pick(s)]).collect(),
            samples: samples.iter().map(|s| self.samples[pick(s)]).collect(),
        }
    }

    /// The rows of the samples `samples`, with their borders.
    pub fn rows_of(&self, samples: &[u32]) -> (Vec<u32>, Offsets) {
        let ranges = || samples.iter().map(|s| self.offsets.range(*s as usize));
        (ranges().flatten().map(|r| r as u32).collect(), Offsets::from_lengths(ranges().map(|r| r.len())))
    }

    /// The last `n` rows of each history, with their borders.
    pub fn last_rows(&self, n: usize) -> (Vec<u32>, Offsets) {
        let ranges = || self.offsets.ranges().map(|r| r.end - r.len().min(n)..r.end);
        (ranges().flatten().map(|r| r as u32).collect(), Offsets::from_lengths(ranges().map(|r| r.len())))
    }
}

/// What a [`crate::SequenceEncoder`] reads: for each of B samples a target vector and a history of vectors.
#[derive(Clone, Debug)]
pub struct Input {
    /// Target vectors `[B, d]`.
    pub target: Mat,
    /// Behaviour vectors `[N, d]`. A mixture sees them as they are; an encoder that was registered by name sees them with
    /// positions added, counted inside what it is given (see [`crate::layers::Positioned`]).
    pub rows: Mat,
    /// The integers beside them.
    pub events: Arc<Events>,
}
