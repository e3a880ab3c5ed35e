//! The log: who did what when, one column each, users side by side.

use std::ops::Range;

use crate::{Error, Result};

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
    offsets: Vec<usize>,
    pub(crate) items: Vec<u32>,
    times: Vec<i64>,
    behaviours: Vec<u8>,
    ratings: Option<Vec<f32>>,
    sessions: Option<Vec<u64>>,
}

impl Interactions {
    /// Sorts events into columns.
    ///
    /// # Errors
    /// [`Error::TooFew`] if an event names a user beyond `users`, or only some events have a rating or session.
    pub fn from_events(users: usize, mut events: Vec<Event>) -> Result<Self> {
        if let Some(e) = events.iter().find(|e| e.user as usize >= users) {
            return Err(Error::too_few(format!("user {} of {users}", e.user), "users are numbered from 0"));
        }
        events.sort_by_key(|e| (e.user, e.time));
        let mut offsets = vec![0; users + 1];
        events.iter().for_each(|e| offsets[e.user as usize + 1] += 1);
        (0..users).for_each(|u| offsets[u + 1] += offsets[u]);
        let ratings: Option<Vec<f32>> = events.iter().map(|e| e.rating).collect();
        let sessions: Option<Vec<u64>> = events.iter().map(|e| e.session).collect();
        if (ratings.is_none() && events.iter().any(|e| e.rating.is_some()))
            || (sessions.is_none() && events.iter().any(|e| e.session.is_some()))
        {
            return Err(Error::too_few(
                "a rating or session is missing in some rows",
                "give all rows one, or none",
            ));
        }
        Ok(Self {
            offsets,
            items: events.iter().map(|e| e.item).collect(),
            times: events.iter().map(|e| e.time).collect(),
            behaviours: events.iter().map(|e| e.behaviour).collect(),
            ratings,
            sessions,
        })
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

    /// Number of events of `user` strictly before `time`.
    pub fn before(&self, user: u32, time: i64) -> usize {
        self.times[self.range(user)].partition_point(|t| *t < time)
    }

    /// Share of neighbouring events of one user with equal times: their order is unknowable.
    pub fn tie_rate(&self) -> f64 {
        let (mut pairs, mut ties) = (0u64, 0u64);
        for user in self.offsets.windows(2) {
            for pair in self.times[user[0]..user[1]].windows(2) {
                pairs += 1;
                ties += u64::from(pair[0] == pair[1]);
            }
        }
        if pairs == 0 { 0.0 } else { ties as f64 / pairs as f64 }
    }
}
