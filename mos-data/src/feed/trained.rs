//! What the training samples say as a whole.

use sha2::{Digest as _, Sha256};

use crate::{
    Sample, Users,
    dataset::{hash_part, hash_samples},
    rng::hex,
};

/// Gathered from all users, in order.
#[derive(Clone, Debug)]
pub(super) struct Trained {
    /// Of the training part.
    hash: Sha256,
    /// Of each item whether training meets it.
    pub(super) seen: Vec<bool>,
    /// Of each item how often it is clicked.
    pub(super) clicks: Vec<u64>,
    /// Samples by the length of their history.
    by_length: Vec<u64>,
    /// Samples of each block.
    pub(super) blocks: Vec<usize>,
}

impl Trained {
    /// Of no users yet; there will be `samples`.
    pub(super) fn new(items: usize, samples: u64) -> Self {
        Self {
            hash: Sha256::new_with_prefix(samples.to_le_bytes()),
            seen: vec![false; items],
            clicks: vec![0; items],
            by_length: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Adds the users of the next block.
    pub(super) fn add(&mut self, users: &Users) {
        let train = &users.splits.train;
        hash_samples(&mut self.hash, train);
        users.see(&mut self.seen);
        for s in train {
            self.clicks[s.item as usize] += u64::from(s.label > 0.5);
            let length = s.end as usize;
            if self.by_length.len() <= length {
                self.by_length.resize(length + 1, 0);
            }
            self.by_length[length] += 1;
        }
        self.blocks.push(train.len());
    }

    pub(super) fn samples(&self) -> u64 {
        self.blocks.iter().map(|n| *n as u64).sum()
    }

    pub(super) fn longer_than(&self, length: usize) -> u64 {
        self.by_length.iter().skip(length + 1).sum()
    }

    /// Hash of all samples, with those of the other parts.
    pub(super) fn split_sha256(&self, valid: &[Sample], test: &[Sample]) -> String {
        let mut hash = self.hash.clone();
        hash_part(&mut hash, valid);
        hash_part(&mut hash, test);
        hex(hash)
    }
}
