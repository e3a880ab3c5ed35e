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

/// The rows that each of B samples reads: one of H histories, which others may read too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    histories: Offsets,
    /// History of each sample; `None`: each has its own.
    of: Option<Arc<[u32]>>,
}

impl From<&Offsets> for Spans {
    fn from(histories: &Offsets) -> Self {
        Self { histories: histories.clone(), of: None }
    }
}

impl From<&Spans> for Spans {
    fn from(spans: &Spans) -> Self {
        spans.clone()
    }
}

impl Spans {
    /// Histories, and the history of each sample; `None`: each has its own.
    pub(crate) fn new(histories: Offsets, of: Option<Arc<[u32]>>) -> Self {
        Self { histories, of }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.of.as_ref().map_or(self.histories.segments(), |of| of.len())
    }

    /// Number of stored rows: those of each history once.
    pub fn rows(&self) -> usize {
        self.histories.rows()
    }

    /// Whether samples may read the same history.
    pub fn shared(&self) -> bool {
        self.of.is_some()
    }

    /// The histories' borders.
    pub(crate) fn histories(&self) -> &Offsets {
        &self.histories
    }

    /// History of each sample, where samples may read the same.
    pub(crate) fn of(&self) -> Option<&[u32]> {
        self.of.as_deref()
    }

    /// Rows of sample `b`.
    pub fn range(&self, b: usize) -> std::ops::Range<usize> {
        self.histories.range(self.of.as_ref().map_or(b, |of| of[b] as usize))
    }

    /// Rows of all samples, in order.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        (0..self.samples()).map(|b| self.range(b))
    }

    /// Length of each sample's history.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges().map(|range| range.len())
    }

    /// Borders of what is kept for each sample and row: the samples' rows side by side. Those of the histories where each
    /// sample has its own.
    pub fn side_by_side(&self) -> Offsets {
        if self.shared() { Offsets::from_lengths(self.lengths()) } else { self.histories.clone() }
    }
}

/// The integers of jagged histories: what routing and cost formulas read. Rows are behaviours, oldest first.
///
/// In training each sample has a history of its own (H = B, in order). Where many candidates are scored for one user, the
/// history is stored once and samples share it; they then share the time of the prediction too.
#[derive(Clone, Debug)]
pub struct Events {
    /// Borders `[H + 1]` of the histories.
    pub offsets: Offsets,
    /// History of each sample `[B]`; `None`: each has its own. An encoder meets it only if it says that it
    /// [shares histories](crate::SequenceEncoder::shares_histories).
    pub histories: Option<Arc<[u32]>>,
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
    /// Rows `rows` of this as histories `offsets`, read by the target of sample `samples[b]` for each b; `histories` as in
    /// [`Events::histories`].
    #[must_use]
    pub fn select(
        &self,
        rows: &[u32],
        offsets: Offsets,
        samples: &[u32],
        histories: Option<Arc<[u32]>>,
    ) -> Self {
        let pick = |r: &u32| *r as usize;
        Self {
            offsets,
            histories,
            items: rows.iter().map(|r| self.items[pick(r)]).collect(),
            behaviours: rows.iter().map(|r| self.behaviours[pick(r)]).collect(),
            sessions: rows.iter().map(|r| self.sessions[pick(r)]).collect(),
            times: rows.iter().map(|r| self.times[pick(r)]).collect(),
            targets: samples.iter().map(|s| self.targets[pick(s)]).collect(),
            target_times: samples.iter().map(|s| self.target_times[pick(s)]).collect(),
            samples: samples.iter().map(|s| self.samples[pick(s)]).collect(),
        }
    }

    /// The rows that each sample reads.
    pub fn spans(&self) -> Spans {
        Spans::new(self.offsets.clone(), self.histories.clone())
    }

    /// History of sample `b`.
    pub fn history(&self, b: usize) -> u32 {
        self.histories.as_ref().map_or(b as u32, |of| of[b])
    }

    /// Time of the prediction after each history `[H]`; the last behaviour's where nobody reads it.
    pub fn history_times(&self) -> Vec<i64> {
        let Some(of) = &self.histories else { return self.target_times.clone() };
        let ends = self.offsets.ranges().map(|r| if r.is_empty() { 0 } else { self.times[r.end - 1] });
        let mut times: Vec<i64> = ends.collect();
        of.iter().zip(&self.target_times).for_each(|(h, time)| times[*h as usize] = *time);
        times
    }

    /// The histories of the samples `samples`: their rows, borders, and the history of each sample. A history that several
    /// of them read stands there once.
    pub fn rows_of(&self, samples: &[u32]) -> (Vec<u32>, Offsets, Option<Arc<[u32]>>) {
        let (read, of) = match &self.histories {
            None => (samples.to_vec(), None),
            Some(all) => {
                let (mut read, mut of) = (Vec::new(), Vec::with_capacity(samples.len()));
                let mut place = vec![u32::MAX; self.offsets.segments()];
                for sample in samples {
                    let history = all[*sample as usize];
                    let place = &mut place[history as usize];
                    if *place == u32::MAX {
                        *place = read.len() as u32;
                        read.push(history);
                    }
                    of.push(*place);
                }
                (read, Some(of.into()))
            }
        };
        let ranges = || read.iter().map(|h| self.offsets.range(*h as usize));
        let rows = ranges().flatten().map(|r| r as u32).collect();
        (rows, Offsets::from_lengths(ranges().map(|r| r.len())), of)
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
    /// Behaviour vectors `[N, d]`, each history once. A mixture sees them as they are; an encoder that was registered by name sees them with
    /// positions added, counted inside what it is given (see [`crate::layers::Positioned`]).
    pub rows: Mat,
    /// The integers beside them.
    pub events: Arc<Events>,
}
