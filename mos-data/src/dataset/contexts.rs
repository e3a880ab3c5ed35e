//! Values of context that no training sample has are unknown.

use super::Users;
use crate::{Catalog, Contexts};

/// Of each value of each field of context whether a training sample has it.
#[derive(Debug)]
pub(crate) struct MetContexts(Vec<Vec<bool>>);

impl MetContexts {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        Self(catalog.contexts.iter().map(|f| vec![false; f.count]).collect())
    }

    /// Adds the training samples of some users.
    pub(crate) fn add(&mut self, users: &Users) {
        for s in &users.splits.train {
            let values = users.contexts.of(s.user - users.first_user, s.impression);
            values.zip(&mut self.0).for_each(|(v, met)| met[v as usize] = true);
        }
    }

    /// Makes all other values unknown.
    pub(crate) fn forget(&self, c: &mut Contexts) {
        let forget = |values: &mut [u32], met: &[Vec<bool>]| {
            for (i, value) in values.iter_mut().enumerate() {
                if !met[i % met.len()][*value as usize] {
                    *value = 0;
                }
            }
        };
        let (of_users, of_impressions) = self.0.split_at(c.user_fields);
        forget(&mut c.of_users, of_users);
        forget(&mut c.of_impressions, of_impressions);
    }
}
