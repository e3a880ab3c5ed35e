//! Jagged batches.

use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use crate::{Sample, Users, rng};

/// B samples with their histories, never padded. Behaviours are oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// User of each sample `[B]`.
    pub users: Vec<u32>,
    /// Target item `[B]`.
    pub targets: Vec<u32>,
    /// Label `[B]`, 0 or 1.
    pub labels: Vec<f32>,
    /// Time of each prediction `[B]`, in seconds.
    pub target_times: Vec<i64>,
    /// Context `[B, F]`, row-major: one value for each of the catalog's F fields.
    pub contexts: Vec<u32>,
    /// Borders of the histories `[B + 1]`.
    pub offsets: Vec<usize>,
    /// Item of each behaviour `[N]`.
    pub items: Vec<u32>,
    /// Behaviour code `[N]`.
    pub behaviours: Vec<u8>,
    /// Session within the user `[N]`.
    pub sessions: Vec<u32>,
    /// Time of each behaviour `[N]`, in seconds.
    pub times: Vec<i64>,
    /// Samples whose history was cut to the cap.
    pub truncated: usize,
}

impl Users {
    /// The samples as one batch; of a longer history the most recent `max_len` behaviours are kept.
    pub fn batch(&self, samples: &[Sample], max_len: usize) -> Batch {
        let mut batch = Batch::empty();
        samples.iter().for_each(|sample| batch.push(self, sample, max_len));
        batch
    }
}

impl Batch {
    /// No sample.
    pub(crate) fn empty() -> Self {
        Self { offsets: vec![0], ..Self::default() }
    }

    /// Adds a sample of one of `users`.
    pub(crate) fn push(&mut self, users: &Users, sample: &Sample, max_len: usize) {
        let seconds = |ticks: i64| ticks.div_euclid(users.ticks_per_second);
        let (x, user) = (&users.interactions, sample.user - users.first_user);
        let start = x.offsets()[user as usize];
        let end = start + sample.end as usize;
        let from = end - (sample.end as usize).min(max_len);
        self.truncated += usize::from(from > start);
        self.users.push(sample.user);
        self.targets.push(sample.item);
        self.labels.push(sample.label);
        self.target_times.push(seconds(sample.time));
        self.contexts.extend(users.contexts.of(user, sample.impression));
        self.items.extend_from_slice(&x.items()[from..end]);
        self.behaviours.extend_from_slice(&x.behaviours()[from..end]);
        self.sessions.extend_from_slice(&users.sessions[from..end]);
        self.times.extend(x.times()[from..end].iter().map(|t| seconds(*t)));
        self.offsets.push(self.items.len());
    }
}

/// The order in which the `n` samples of a window are read in `epoch`. All samples in memory are window 0.
pub fn shuffled_order(n: usize, seed: u64, epoch: u64, window: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let path = if window == 0 { vec![epoch] } else { vec![epoch, window] };
    order.shuffle(&mut rng::stream(seed, "shuffle", &path));
    order
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Cuts the batch into at most `pieces` batches of nearly equal numbers of samples, in order.
    pub fn split(&self, pieces: usize) -> Vec<Batch> {
        self.split_within(pieces, usize::MAX)
    }

    /// As [`Self::split`]; pieces of more than `behaviours` are cut on, between samples, into as many as would hold no more if
    /// histories were equally long.
    pub fn split_within(&self, pieces: usize, behaviours: usize) -> Vec<Batch> {
        let pieces = pieces.clamp(1, self.len().max(1));
        let cut = |p: usize| p * self.len() / pieces;
        let mut borders = vec![0];
        for (a, b) in (0..pieces).map(|p| (cut(p), cut(p + 1))) {
            let (from, n) = (self.offsets[a], self.offsets[b] - self.offsets[a]);
            let parts = n.div_ceil(behaviours.max(1));
            for part in 1..parts {
                let behaviour = from + part * n / parts;
                let sample = a + self.offsets[a..b].partition_point(|o| *o < behaviour);
                if sample < b && sample > borders[borders.len() - 1] {
                    borders.push(sample);
                }
            }
            borders.push(b);
        }
        borders.windows(2).map(|border| self.part(border[0], border[1])).collect()
    }

    /// The samples from `a` to before `b`.
    fn part(&self, a: usize, b: usize) -> Batch {
        let (from, to) = (self.offsets[a], self.offsets[b]);
        let fields = self.contexts.len() / self.len().max(1);
        Batch {
            users: self.users[a..b].to_vec(),
            targets: self.targets[a..b].to_vec(),
            labels: self.labels[a..b].to_vec(),
            target_times: self.target_times[a..b].to_vec(),
            contexts: self.contexts[a * fields..b * fields].to_vec(),
            offsets: self.offsets[a..=b].iter().map(|o| o - from).collect(),
            items: self.items[from..to].to_vec(),
            behaviours: self.behaviours[from..to].to_vec(),
            sessions: self.sessions[from..to].to_vec(),
            times: self.times[from..to].to_vec(),
            truncated: 0,
        }
    }

    /// Control: permutes the behaviours inside each history. The permutation depends on seed, user, target and
    /// length alone, so a sample looks the same in every epoch.
    pub fn shuffle_histories(&mut self, seed: u64) {
        for b in 0..self.len() {
            let range = self.offsets[b]..self.offsets[b + 1];
            let path = [u64::from(self.users[b]), u64::from(self.targets[b]), range.len() as u64];
            let mut order: Vec<usize> = range.clone().collect();
            order.shuffle(&mut rng::stream(seed, "shuffled_history", &path));
            let items: Vec<u32> = order.iter().map(|i| self.items[*i]).collect();
            let behaviours: Vec<u8> = order.iter().map(|i| self.behaviours[*i]).collect();
            self.items[range.clone()].copy_from_slice(&items);
            self.behaviours[range].copy_from_slice(&behaviours);
        }
    }

    /// Control: empties every history.
    pub fn drop_histories(&mut self) {
        self.offsets.fill(0);
        self.items.clear();
        self.behaviours.clear();
        self.sessions.clear();
        self.times.clear();
    }
}
