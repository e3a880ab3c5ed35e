//! Events as they are read, in columns, and how they come into order.

use std::ops::Range;

use rayon::prelude::*;

use crate::{Error, Event, Interactions, Result};

/// Which events are kept.
#[derive(Clone, Debug, Default)]
pub(crate) enum Keep {
    /// All.
    #[default]
    All,
    /// All, if there are no more than so many; else none, and they are counted by user.
    AtMost(usize),
    /// Those of some users, who have so many.
    Of(Range<u32>, usize),
}

/// Events in any order, one column each: 17 bytes for an event without rating and session.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventColumns {
    keep: Keep,
    /// Events of each user, where they are too many to be kept.
    counts: Option<Vec<u64>>,
    /// Whether there was an event, kept or not.
    any: bool,
    users: Vec<u32>,
    items: Vec<u32>,
    times: Vec<i64>,
    behaviours: Vec<u8>,
    /// As long as the others, or empty, once everything is read; so are the sessions.
    ratings: Vec<f32>,
    sessions: Vec<u64>,
}

impl EventColumns {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.any = true;
        match &self.keep {
            Keep::All => {}
            Keep::Of(users, _) if users.contains(&event.user) => {}
            Keep::Of(..) => return,
            Keep::AtMost(most) => {
                if self.counts.is_none() && self.users.len() == *most {
                    let mut counts = Vec::new();
                    self.users.iter().for_each(|user| *slot(&mut counts, *user as usize) += 1);
                    *self =
                        Self { keep: self.keep.clone(), counts: Some(counts), any: true, ..Self::default() };
                }
                if let Some(counts) = &mut self.counts {
                    *slot(counts, event.user as usize) += 1;
                    return;
                }
            }
        }
        let Event { user, item, time, behaviour, rating, session } = event;
        self.users.push(user);
        self.items.push(item);
        self.times.push(time);
        self.behaviours.push(behaviour);
        self.ratings.extend(rating);
        self.sessions.extend(session);
    }

    /// Makes room for so many events without ratings and sessions, where the memory is there; columns that grow bit by bit
    /// leave behind what they outgrew.
    pub(crate) fn reserve(&mut self, events: usize) {
        let most = match self.keep {
            Keep::All => events,
            Keep::AtMost(most) => events.min(most),
            Keep::Of(_, most) => most,
        };
        let Self { users, items, times, behaviours, .. } = self;
        let reserved = users.try_reserve_exact(most).and_then(|()| items.try_reserve_exact(most));
        let reserved = reserved.and_then(|()| times.try_reserve_exact(most));
        // It is no more than a good guess.
        drop(reserved.and_then(|()| behaviours.try_reserve_exact(most)));
    }

    /// Whether there was no event at all.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Events of each user up to the last that has any, where they were too many to be kept.
    pub(crate) fn counts(&mut self) -> Option<Vec<u64>> {
        self.counts.take()
    }

    /// Puts the events side by side by user and time; ties keep their order. Events that lie so already are not moved.
    ///
    /// # Errors
    /// [`Error::TooFew`] if an event names a user beyond `users`, only some events have a rating or session, or there are
    /// more than 2^32 of them.
    pub(crate) fn sort(self, users: usize) -> Result<Interactions> {
        let Self { users: of, items, times, behaviours, ratings, sessions, .. } = self;
        let n = of.len();
        if let Some(user) = of.iter().find(|u| **u as usize >= users) {
            return Err(Error::too_few(format!("user {user} of {users}"), "users are numbered from 0"));
        }
        if [ratings.len(), sessions.len()].iter().any(|len| *len != 0 && *len != n) {
            return Err(Error::too_few(
                "a rating or session is missing in some rows",
                "give all rows one, or none",
            ));
        }
        if u32::try_from(n).is_err() {
            return Err(Error::too_few(
                format!("{n} events are more than can be sorted in memory"),
                "convert parts of the log into stores",
            ));
        }
        let mut offsets = vec![0usize; users + 1];
        of.iter().for_each(|u| offsets[*u as usize + 1] += 1);
        (0..users).for_each(|u| offsets[u + 1] += offsets[u]);
        let optional = |rows: usize| rows == n && n > 0;
        let (rated, given) = (optional(ratings.len()), optional(sessions.len()));
        let in_order = (1..n).all(|i| (of[i - 1], times[i - 1]) <= (of[i], times[i]));
        if in_order {
            drop(of);
            return Ok(Interactions {
                offsets,
                items,
                times,
                behaviours,
                ratings: rated.then_some(ratings),
                sessions: given.then_some(sessions),
            });
        }
        let mut next = offsets.clone();
        let mut order = vec![0u32; n];
        for (i, user) in of.iter().enumerate() {
            order[next[*user as usize]] = i as u32;
            next[*user as usize] += 1;
        }
        drop(next);
        order.par_chunk_by_mut(|a, b| of[*a as usize] == of[*b as usize]).for_each(|user| {
            if !user.is_sorted_by_key(|i| times[*i as usize]) {
                user.sort_unstable_by_key(|i| (times[*i as usize], *i));
            }
        });
        // One column after another, so that only one is there twice.
        drop(of);
        Ok(Interactions {
            items: taken(items, &order),
            times: taken(times, &order),
            behaviours: taken(behaviours, &order),
            ratings: rated.then(|| taken(ratings, &order)),
            sessions: given.then(|| taken(sessions, &order)),
            offsets,
        })
    }
}

/// The place `at` of a column that grows.
pub(crate) fn slot<T: Clone + Default>(column: &mut Vec<T>, at: usize) -> &mut T {
    if column.len() <= at {
        column.resize(at + 1, T::default());
    }
    &mut column[at]
}

fn taken<T: Copy + Send + Sync>(column: Vec<T>, order: &[u32]) -> Vec<T> {
    order.par_iter().map(|i| column[*i as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_are_sorted_by_user_and_time_and_ties_keep_their_order(
            rows in prop::collection::vec((0u32..5, 0i64..6), 0..80),
            grouped: bool,
        ) {
            let mut rows: Vec<(u32, i64, u32)> =
                rows.into_iter().enumerate().map(|(i, (user, time))| (user, time, i as u32)).collect();
            if grouped {
                rows.sort_by_key(|r| (r.0, r.1));
            }
            let mut columns = EventColumns::default();
            for (user, time, item) in &rows {
                let (user, time, item) = (*user, *time, *item);
                columns.push(Event { user, item, time, behaviour: 0, rating: Some(item as f32), session: None });
            }
            let x = columns.sort(5).unwrap();
            rows.sort_by_key(|r| (r.0, r.1));
            prop_assert_eq!(x.items(), rows.iter().map(|r| r.2).collect::<Vec<_>>());
            prop_assert_eq!(x.times(), rows.iter().map(|r| r.1).collect::<Vec<_>>());
            let ratings: Vec<f32> = rows.iter().map(|r| r.2 as f32).collect();
            prop_assert_eq!(x.ratings().unwrap_or_default(), ratings);
            for user in 0..5 {
                prop_assert!(rows[x.range(user)].iter().all(|r| r.0 == user));
            }
        }
    }
}
