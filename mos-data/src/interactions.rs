//! The log: who did what when, one column each, users side by side.

use std::ops::Range;

use crate::{Result, events::EventColumns};

/// One behaviour of one user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// User, from 0.
    pub user: u32,
    /// Item, from 1; 0 is the unknown item.
    pub item: u32,
    /// Time in seconds (or another unit that the source states).
    pub time: i64,
    /// Behaviour code; 0 = none.
    pub behaviour: u8,
    /// Rating or label, where the log has one.
    pub rating: Option<f32>,
    /// Session, where the log has one.
    pub session: Option<u64>,
}

/// A shown item and whether it was clicked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impression {
    /// User.
    pub user: u32,
    /// Item.
    pub item: u32,
    /// Time, in the unit of the log.
    pub time: i64,
    /// 1 = clicked, 0 = not.
    pub label: f32,
}

/// All behaviours in columns, user by user, each user's in time order; ties keep the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    pub(crate) offsets: Vec<usize>,
    pub(crate) items: Vec<u32>,
    pub(crate) times: Vec<i64>,
    pub(crate) behaviours: Vec<u8>,
    pub(crate) ratings: Option<Vec<f32>>,
    pub(crate) sessions: Option<Vec<u64>>,
}

impl Interactions {
    /// Sorts events into columns.
    ///
    /// # Errors
    /// [`crate::Error::TooFew`] if an event names a user beyond `users`, or only some events have a rating or session.
    pub fn from_events(users: usize, events: Vec<Event>) -> Result<Self> {
        let mut columns = EventColumns::default();
        events.into_iter().for_each(|e| columns.push(e));
        columns.sort(users)
    }

    /// Number of users.
    pub fn users(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Borders `[users + 1]` of the users' events.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The events of `user`.
    pub fn range(&self, user: u32) -> Range<usize> {
        self.offsets[user as usize]..self.offsets[user as usize + 1]
    }

    /// Item of each event.
    pub fn items(&self) -> &[u32] {
        &self.items
    }

    /// Time of each event.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Behaviour code of each event.
    pub fn behaviours(&self) -> &[u8] {
        &self.behaviours
    }

    /// Rating of each event, where the log has them.
    pub fn ratings(&self) -> Option<&[f32]> {
        self.ratings.as_deref()
    }

    /// Session given by the log, where it has them.
    pub fn given_sessions(&self) -> Option<&[u64]> {
        self.sessions.as_deref()
    }

    /// The events of some users, who are numbered from 0.
    pub(crate) fn users_in(&self, users: Range<u32>) -> Self {
        let (from, to) = (self.offsets[users.start as usize], self.offsets[users.end as usize]);
        let borders = &self.offsets[users.start as usize..=users.end as usize];
        Self {
            offsets: borders.iter().map(|o| o - from).collect(),
            items: self.items[from..to].to_vec(),
            times: self.times[from..to].to_vec(),
            behaviours: self.behaviours[from..to].to_vec(),
            ratings: self.ratings.as_ref().map(|r| r[from..to].to_vec()),
            sessions: self.sessions.as_ref().map(|s| s[from..to].to_vec()),
        }
    }

    /// Adds the users that follow, whose log has the same columns.
    pub(crate) fn append(&mut self, next: Self) {
        let from = self.items.len();
        self.offsets.extend(next.offsets[1..].iter().map(|o| o + from));
        self.items.extend(next.items);
        self.times.extend(next.times);
        self.behaviours.extend(next.behaviours);
        self.ratings.iter_mut().zip(next.ratings).for_each(|(all, more)| all.extend(more));
        self.sessions.iter_mut().zip(next.sessions).for_each(|(all, more)| all.extend(more));
    }

    /// Number of events of `user` strictly before `time`.
    pub fn before(&self, user: u32, time: i64) -> usize {
        self.times[self.range(user)].partition_point(|t| *t < time)
    }

    /// Neighbouring events of one user, and those of them with equal times: their order is unknowable.
    pub(crate) fn ties(&self) -> (u64, u64) {
        let (mut pairs, mut ties) = (0u64, 0u64);
        for user in self.offsets.windows(2) {
            for pair in self.times[user[0]..user[1]].windows(2) {
                pairs += 1;
                ties += u64::from(pair[0] == pair[1]);
            }
        }
        (pairs, ties)
    }
}
